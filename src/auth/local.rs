//! When a request needs no token: the loopback rule. A server on loopback trusts the users of its machine, but not web pages in
//! their browsers (Origin, DNS rebinding by Host) and nobody behind a proxy.

use axum::http::header::{FORWARDED, HOST, ORIGIN, VIA};
use axum::http::{HeaderMap, Uri};
use std::net::{IpAddr, SocketAddr};
use url::Url;

/// Between whom a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Who asks.
    pub peer: SocketAddr,
    /// What the listener is bound to (not the address of the one connection: a listener on every address is not local).
    pub listener: SocketAddr,
}

/// Why a request is not local.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLocal {
    /// The listener can be reached by others.
    #[error("the server listens beyond loopback")]
    Listener,
    /// The other end is another machine.
    #[error("the request comes from another machine")]
    Peer,
    /// The server has a public address.
    #[error("the server has a `public_url`")]
    PublicUrl,
    /// `Forwarded`, `X-Forwarded-*` or `Via` is there.
    #[error("the request came through a proxy")]
    Proxied,
    /// `Host` is absent, is there twice, or names something else than this machine.
    #[error("the Host of the request is not localhost, 127.0.0.0/8 or [::1]")]
    Host,
    /// A page of another site sent it.
    #[error("the request comes from a page of another site")]
    Origin,
}

/// Whether who asks is on this machine with nothing in between, wherever else this server listens.
#[must_use]
pub fn is_near(connection: Option<&Connection>, uri: &Uri, headers: &HeaderMap) -> bool {
    let near = connection.map(|connection| Connection { listener: connection.peer, ..*connection });
    check(near.as_ref(), false, uri, headers).is_ok()
}

/// Whether a request needs no token.
///
/// # Errors
/// The first condition that does not hold.
pub fn check(connection: Option<&Connection>, has_public_url: bool, uri: &Uri, headers: &HeaderMap) -> Result<(), NotLocal> {
    // Without a known connection nothing is known to be local.
    let connection = connection.ok_or(NotLocal::Peer)?;
    if !is_loopback(connection.listener.ip()) {
        return Err(NotLocal::Listener);
    }
    if !is_loopback(connection.peer.ip()) {
        return Err(NotLocal::Peer);
    }
    if has_public_url {
        return Err(NotLocal::PublicUrl);
    }
    let proxied = |name: &str| name.starts_with("x-forwarded") || name == FORWARDED.as_str() || name == VIA.as_str();
    if headers.keys().any(|name| proxied(name.as_str())) {
        return Err(NotLocal::Proxied);
    }
    let hosts = hosts(uri, headers).ok_or(NotLocal::Host)?;
    if hosts.is_empty() || !hosts.iter().all(|host| is_local_host(host)) {
        return Err(NotLocal::Host);
    }
    if is_from_another_site(uri, headers, None) {
        return Err(NotLocal::Origin);
    }
    Ok(())
}

/// Whether a web page of another site sent the request: its `Origin` is not this server as the request addresses it nor its public
/// address, or the browser says so (`Sec-Fetch-Site`), also for requests that carry no `Origin`.
#[must_use]
pub fn is_from_another_site(uri: &Uri, headers: &HeaderMap, public_url: Option<&Url>) -> bool {
    let other_fetch = |value: &axum::http::HeaderValue| !matches!(value.as_bytes(), b"same-origin" | b"none");
    if headers.get_all("sec-fetch-site").iter().any(other_fetch) {
        return true;
    }
    let hosts = hosts(uri, headers).unwrap_or_default();
    headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        if public_url.is_some_and(|url| url.origin().ascii_serialization() == origin) {
            return false;
        }
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        !authority.is_some_and(|authority| hosts.iter().any(|host| host.eq_ignore_ascii_case(authority)))
    })
}

/// Each place where the request names its host: `Host`, and the address itself (HTTP/2). `None` if one is unreadable or `Host` is
/// there twice.
fn hosts<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Vec<&'a str>> {
    let mut values = headers.get_all(HOST).iter();
    let header = match values.next() {
        Some(value) => Some(value.to_str().ok()?),
        None => None,
    };
    if values.next().is_some() {
        return None;
    }
    let authority = uri.authority().map(axum::http::uri::Authority::as_str);
    Some(header.into_iter().chain(authority).collect())
}

/// `localhost`, `127.0.0.0/8` or `[::1]`, with any port.
fn is_local_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((ip, port)) => return ip == "::1" && is_port_suffix(port),
            None => return false,
        },
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_here = name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    is_here && port.is_none_or(is_port)
}

fn is_port_suffix(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Also an IPv4 address in IPv6 clothes.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use rstest::rstest;

    const HERE: &str = "127.0.0.1:5001";

    fn connection(peer: &str, listener: &str) -> Connection {
        Connection { peer: peer.parse().unwrap(), listener: listener.parse().unwrap() }
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn with(pairs: &[(&str, &str)]) -> Result<(), NotLocal> {
        check(Some(&connection("127.0.0.1:40000", HERE)), false, &Uri::from_static("/"), &headers(pairs))
    }

    #[rstest]
    #[case("localhost")]
    #[case("LocalHost:80")]
    #[case("127.0.0.1")]
    #[case("127.9.8.7:5001")]
    #[case("[::1]")]
    #[case("[::1]:5001")]
    fn a_local_host_with_any_port_is_local(#[case] host: &str) {
        assert_eq!(with(&[("host", host)]), Ok(()));
    }

    #[rstest]
    #[case("example.com")]
    #[case("localhost.example.com")]
    #[case("127.0.0.1.example.com")]
    #[case("128.0.0.1")]
    #[case("0.0.0.0:5001")]
    #[case("[::2]")]
    #[case("[::1")]
    #[case("[::1]x")]
    #[case("localhost:")]
    #[case("localhost:5001x")]
    #[case("localhost:99999")]
    #[case("user@localhost")]
    #[case("127.1")]
    #[case("")]
    fn any_other_host_is_not_local(#[case] host: &str) {
        assert_eq!(with(&[("host", host)]), Err(NotLocal::Host));
    }

    #[test]
    fn no_host_and_two_hosts_are_not_local() {
        assert_eq!(with(&[]), Err(NotLocal::Host));
        assert_eq!(with(&[("host", "localhost"), ("host", "localhost")]), Err(NotLocal::Host));
    }

    #[rstest]
    #[case("127.0.0.1:4000", "127.0.0.1:5001", Ok(()))]
    #[case("[::1]:4000", "[::1]:5001", Ok(()))]
    #[case("[::ffff:127.0.0.1]:4000", "127.0.0.1:5001", Ok(()))]
    #[case("127.0.0.1:4000", "0.0.0.0:5001", Err(NotLocal::Listener))]
    #[case("[::1]:4000", "[::]:5001", Err(NotLocal::Listener))]
    #[case("127.0.0.1:4000", "192.168.1.2:5001", Err(NotLocal::Listener))]
    #[case("192.168.1.3:4000", "127.0.0.1:5001", Err(NotLocal::Peer))]
    fn both_ends_must_be_loopback(#[case] peer: &str, #[case] listener: &str, #[case] expected: Result<(), NotLocal>) {
        let headers = headers(&[("host", "localhost:5001")]);
        assert_eq!(check(Some(&connection(peer, listener)), false, &Uri::from_static("/"), &headers), expected);
    }

    #[test]
    fn an_unknown_connection_or_a_public_url_is_not_local() {
        let headers = headers(&[("host", "localhost:5001")]);
        assert_eq!(check(None, false, &Uri::from_static("/"), &headers), Err(NotLocal::Peer));
        let here = connection("127.0.0.1:4000", HERE);
        assert_eq!(check(Some(&here), true, &Uri::from_static("/"), &headers), Err(NotLocal::PublicUrl));
    }

    #[rstest]
    #[case("forwarded", "for=192.0.2.1")]
    #[case("x-forwarded-for", "127.0.0.1")]
    #[case("X-Forwarded-Proto", "https")]
    #[case("x-forwarded-host", "localhost")]
    #[case("via", "1.1 proxy")]
    fn a_proxy_in_between_is_not_local(#[case] name: &str, #[case] value: &str) {
        assert_eq!(with(&[("host", "localhost"), (name, value)]), Err(NotLocal::Proxied));
    }

    #[rstest]
    #[case("http://localhost:5001", Ok(()))]
    #[case("http://localhost:3000", Err(NotLocal::Origin))]
    #[case("http://127.0.0.1:5001", Err(NotLocal::Origin))]
    #[case("https://evil.example", Err(NotLocal::Origin))]
    #[case("null", Err(NotLocal::Origin))]
    #[case("", Err(NotLocal::Origin))]
    fn only_pages_of_this_server_are_local(#[case] origin: &str, #[case] expected: Result<(), NotLocal>) {
        assert_eq!(with(&[("host", "localhost:5001"), ("origin", origin)]), expected);
    }

    #[rstest]
    #[case("same-origin", Ok(()))]
    #[case("none", Ok(()))]
    #[case("same-site", Err(NotLocal::Origin))]
    #[case("cross-site", Err(NotLocal::Origin))]
    fn a_browser_that_says_another_site_asks_is_believed(#[case] site: &str, #[case] expected: Result<(), NotLocal>) {
        assert_eq!(with(&[("host", "localhost:5001"), ("sec-fetch-site", site)]), expected);
    }

    #[test]
    fn the_host_in_the_address_counts_too() {
        let here = connection("127.0.0.1:4000", HERE);
        let check = |uri: &'static str, headers: &HeaderMap| check(Some(&here), false, &Uri::from_static(uri), headers);
        assert_eq!(check("http://localhost:5001/", &HeaderMap::new()), Ok(()));
        assert_eq!(check("http://example.com/", &headers(&[("host", "localhost")])), Err(NotLocal::Host));
    }
}

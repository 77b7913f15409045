//! The syntax of single values: durations, sizes, addresses, names.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A duration as `45s`, `15m`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let hint = || format!("`{text}` is no duration; write for example \"45s\", \"15m\" or \"1h 30m\"");
    let parsed: jiff::SignedDuration = text.trim().parse().map_err(|_| hint())?;
    Duration::try_from(parsed).map_err(|_| hint())
}

/// A number of bytes as `16 MiB`, `512 KiB`, `1048576`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let hint = || format!("`{text}` is no size; write for example \"16 MiB\", \"512 KiB\" or \"1048576\"");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..digits].parse().map_err(|_| hint())?;
    let factor: usize = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(hint()),
    };
    number.checked_mul(factor).ok_or_else(hint)
}

/// An address to listen on: `127.0.0.1:5001`, `[::1]:5001`, `localhost:5001`.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("`{text}` has no port; write {ip}:5001"),
        Ok(IpAddr::V6(ip)) => format!("`{text}` has no port; write [{ip}]:5001"),
        Err(_) => format!("`{text}` is no address to listen on; write for example 127.0.0.1:5001, 0.0.0.0:5001 or [::1]:5001"),
    })
}

/// Whether a text is fit to be the name of a server or an agent: 1 to 64 of `A-Z a-z 0-9 . _ -`, not beginning with a dot.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The name that a machine's host name makes.
pub(super) fn name_from_host(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    let name: String = first.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(64).collect();
    if name.is_empty() { "muster".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("45s"), Ok(Duration::from_secs(45)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "45", "soon", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_bytes_with_an_optional_binary_unit() {
        assert_eq!(size("16 MiB"), Ok(16 << 20));
        assert_eq!(size("512KiB"), Ok(512 << 10));
        assert_eq!(size("1048576"), Ok(1 << 20));
        for wrong in ["", "MiB", "16 MB", "-1", "99999999999999 GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_without_port_is_told_with_what_to_write() {
        assert_eq!(listen_address("127.0.0.1"), Err("`127.0.0.1` has no port; write 127.0.0.1:5001".to_owned()));
        assert_eq!(listen_address("::1"), Err("`::1` has no port; write [::1]:5001".to_owned()));
        assert_eq!(listen_address("localhost:80"), Ok(SocketAddr::from(([127, 0, 0, 1], 80))));
        assert!(listen_address("example.com:80").is_err());
    }

    #[test]
    fn a_host_name_makes_a_name() {
        assert_eq!(name_from_host("build-1.example.com"), "build-1");
        assert_eq!(name_from_host("日本"), "muster");
        assert!(is_name("Server-A") && !is_name("") && !is_name("../x") && !is_name("a b"));
    }
}

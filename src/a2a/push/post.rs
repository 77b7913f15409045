//! One request to a webhook: where it may go, how long it may take, and what its answer means.
//!
//! Addresses are checked where the connection is made, after the name was resolved: a name that is public when it is looked at and private when
//! it is used helps nobody. Redirects are not followed, and no proxy of the environment is asked.

use crate::domain::webhook::{Try, is_public};
use crate::lifecycle::Lifecycle;
use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioIo, TokioTimer};
use muster_protocol::a2a::TaskPushNotificationConfig;
use muster_protocol::client::http;
use muster_protocol::time::Timestamp;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use url::{Host, Url};

/// How long a request may take until its answer begins.
const LIMIT: Duration = Duration::from_secs(15);
/// How long one address of a receiver may take to be connected to, and how many of them are tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const MOST_ADDRESSES: usize = 3;
/// Of the body of an answer no more is read, to use the connection again; it says nothing.
const MOST_ANSWER: usize = 16 << 10;
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long a connection waits for the next request, and how many of them to one receiver.
const IDLE: Duration = Duration::from_secs(20);
const MOST_IDLE: usize = 4;

const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");
/// By it a receiver knows what it has: what is sent again has the same place, and later events have higher ones.
const PLACE: HeaderName = HeaderName::from_static("x-event-id");
const VERSION: HeaderName = HeaderName::from_static(super::super::version::HEADER);

/// The address that a URL names by its number.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// What is sent.
pub(super) struct Notice<'a> {
    /// Where to, and with which credentials.
    pub(super) to: &'a TaskPushNotificationConfig,
    /// The version of A2A of the body.
    pub(super) version: &'a str,
    /// The place of the event, if it is the last of its place: the id that it has in a stream.
    pub(super) place: Option<u64>,
    pub(super) body: String,
}

/// A try in vain.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) what: Try,
    /// How long the receiver wants to be left alone.
    pub(super) asked: Option<Duration>,
    /// In words, without anything secret.
    pub(super) problem: String,
}

impl Failure {
    fn of(what: Try, problem: impl Into<String>) -> Self {
        Self { what, asked: None, problem: problem.into() }
    }
}

/// What sends requests to webhooks. Its connections are used again.
pub(super) struct Poster(Client<HttpsConnector<Connector>, Full<Bytes>>);

impl Poster {
    /// One that sends to public addresses, or to private ones too. Its connections are tasks of the server.
    pub(super) fn new(life: Lifecycle, to_private: bool) -> Self {
        if !http::knows_authorities() {
            tracing::warn!("this machine knows no certificate authorities: neither webhooks nor agents with https can be reached");
        }
        let tls = HttpsConnectorBuilder::new().with_tls_config(http::trusting());
        let connector = tls.https_or_http().enable_http1().wrap_connector(Connector { to_private });
        let mut builder = Client::builder(Spawner(life));
        Self(builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(MOST_IDLE).build(connector))
    }

    /// Sends a notice, once.
    pub(super) async fn post(&self, notice: Notice<'_>, now: Timestamp) -> Result<(), Failure> {
        let request = request(notice).map_err(|problem| Failure::of(Try::Refused, problem))?;
        let late = || Failure::of(Try::Failed, format!("it did not answer within {} s", LIMIT.as_secs()));
        let answered = timeout(LIMIT, self.0.request(request)).await.map_err(|_| late())?;
        let answer = answered.map_err(|error| unreached(&error))?;
        let (status, what) = (answer.status(), Try::of_status(answer.status().as_u16()));
        let asked = retry_after(answer.headers(), now);
        // In vain or not: a connection that is not read to its end is closed, and that is all.
        let _ = timeout(ANSWER_LIMIT, drain(answer)).await;
        if what == Try::Taken { Ok(()) } else { Err(Failure { what, asked, problem: format!("it answered {status}") }) }
    }
}

fn request(notice: Notice<'_>) -> Result<Request<Full<Bytes>>, String> {
    let Notice { to: config, version, place, body } = notice;
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| "its token or credentials cannot be sent in a header".to_owned());
    // As it was when it was checked: `url` and the client read some addresses differently.
    let url = Url::parse(&config.url).map_err(|_| "its address is none".to_owned())?;
    let mut request = Request::post(url.as_str()).body(Full::from(body)).map_err(|_| "its address cannot be used".to_owned())?;
    let media_type = if version == super::Version::V03.as_str() { "application/json" } else { "application/a2a+json" };
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("muster/", env!("CARGO_PKG_VERSION"))));
    headers.insert(VERSION, text(version)?);
    if let Some(place) = place {
        headers.insert(PLACE, HeaderValue::from(place));
    }
    if let Some(token) = config.token.as_deref().filter(|token| !token.is_empty()) {
        headers.insert(TOKEN, secret(text(token)?));
    }
    let authentication = config.authentication.as_ref().filter(|authentication| !authentication.scheme.is_empty());
    if let Some((scheme, credentials)) = authentication.and_then(|a| Some((&a.scheme, a.credentials.as_ref()?))) {
        headers.insert(AUTHORIZATION, secret(text(&format!("{scheme} {credentials}"))?));
    }
    Ok(request)
}

/// A value that is not shown by whoever prints it.
fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(Timestamp(until).since(now)))
}

async fn drain(answer: Response<Incoming>) {
    let (mut body, mut left) = (answer.into_body(), MOST_ANSWER);
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        if size >= left {
            return;
        }
        left -= size;
    }
}

/// Why there was no answer. The innermost reason is the one that helps; none of them tells more of the address than host and port.
fn unreached(error: &(dyn Error + 'static)) -> Failure {
    let mut innermost = error;
    loop {
        if let Some(forbidden @ ConnectError::Forbidden) = innermost.downcast_ref() {
            return Failure::of(Try::Refused, forbidden.to_string());
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => return Failure::of(Try::Failed, format!("it cannot be reached: {innermost}")),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("its address is not public (the server's `a2a.webhooks_to_private` allows it)")]
    Forbidden,
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Makes connections, to public addresses only unless told otherwise.
#[derive(Debug, Clone)]
struct Connector {
    to_private: bool,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let to_private = self.to_private;
        Box::pin(async move { connect(&to, to_private).await.map(TokioIo::new) })
    }
}

async fn connect(to: &Uri, to_private: bool) -> Result<TcpStream, ConnectError> {
    let host = to.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = to.port_u16().unwrap_or(if to.scheme_str() == Some("https") { 443 } else { 80 });
    let all: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let allowed: Vec<_> = all.iter().filter(|address| to_private || is_public(address.ip())).take(MOST_ADDRESSES).collect();
    if allowed.is_empty() && !all.is_empty() {
        return Err(ConnectError::Forbidden);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in allowed {
        match timeout(CONNECT_LIMIT, TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last.into())
}

/// Runs connections as tasks of the server.
#[derive(Clone)]
struct Spawner(Lifecycle);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, connection: F) {
        self.0.spawn_isolated("connection to a webhook", connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_protocol::a2a::AuthenticationInfo;

    fn notice(config: &TaskPushNotificationConfig) -> Request<Full<Bytes>> {
        request(Notice { to: config, version: "1.0", place: None, body: "{}".to_owned() }).unwrap()
    }

    #[test]
    fn credentials_are_sent_where_there_are_any_and_never_shown() {
        let bare = TaskPushNotificationConfig { url: "http://h/a?b".to_owned(), token: Some(String::new()), ..Default::default() };
        let headers = notice(&bare).headers().clone();
        assert!(!headers.contains_key(TOKEN) && !headers.contains_key(AUTHORIZATION) && !headers.contains_key(PLACE), "{headers:?}");
        let authentication = Some(AuthenticationInfo { scheme: "Bearer".to_owned(), credentials: Some("s3cret".to_owned()) });
        let secret = TaskPushNotificationConfig { authentication, token: Some("s3cret".to_owned()), ..bare };
        let headers = notice(&secret).headers().clone();
        assert_eq!(
            (&headers[AUTHORIZATION], &headers[TOKEN]),
            (&HeaderValue::from_static("Bearer s3cret"), &HeaderValue::from_static("s3cret"))
        );
        assert!(!format!("{headers:?}").contains("s3cret"), "{headers:?}");
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let after = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            retry_after(&headers, Timestamp(784_111_777_000)).map(|pause| pause.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(after("soon"), None);
    }

    #[tokio::test]
    async fn a_connection_to_this_machine_is_refused_unless_it_is_allowed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]"] {
            let to: Uri = format!("http://{host}:{port}/").parse().unwrap();
            assert!(matches!(connect(&to, false).await, Err(ConnectError::Forbidden)), "{host}");
        }
        let to: Uri = format!("http://127.0.0.1:{port}/").parse().unwrap();
        assert!(connect(&to, true).await.is_ok());
    }
}

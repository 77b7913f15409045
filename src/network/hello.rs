//! Saying hello: two servers prove to each other that they are of one network, and the one that is greeted looks whether it reaches the other.

use super::http::{self, PeerError};
use super::{MOST_PEERS, link};
use crate::app::App;
use crate::error::ApiError;
use crate::store::events::RecordEvent;
use crate::store::peers::{PutPeer, event};
use muster_protocol::error::code;
use muster_protocol::event::kind;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Callback, CalledBack, Hello, PeerState, VERSION, Welcome};
use muster_protocol::time::Timestamp;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use url::{Host, Url};

const HELLO: &str = "/v1/network/hello";
const CALLBACK: &str = "/v1/network/callback";
/// What a proof is for.
const ASKS: &str = "hello";
const ANSWERS: &str = "welcome";
/// The longest name, address and so on.
const LONGEST: usize = 512;

/// A server that said hello and was refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Who it said it is.
    pub server_id: ServerId,
    /// What it said it is called.
    pub name: String,
    /// Where it said it is.
    pub url: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What saying hello led to.
#[derive(Debug)]
pub(super) enum Greeted {
    /// A peer.
    Peer(Box<Welcome>),
    /// It is this server itself.
    Itself,
}

/// Says hello to the server at an address.
pub(super) async fn say(app: &App, url: &str) -> Result<Greeted, PeerError> {
    let unsafe_url = !app.network.key.is_set() && !is_loopback(url);
    if unsafe_url {
        let message = "it is not on this machine, and this server has no network key: set the same MUSTER_NETWORK_KEY on all servers";
        return Err(PeerError::Refused { code: code::NETWORK_KEY.to_owned(), message: message.to_owned() });
    }
    let challenge = hex::encode(app.ids.secret().map_err(PeerError::Unreachable)?);
    app.network.remember_challenge(&challenge);
    let welcome: Welcome = http::post(url, HELLO, None, &own(app, ASKS, &challenge)).await?;
    let hello = &welcome.hello;
    check(hello).map_err(PeerError::NotMuster)?;
    if hello.challenge != challenge || !app.network.key.is_proof(&hello.proof, ANSWERS, hello.server_id, &challenge) {
        let message = format!("{} has another network key than this server", hello.name);
        return Err(PeerError::Refused { code: code::NETWORK_KEY.to_owned(), message });
    }
    let identity = app.store.identity();
    if hello.server_id != identity.server_id {
        return Ok(Greeted::Peer(Box::new(welcome)));
    }
    if hello.epoch == identity.epoch {
        return Ok(Greeted::Itself);
    }
    Err(PeerError::Fault("it has the identity of this server: one of the two data directories is a copy of the other's".to_owned()))
}

/// What this server says of itself.
fn own(app: &App, purpose: &str, challenge: &str) -> Hello {
    let identity = app.store.identity();
    Hello {
        protocol: VERSION,
        server_id: identity.server_id,
        name: identity.name.clone(),
        epoch: identity.epoch.clone(),
        url: app.network.address().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        challenge: challenge.to_owned(),
        proof: app.network.key.proof(purpose, identity.server_id, challenge),
    }
}

fn check(hello: &Hello) -> Result<(), String> {
    let texts = [&hello.name, &hello.epoch, &hello.url, &hello.version, &hello.challenge];
    if texts.iter().any(|text| text.len() > LONGEST || text.chars().any(char::is_control)) || hello.name.is_empty() {
        return Err("its hello is malformed".to_owned());
    }
    if hello.protocol != VERSION {
        return Err(format!("it speaks version {} of the network's protocol, this server {VERSION}", hello.protocol));
    }
    Ok(())
}

/// Answers a hello. `from` is where it comes from; `is_near` is whether that is this machine, with nothing in between.
///
/// # Errors
/// 403 without the network's key, 409 for the second server of one identity.
pub async fn answer_hello(app: &App, hello: Hello, from: Option<SocketAddr>, is_near: bool) -> Result<Welcome, ApiError> {
    check(&hello).map_err(|reason| ApiError::invalid("", reason))?;
    let refuse = |reason: String| {
        tracing::warn!(peer.name = hello.name, peer.url = hello.url, "a server was refused: {reason}");
        let (name, url, at) = (hello.name.clone(), hello.url.clone(), app.now());
        app.network.note_refusal(Refusal { server_id: hello.server_id, name, url, reason: reason.clone(), at });
        app.network.has_changed();
        ApiError::conflict(code::NETWORK_KEY, reason)
    };
    if !app.network.key.is_set() && !is_near {
        return Err(refuse(
            "this server has no network key, and joins servers of its own machine only: set the same MUSTER_NETWORK_KEY on all".into(),
        ));
    }
    if !app.network.key.is_proof(&hello.proof, ASKS, hello.server_id, &hello.challenge) {
        return Err(refuse(format!("{} has another network key than {}", hello.name, app.store.identity().name)));
    }
    app.network.forget_refusal(hello.server_id);
    let identity = app.store.identity();
    if hello.server_id == identity.server_id {
        if hello.epoch == identity.epoch {
            return Ok(welcome(app, &hello, Ok(()), muster_protocol::peer::Place::default()));
        }
        return Err(duplicate(app, &hello, app.network.address()).await);
    }
    let known = app.store.peer(hello.server_id).await?;
    if known.as_ref().is_some_and(|peer| peer.removed) {
        let message = format!("{} was removed from {}; add it there again", hello.name, identity.name);
        return Err(ApiError::conflict(code::PEER_REMOVED, message));
    }
    if known.is_none() && app.network.count_links().1 >= MOST_PEERS {
        return Err(ApiError::conflict(code::CONFLICT, format!("{} has {MOST_PEERS} peers already", identity.name)));
    }
    if let Some(link) = app.network.link(hello.server_id).filter(|link| link.is_heard() && link.epoch() != hello.epoch)
        && call_back(&link.url(), link.id, &link.epoch(), None).await.is_ok()
    {
        return Err(duplicate(app, &hello, &link.url()).await);
    }
    let url = reachable(&hello.url, from);
    let reached = call_back(&url, hello.server_id, &hello.epoch, Some(&hello.challenge)).await;
    let place = known.map(|peer| peer.place).unwrap_or_default();
    // Who is followed where it was is so on, whatever address it gives now.
    let followed = app.network.link(hello.server_id).filter(|link| link.is_reached()).map(|link| link.url());
    let stored = if reached.is_ok() { url.clone() } else { followed.unwrap_or_default() };
    let (server_id, name) = (hello.server_id, hello.name.clone());
    app.store.write(PutPeer { server_id, name, url: stored.clone(), take_back: false, now: app.now() }).await?;
    if app.store.peer(server_id).await?.is_some_and(|peer| peer.removed) {
        return Err(ApiError::conflict(code::PEER_REMOVED, format!("{} was removed from {} just now", hello.name, identity.name)));
    }
    let link = link::ensure(app, server_id, &hello.name, &stored, Some(place.clone()));
    link.said_hello(&hello.epoch, &url);
    if let Err(reason) = &reached {
        link.is_outbound_only(app, reason);
    }
    Ok(welcome(app, &hello, reached, place))
}

fn welcome(app: &App, hello: &Hello, reached: Result<(), String>, place: muster_protocol::peer::Place) -> Welcome {
    Welcome { hello: own(app, ANSWERS, &hello.challenge), reached: reached.is_ok(), reason: reached.err(), place }
}

/// The second server of one identity is refused, and the first is told.
async fn duplicate(app: &App, hello: &Hello, first: &str) -> ApiError {
    let message = format!(
        "{} at {first} has the identity of {} at {}: one data directory is a copy of the other's; start the second one with an empty directory",
        hello.name, hello.name, hello.url
    );
    // It knocks again and again; that is one fact.
    if !app.network.complain(hello.server_id, &message, app.clock.uptime()) {
        return ApiError::conflict(code::DUPLICATE_SERVER, message);
    }
    tracing::warn!(peer.id = %hello.server_id, "{message}");
    app.network.has_changed();
    let data = json!({ "name": hello.name, "first": first, "second": hello.url });
    let record = RecordEvent(event(kind::PEER_DUPLICATE, hello.server_id, app.now(), data));
    if let Err(error) = app.store.write(record).await {
        tracing::warn!(%error, "that two servers have one identity could not be noted");
    }
    ApiError::conflict(code::DUPLICATE_SERVER, message)
}

/// Looks whether a server is found at an address, and, with a challenge, whether it is the one that said hello.
async fn call_back(url: &str, id: ServerId, epoch: &str, challenge: Option<&str>) -> Result<(), String> {
    if url.is_empty() {
        return Err("it gave no address".to_owned());
    }
    let asked = Callback { challenge: challenge.unwrap_or_default().to_owned() };
    let answer: CalledBack = http::post(url, CALLBACK, None, &asked).await.map_err(|error| format!("at {url} {error}"))?;
    if answer.server_id != id || answer.epoch != epoch || (challenge.is_some() && !answer.is_mine) {
        return Err(format!("at {url} another server answers"));
    }
    Ok(())
}

/// Answers a server that calls back.
#[must_use]
pub fn answer_callback(app: &App, asked: &Callback) -> CalledBack {
    let identity = app.store.identity();
    let is_mine = app.network.is_own_challenge(&asked.challenge);
    CalledBack { server_id: identity.server_id, epoch: identity.epoch.clone(), is_mine }
}

/// The address that a server gave; one that listens everywhere is where it comes from.
fn reachable(url: &str, from: Option<SocketAddr>) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return String::new() };
    let everywhere = match parsed.host() {
        Some(Host::Ipv4(ip)) => ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_unspecified(),
        _ => false,
    };
    if let (true, Some(from)) = (everywhere, from) {
        let host = match from.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        if parsed.set_host(Some(&host)).is_err() {
            return String::new();
        }
    }
    parsed.as_str().trim_end_matches('/').to_owned()
}

/// Whether an address is on this machine.
fn is_loopback(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The state that a refusal leaves.
pub(super) fn state_of(error: &PeerError) -> PeerState {
    match error {
        PeerError::Refused { .. } | PeerError::Fault(_) | PeerError::NotMuster(_) => PeerState::Refused,
        PeerError::Unreachable(_) => PeerState::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, reachable};

    #[test]
    fn a_server_that_listens_everywhere_is_where_it_comes_from() {
        let from = Some("10.1.2.3:40000".parse().unwrap());
        assert_eq!(reachable("http://0.0.0.0:5001", from), "http://10.1.2.3:5001");
        assert_eq!(reachable("http://[::]:5001", from), "http://10.1.2.3:5001");
        assert_eq!(reachable("http://[::]:5001", Some("[fd00::1]:4".parse().unwrap())), "http://[fd00::1]:5001");
        assert_eq!(reachable("https://muster.example.com/", from), "https://muster.example.com");
        assert_eq!(reachable("nonsense", from), "");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        assert!(is_loopback("http://localhost:5001") && is_loopback("http://127.8.0.1") && is_loopback("http://[::1]:5"));
        assert!(!is_loopback("http://10.0.0.1") && !is_loopback("http://localhost.example.com") && !is_loopback("x"));
    }
}

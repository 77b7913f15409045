//! Addresses of servers that are to be joined: tried until a server answers there, and looked at again when that one is gone.

use super::hello::{Greeted, say, state_of};
use super::http::PeerError;
use super::{MOST_PEERS, MOST_STRANGERS, link};
use crate::app::App;
use crate::store::peers::PutPeer;
use crate::sync::lock;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{KnownPeer, PeerState, Welcome};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_secs(5);

/// An address that somebody gave.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The address.
    pub url: String,
    /// Who answered there last.
    pub found: Option<ServerId>,
    /// What it is, as long as nobody was found.
    pub state: PeerState,
    /// Why nobody is found.
    pub reason: Option<String>,
    /// Whether somebody asked for it just now: a server that was removed is taken back.
    takes_back: bool,
    gone: CancellationToken,
}

/// Tries an address from now on.
pub(super) fn ensure(app: &App, url: String, takes_back: bool) {
    let mut seeds = lock(&app.network.seeds);
    if seeds.contains_key(&url) || seeds.len() >= MOST_PEERS {
        return;
    }
    let gone = CancellationToken::new();
    let seed = Seed { url: url.clone(), found: None, state: PeerState::Connecting, reason: None, takes_back, gone: gone.clone() };
    seeds.insert(url.clone(), seed);
    drop(seeds);
    app.life.spawn_isolated("address of a peer", keep(app.clone(), url, gone));
}

/// Tries an address no more.
pub(super) fn forget(app: &App, url: &str) {
    if let Some(seed) = lock(&app.network.seeds).remove(url) {
        seed.gone.cancel();
    }
}

async fn keep(app: App, url: String, gone: CancellationToken) {
    let mut pause = SOON;
    loop {
        let is_needed = lock(&app.network.seeds).get(&url).is_some_and(|seed| seed.found.is_none_or(|id| !app.network.is_followed(id)));
        if is_needed {
            match say(&app, &url).await {
                Ok(Greeted::Peer(welcome)) => {
                    found(&app, &url, &welcome).await;
                    pause = SOON;
                }
                Ok(Greeted::Itself) => {
                    note(&app, &url, None, PeerState::Refused, Some("it is this server itself".to_owned()));
                    return;
                }
                Err(error) => {
                    failed(&app, &url, &error);
                    pause = (pause * 2).min(LATE);
                }
            }
        }
        tokio::select! {
            () = app.life.stopping() => return,
            () = gone.cancelled() => return,
            () = tokio::time::sleep(if is_needed { pause } else { LATE }) => {}
        }
    }
}

fn failed(app: &App, url: &str, error: &PeerError) {
    let (state, reason) = (state_of(error), error.to_string());
    let is_news = lock(&app.network.seeds).get(url).is_some_and(|seed| seed.reason.as_ref() != Some(&reason));
    if is_news {
        tracing::warn!("no peer at {url} yet: {reason}");
        note(app, url, None, state, Some(reason));
    }
}

fn note(app: &App, url: &str, found: Option<ServerId>, state: PeerState, reason: Option<String>) {
    if let Some(seed) = lock(&app.network.seeds).get_mut(url) {
        (seed.found, seed.state, seed.reason) = (found.or(seed.found), state, reason);
    }
    app.network.has_changed();
}

/// A server answered at an address: it is a peer from now on, unless it was removed.
pub(super) async fn found(app: &App, url: &str, welcome: &Welcome) {
    let hello = &welcome.hello;
    let stored = match app.store.peer(hello.server_id).await {
        Ok(stored) => stored,
        Err(error) => return tracing::warn!(%error, "a peer cannot be remembered"),
    };
    let takes_back = lock(&app.network.seeds).get(url).is_some_and(|seed| seed.takes_back);
    if stored.as_ref().is_some_and(|peer| peer.removed) && !takes_back {
        note(app, url, None, PeerState::Refused, Some(format!("{} was removed; add it again", hello.name)));
        return;
    }
    // Where it says that it is may be unreachable from here; where it was found is not.
    let is_known = app.network.link(hello.server_id).is_some_and(|link| link.is_heard());
    if !is_known {
        let put =
            PutPeer { server_id: hello.server_id, name: hello.name.clone(), url: url.to_owned(), take_back: takes_back, now: app.now() };
        if let Err(error) = app.store.write(put).await {
            return tracing::warn!(%error, "a peer cannot be remembered");
        }
        link::ensure(app, hello.server_id, &hello.name, url, Some(stored.map(|peer| peer.place).unwrap_or_default()));
    }
    if let Some(seed) = lock(&app.network.seeds).get_mut(url) {
        seed.takes_back = false;
    }
    note(app, url, Some(hello.server_id), PeerState::Up, None);
}

/// A peer knows another server.
pub(super) async fn hear_of(app: &App, peer: &KnownPeer) {
    let known = app.network.link(peer.server_id);
    if known.as_ref().is_some_and(|link| link.is_heard() || link.url() == peer.url) {
        return;
    }
    let (strangers, others) = app.network.count_links();
    if known.is_none() && (strangers >= MOST_STRANGERS || strangers + others >= MOST_PEERS) {
        return;
    }
    let removed = app.store.peer(peer.server_id).await.ok().flatten().is_some_and(|peer| peer.removed);
    if !removed && crate::config::peer_url(&peer.url).is_ok() {
        link::ensure(app, peer.server_id, &peer.name, peer.url.trim_end_matches('/'), None);
    }
}

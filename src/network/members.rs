//! The network as people see and change it.

use super::{link, seeds};
use crate::app::App;
use crate::error::ApiError;
use crate::store::external::EndOrphans;
use crate::store::peer_agents::DropPeerAgents;
use crate::store::peers::{KeepSeed, RemovePeer};
use crate::sync::lock;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Peer, PeerState, Place};
use std::time::Duration;

/// How long somebody who joins a server waits to hear what came of it.
const FIRST_MOMENTS: Duration = Duration::from_secs(3);

/// Every server that is known, every address at which none was found, and who was refused.
#[must_use]
pub fn shown(app: &App) -> Vec<Peer> {
    let links = app.network.links();
    let mut peers: Vec<_> = links.iter().map(|link| link.shown()).collect();
    for seed in app.network.seeds() {
        if seed.found.is_none_or(|id| app.network.link(id).is_none()) {
            peers.push(nobody(seed.url, seed.state, seed.reason));
        }
    }
    for refusal in app.network.refusals() {
        let reason = Some(format!("it was refused: {}", refusal.reason));
        let shown = nobody(refusal.url, PeerState::Refused, reason);
        peers.push(Peer { server_id: Some(refusal.server_id), name: refusal.name, since: Some(refusal.at), ..shown });
    }
    peers.sort_by(|one, other| one.name.cmp(&other.name));
    peers
}

fn nobody(url: String, state: PeerState, reason: Option<String>) -> Peer {
    Peer {
        server_id: None,
        name: url.clone(),
        url,
        state,
        reason,
        fault: None,
        since: None,
        last_seen: None,
        version: None,
        place: Place::default(),
        agents: 0,
        free_slots: 0,
    }
}

/// Joins the server at an address, and waits a moment for what comes of it.
///
/// # Errors
/// Of the store.
pub async fn join(app: &App, url: &str) -> Result<Peer, ApiError> {
    let now = app.now();
    app.store.write(KeepSeed { url: url.to_owned(), forget: false, now }).await?;
    seeds::forget(app, url);
    let mut changes = app.network.changes();
    // Who is found there and was removed is taken back.
    seeds::ensure(app, url.to_owned(), true);
    let waited = tokio::time::timeout(FIRST_MOMENTS, async {
        loop {
            changes.mark_unchanged();
            let peer = found_at(app, url);
            if peer.as_ref().is_some_and(|peer| peer.state != PeerState::Connecting) || changes.changed().await.is_err() {
                return peer;
            }
        }
    });
    let peer = waited.await.unwrap_or_else(|_| found_at(app, url));
    Ok(peer.unwrap_or_else(|| nobody(url.to_owned(), PeerState::Connecting, None)))
}

fn found_at(app: &App, url: &str) -> Option<Peer> {
    let seed = lock(&app.network.seeds).get(url).cloned()?;
    match seed.found.and_then(|id| app.network.link(id)) {
        Some(link) => Some(link.shown()),
        None => Some(nobody(seed.url, seed.state, seed.reason)),
    }
}

/// Lets a server go; answers its name.
///
/// # Errors
/// 404.
pub async fn part(app: &App, id: ServerId) -> Result<String, ApiError> {
    let known = app.store.peer(id).await?.filter(|peer| !peer.removed).ok_or_else(|| ApiError::not_found("peer", id))?;
    let now = app.now();
    app.store.write(RemovePeer { server_id: id, now }).await?;
    for seed in app.network.seeds().into_iter().filter(|seed| seed.found == Some(id) || seed.url == known.url) {
        seeds::forget(app, &seed.url);
        app.store.write(KeepSeed { url: seed.url, forget: true, now }).await?;
    }
    link::end(app, id);
    for name in app.store.write(DropPeerAgents { home: id }).await? {
        while app.store.write(EndOrphans { name: name.clone(), now }).await? > 0 {}
    }
    Ok(known.name)
}

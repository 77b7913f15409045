//! The network of servers: who the others are, joining them, following what happens there, and telling them what happens here.
//!
//! Each peer has one link (`link`), a task that says hello (`hello`) and then follows the peer's feed (`follow`), for ever. What is told to others is
//! made in `feed` and `told`. An address that somebody gave (`seeds`) leads to a link as soon as a server answers there.

mod feed;
mod follow;
mod hello;
mod http;
mod key;
mod link;
mod members;
mod notes;
mod passed;
mod push;
mod receive;
mod seeds;
mod told;

pub use feed::lines;
pub use hello::{Refusal, answer_callback, answer_hello};
pub use key::NetworkKey;
pub use link::Link;
pub use members::{join, part, shown};
pub use push::take_push;
pub use seeds::Seed;

use crate::app::App;
use crate::auth::TokenHash;
use crate::store::StoreError;
use crate::store::federation::Line;
use crate::sync::lock;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{KnownPeer, PeerState, ServerState};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// The most servers that are linked, and the most addresses that are tried.
pub const MOST_PEERS: usize = 200;
/// The most servers that are tried because a peer told of them, as long as they were not met.
const MOST_STRANGERS: usize = 50;
/// How long a server is told of a second one of its identity after that was seen last.
const COMPLAINED: Duration = Duration::from_secs(30);
/// The most challenges that are remembered.
const MOST_CHALLENGES: usize = 1_000;
/// The most refused servers that are shown.
const MOST_REFUSED: usize = 20;

/// What is known of other servers while this one runs.
pub struct Network {
    /// The network's key.
    pub key: NetworkKey,
    /// Where this server is reached, as far as it can tell.
    address: OnceLock<String>,
    links: Mutex<HashMap<ServerId, Arc<Link>>>,
    seeds: Mutex<BTreeMap<String, Seed>>,
    /// The challenges of the newest hellos from here.
    challenges: Mutex<VecDeque<String>>,
    /// Servers that said hello and were refused, the newest last.
    refused: Mutex<VecDeque<Refusal>>,
    /// What is wrong with servers, to be told to themselves, and when it was seen last, in uptime.
    complaints: Mutex<HashMap<ServerId, (String, Duration)>>,
    /// How far the events of others are known.
    heads: Mutex<HashMap<Line, u64>>,
    /// Rises with every change of a link.
    changed: watch::Sender<u64>,
    /// What this server tells of itself, without what depends on who is told.
    told: watch::Sender<Option<Arc<ServerState>>>,
}

impl Network {
    /// Nobody is known yet.
    #[must_use]
    pub fn new(key: NetworkKey) -> Self {
        Self {
            key,
            address: OnceLock::new(),
            links: Mutex::default(),
            seeds: Mutex::default(),
            challenges: Mutex::default(),
            refused: Mutex::default(),
            complaints: Mutex::default(),
            heads: Mutex::default(),
            changed: watch::Sender::new(0),
            told: watch::Sender::new(None),
        }
    }

    /// The link to a server, if it is known.
    #[must_use]
    pub fn link(&self, id: ServerId) -> Option<Arc<Link>> {
        lock(&self.links).get(&id).cloned()
    }

    /// All links.
    #[must_use]
    pub fn links(&self) -> Vec<Arc<Link>> {
        let mut links: Vec<_> = lock(&self.links).values().cloned().collect();
        links.sort_by_key(|link| link.id);
        links
    }

    /// Those that are up, or send what they have.
    #[must_use]
    pub fn connected(&self) -> Vec<Arc<Link>> {
        let mut links = self.links();
        links.retain(|link| link.is_heard());
        links
    }

    /// Whether a server is followed directly.
    #[must_use]
    pub fn is_followed(&self, id: ServerId) -> bool {
        self.link(id).is_some_and(|link| link.is_heard())
    }

    /// Signals of changes of links.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(in crate::network) fn has_changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The addresses that are tried.
    #[must_use]
    pub fn seeds(&self) -> Vec<Seed> {
        lock(&self.seeds).values().cloned().collect()
    }

    /// The servers that were refused lately.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        lock(&self.refused).iter().cloned().collect()
    }

    pub(in crate::network) fn note_refusal(&self, refusal: Refusal) {
        let mut refused = lock(&self.refused);
        refused.retain(|known| known.server_id != refusal.server_id);
        if refused.len() >= MOST_REFUSED {
            refused.pop_front();
        }
        refused.push_back(refusal);
    }

    pub(in crate::network) fn forget_refusal(&self, id: ServerId) {
        lock(&self.refused).retain(|known| known.server_id != id);
    }

    /// What is wrong with a server, if it still is.
    #[must_use]
    pub fn complaint(&self, id: ServerId, uptime: Duration) -> Option<String> {
        lock(&self.complaints).get(&id).filter(|(_, seen)| uptime.saturating_sub(*seen) < COMPLAINED).map(|(message, _)| message.clone())
    }

    /// Answers whether that is news.
    pub(in crate::network) fn complain(&self, id: ServerId, message: &str, uptime: Duration) -> bool {
        let is_news = self.complaint(id, uptime).is_none();
        let mut complaints = lock(&self.complaints);
        complaints.retain(|_, (_, seen)| uptime.saturating_sub(*seen) < COMPLAINED);
        complaints.insert(id, (message.to_owned(), uptime));
        is_news
    }

    /// How many links there are to servers that were only told of, and to others.
    pub(in crate::network) fn count_links(&self) -> (usize, usize) {
        let (strangers, others): (Vec<_>, Vec<_>) = self.links().into_iter().partition(|link| link.is_stranger());
        (strangers.len(), others.len())
    }

    pub(in crate::network) fn remember_challenge(&self, challenge: &str) {
        let mut challenges = lock(&self.challenges);
        if challenges.len() >= MOST_CHALLENGES {
            challenges.pop_front();
        }
        challenges.push_back(challenge.to_owned());
    }

    pub(in crate::network) fn is_own_challenge(&self, challenge: &str) -> bool {
        lock(&self.challenges).iter().any(|own| own == challenge)
    }

    /// The peer that shows a token with this hash.
    #[must_use]
    pub fn peer_of(&self, hash: TokenHash) -> Option<ServerId> {
        lock(&self.links).values().find(|link| link.shows == hash).map(|link| link.id)
    }

    /// Where this server is reached, as it tells others.
    #[must_use]
    pub fn address(&self) -> &str {
        self.address.get().map_or("", String::as_str)
    }

    pub(in crate::network) fn known_peers(&self, but: ServerId) -> Vec<KnownPeer> {
        let links = self.links();
        let known = links.iter().filter(|link| link.id != but && link.state() == PeerState::Up);
        known.map(|link| KnownPeer { server_id: link.id, name: link.name(), url: link.url() }).collect()
    }
}

/// Joins the network: those that are remembered, and those whose addresses were given. `addresses` are where this server listens.
///
/// # Errors
/// Of the store.
pub async fn start(app: &App, addresses: &[SocketAddr]) -> Result<(), StoreError> {
    let public = app.config.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
    let own = public.or_else(|| addresses.first().map(|address| format!("http://{address}"))).unwrap_or_default();
    drop(app.network.address.set(own));
    *lock(&app.network.heads) = app.store.event_heads().await?;
    app.life.spawn("what other servers are told", told::keep(app.clone()));
    for peer in app.store.peers().await? {
        if !peer.removed {
            link::ensure(app, peer.server_id, &peer.name, &peer.url, Some(peer.place));
        }
    }
    let given = app.config.network.connect.iter().map(|url| url.as_str().trim_end_matches('/').to_owned());
    for url in given.chain(app.store.seeds().await?) {
        seeds::ensure(app, url, false);
    }
    Ok(())
}

//! A link: what is known of one peer, and the task that keeps to it.

use super::follow::{Ended, follow};
use super::http::PeerError;
use super::receive::Receiver;
use super::{Network, hello};
use crate::app::App;
use crate::auth::TokenHash;
use crate::store::events::RecordEvent;
use crate::store::peers::event;
use crate::sync::lock;
use muster_protocol::event::kind;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Peer, PeerState, Place, ServerState};
use muster_protocol::time::Timestamp;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After this long without a word a peer is down; it says something every two and a half.
pub(super) const SILENCE: Duration = Duration::from_secs(8);
/// The shortest and the longest pause before a peer is tried again.
const SOON: Duration = Duration::from_millis(250);
const LATE: Duration = Duration::from_secs(5);
/// The longest pause before a server is tried that a peer told of and that was never met.
const VERY_LATE: Duration = Duration::from_secs(20);
/// The longest pause after a fault, and how long one is shown that did not come again.
pub(super) const AFTER_FAULT: Duration = Duration::from_mins(1);
/// How often it is looked whether a peer that sends by itself still does; and, after how many of these, whether it can be reached by now.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 5;

/// A peer, as it is known here.
pub struct Link {
    /// Who.
    pub id: ServerId,
    /// What it shows with its requests.
    pub(super) shows: TokenHash,
    pub(super) status: Mutex<Status>,
    /// Rung when the peer may be there again.
    pub(super) wake: Notify,
    /// Somebody removed it.
    pub(super) gone: CancellationToken,
    /// What receives from a peer that sends by itself.
    pub(super) pushed: tokio::sync::Mutex<Option<Receiver>>,
}

#[derive(Debug, Clone)]
pub(super) struct Status {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) epoch: String,
    pub(super) version: Option<String>,
    pub(super) state: PeerState,
    pub(super) reason: Option<String>,
    pub(super) fault: Option<String>,
    /// When the fault was seen last, in uptime.
    pub(super) faulted: Duration,
    /// What it says is wrong with this server.
    pub(super) accusation: Option<String>,
    pub(super) since: Timestamp,
    pub(super) last_seen: Option<Timestamp>,
    /// In uptime.
    pub(super) heard: Duration,
    /// When it sent something by itself, last, in uptime.
    pub(super) pushed: Option<Duration>,
    pub(super) told: Option<Arc<ServerState>>,
    pub(super) place: Place,
    /// Where it says that it is.
    pub(super) advertised: String,
    /// Only told of by a peer so far.
    pub(super) is_stranger: bool,
    /// When all was told that it has to tell, last, in uptime.
    pub(super) idle: Duration,
    /// The address under which its agents are known.
    pub(super) agents_at: Option<String>,
}

/// The link to a server: made, and kept by a task of its own, if there is none; with a newer name or address, these are taken over.
pub(super) fn ensure(app: &App, id: ServerId, name: &str, url: &str, place: Option<Place>) -> Arc<Link> {
    let network: &Network = &app.network;
    let mut links = lock(&network.links);
    if let Some(link) = links.get(&id) {
        link.is_now(name, url);
        if place.is_some() {
            lock(&link.status).is_stranger = false;
        }
        return Arc::clone(link);
    }
    let status = Status {
        name: name.to_owned(),
        url: url.to_owned(),
        epoch: String::new(),
        version: None,
        state: PeerState::Connecting,
        reason: None,
        fault: None,
        faulted: Duration::ZERO,
        accusation: None,
        since: app.now(),
        last_seen: None,
        heard: app.clock.uptime(),
        pushed: None,
        told: None,
        advertised: String::new(),
        is_stranger: place.is_none(),
        idle: Duration::ZERO,
        agents_at: None,
        place: place.unwrap_or_default(),
    };
    let (wake, gone) = (Notify::new(), CancellationToken::new());
    let shows = network.key.token(id, app.store.identity().server_id).hash();
    let link = Arc::new(Link { id, shows, status: Mutex::new(status), wake, gone, pushed: tokio::sync::Mutex::default() });
    links.insert(id, Arc::clone(&link));
    drop(links);
    app.life.spawn_isolated("link to a peer", keep(app.clone(), Arc::clone(&link)));
    network.has_changed();
    link
}

/// Lets a link go.
pub(super) fn end(app: &App, id: ServerId) {
    if let Some(link) = lock(&app.network.links).remove(&id) {
        link.gone.cancel();
    }
    app.network.has_changed();
}

/// Follows a peer for ever.
async fn keep(app: App, link: Arc<Link>) {
    let (mut pause, mut looks) = (SOON, 0);
    loop {
        if link.url().is_empty() {
            tokio::select! {
                () = link.wake.notified() => {}
                () = link.gone.cancelled() => return,
                () = app.life.stopping() => return,
                () = tokio::time::sleep(LOOK) => {
                    looks += 1;
                    link.look_whether_silent(&app).await;
                    if looks % LOOKS == 0 {
                        link.look_where_it_says(&app).await;
                    }
                }
            }
            continue;
        }
        let begun = app.clock.uptime();
        let ended = tokio::select! {
            ended = follow(&app, &link) => ended,
            () = link.gone.cancelled() => return,
            () = app.life.stopping() => return,
        };
        let is_faulty = match ended {
            Ended::Rewind => continue,
            Ended::After(error) => {
                let is_faulty = link.is_heard() && matches!(error, PeerError::Fault(_) | PeerError::NotMuster(_));
                let was_good = app.clock.uptime().saturating_sub(begun) > AFTER_FAULT;
                pause = match link.is_heard() {
                    true if is_faulty && !was_good => (pause * 2).min(AFTER_FAULT),
                    true => SOON,
                    false => (pause * 2).min(if link.is_stranger() { VERY_LATE } else { LATE }),
                };
                link.failed(&app, &error).await;
                is_faulty
            }
        };
        tokio::select! {
            () = link.wake.notified(), if !is_faulty => {}
            () = link.gone.cancelled() => return,
            () = app.life.stopping() => return,
            () = tokio::time::sleep(spread(pause, link.id)) => {}
        }
    }
}

/// Not all servers try one at the same moment.
fn spread(pause: Duration, id: ServerId) -> Duration {
    pause + pause / 512 * u32::from(id.0.as_bytes()[15])
}

impl Link {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        lock(&self.status).name.clone()
    }

    /// Where it is reached; empty if it cannot be.
    #[must_use]
    pub fn url(&self) -> String {
        lock(&self.status).url.clone()
    }

    /// Its start, as far as it is known.
    #[must_use]
    pub fn epoch(&self) -> String {
        lock(&self.status).epoch.clone()
    }

    /// What it is to this server.
    #[must_use]
    pub fn state(&self) -> PeerState {
        lock(&self.status).state.clone()
    }

    /// Whether it is heard of all the time.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        matches!(self.state(), PeerState::Up | PeerState::OutboundOnly)
    }

    /// Whether messages reach it.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.state() == PeerState::Up
    }

    /// Why it is as it is.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        lock(&self.status).reason.clone()
    }

    /// What it told of itself last.
    #[must_use]
    pub fn told(&self) -> Option<Arc<ServerState>> {
        lock(&self.status).told.clone()
    }

    /// For people.
    #[must_use]
    pub fn shown(&self) -> Peer {
        let status = lock(&self.status).clone();
        let agents = status.told.as_deref().map(|told| told.agents.as_slice()).unwrap_or_default();
        Peer {
            server_id: Some(self.id),
            name: status.name,
            url: status.url,
            reason: status.reason,
            fault: status.accusation.or(status.fault),
            since: Some(status.since),
            last_seen: status.last_seen,
            version: status.version,
            place: status.place,
            agents: u32::try_from(agents.len()).unwrap_or(u32::MAX),
            free_slots: agents.iter().filter(|agent| agent.up).filter_map(|agent| Some(agent.machine.as_ref()?.free)).sum(),
            state: status.state,
        }
    }

    fn is_now(&self, name: &str, url: &str) {
        let mut status = lock(&self.status);
        name.clone_into(&mut status.name);
        // Who cannot be reached at the moment may still be followed where it was.
        if !url.is_empty() || !matches!(status.state, PeerState::Up) {
            url.clone_into(&mut status.url);
        }
        drop(status);
        self.wake.notify_one();
    }

    /// It says hello, and cannot be reached: it sends by itself.
    pub(super) fn is_outbound_only(&self, app: &App, reason: &str) {
        if !self.is_reached() {
            self.heard(app);
            self.turn(app, PeerState::OutboundOnly, Some(format!("it cannot be reached from here ({reason}), and sends what it has")));
        }
    }

    pub(super) async fn is_up(&self, app: &App) {
        let was_heard = self.is_heard();
        self.heard(app);
        self.turn(app, PeerState::Up, None);
        if !was_heard {
            tracing::info!(peer.id = %self.id, peer.name = self.name(), "connected to {} at {}", self.name(), self.url());
            self.record(app, kind::PEER_UP).await;
        }
    }

    async fn failed(&self, app: &App, error: &PeerError) {
        let was_heard = self.is_heard();
        if matches!(error, PeerError::Fault(_) | PeerError::NotMuster(_)) {
            self.note_fault(app, error.to_string());
        }
        if self.is_sending(app) && matches!(error, PeerError::Unreachable(_)) {
            self.forget_address();
            self.turn(app, PeerState::OutboundOnly, Some(format!("it is not at its address ({error}), and sends what it has")));
            return;
        }
        self.turn(app, hello::state_of(error), Some(error.to_string()));
        if was_heard {
            tracing::warn!(peer.id = %self.id, peer.name = self.name(), "lost {} at {}: {error}", self.name(), self.url());
            self.record(app, kind::PEER_DOWN).await;
        }
    }

    async fn look_whether_silent(&self, app: &App) {
        let silent = app.clock.uptime().saturating_sub(lock(&self.status).heard) > SILENCE;
        if silent && self.state() == PeerState::OutboundOnly {
            self.turn(app, PeerState::Down, Some("it sends nothing any more, and cannot be reached from here".to_owned()));
            self.record(app, kind::PEER_DOWN).await;
        }
    }

    /// A peer that sends by itself may be reached by now.
    async fn look_where_it_says(&self, app: &App) {
        let advertised = lock(&self.status).advertised.clone();
        if advertised.is_empty() {
            return;
        }
        if let Ok(hello::Greeted::Peer(welcome)) = hello::say(app, &advertised).await
            && welcome.hello.server_id == self.id
        {
            self.is_now(&welcome.hello.name, &advertised);
        }
    }

    pub(super) fn turn(&self, app: &App, state: PeerState, reason: Option<String>) {
        let mut status = lock(&self.status);
        let is_other = status.state != state;
        if is_other {
            status.since = app.now();
        }
        let is_news = is_other || status.reason != reason;
        (status.state, status.reason) = (state, reason);
        drop(status);
        if is_news {
            app.network.has_changed();
        }
    }

    async fn record(&self, app: &App, kind: &'static str) {
        let data = json!({ "name": self.name(), "url": self.url(), "reason": self.reason() });
        if let Err(error) = app.store.write(RecordEvent(event(kind, self.id, app.now(), data))).await {
            tracing::warn!(%error, "that a peer came or went could not be noted");
        }
    }
}

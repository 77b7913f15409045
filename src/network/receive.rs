//! Taking in what a peer tells. Nothing of it is believed that it cannot know: what a server that is followed itself has to say is taken from it alone.

use super::MOST_PEERS;
use super::http::{self, PeerError};
use super::link::Link;
use super::passed::{ENOUGH, PassedOver};
use crate::app::App;
use crate::domain::federation::{Step, step};
use crate::store::federation::{KeepTold, Line as Origin};
use crate::store::peer_agents::PutPeerAgents;
use crate::sync::lock;
use muster_protocol::agent::AgentKind;
use muster_protocol::event::{Event, SPEC_VERSION, kind};
use muster_protocol::ids::EventId;
use muster_protocol::peer::{Line, Place, ServerState};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How many events are kept in one write.
const BATCH: usize = 500;
/// After so long without a word that it is not heard, this server says hello to a peer again.
const UNHEARD: Duration = Duration::from_secs(8);
/// The largest event, in bytes of its data; and the longest of its texts.
const LARGEST_DATA: usize = 256 << 10;
const LONGEST_TEXT: usize = 512;
/// The most agents of a server.
const MOST_AGENTS: usize = 2_000;
const EVENTS: &str = "/v1/network/events";

/// What takes in the lines of one reading.
pub(super) struct Receiver {
    app: App,
    link: Arc<Link>,
    /// Told, and not kept yet.
    events: Vec<Event>,
    /// How far the peer's log was read.
    read: Place,
    /// How far it need not be read again.
    kept: Place,
    passed_over: PassedOver,
    /// Since when the peer does not hear this server, in uptime.
    unheard: Option<Duration>,
}

impl Receiver {
    pub(super) fn new(app: App, link: Arc<Link>) -> Self {
        Self {
            app,
            link,
            events: Vec::new(),
            read: Place::default(),
            kept: Place::default(),
            passed_over: PassedOver::default(),
            unheard: None,
        }
    }

    /// How far the peer's log need not be read again.
    pub(super) fn place(&self) -> &Place {
        &self.kept
    }

    /// Whether events were passed over for a server that is not followed any more, and must be read again; or the peer lost this server.
    pub(super) fn must_begin_again(&mut self) -> bool {
        self.forget_what_is_known();
        let is_lost = self.unheard.is_some_and(|since| self.app.clock.uptime().saturating_sub(since) > UNHEARD);
        is_lost || self.passed_over.origins().any(|origin| !self.app.network.is_followed(origin))
    }

    fn forget_what_is_known(&mut self) {
        let heads = lock(&self.app.network.heads);
        self.passed_over.forget(|origin, number| heads.get(origin).is_some_and(|head| *head >= number));
    }

    /// What a server that is followed would have told long ago, had it happened there, did not happen.
    fn drop_lies(&mut self) {
        self.forget_what_is_known();
        while let Some((origin, since)) = self.passed_over.oldest() {
            let told_all_at = self.app.network.link(origin).filter(|link| link.is_heard()).map(|link| link.idle());
            if told_all_at.is_none_or(|at| at < since + ENOUGH) {
                return;
            }
            self.link.note_fault(&self.app, format!("it told events of the server {origin} that this server itself has not told"));
            tracing::warn!(peer.name = self.link.name(), %origin, "a peer told events of another server that did not happen there");
            self.passed_over.drop_oldest();
            self.forget_what_is_known();
        }
    }

    /// Takes in lines, in order.
    pub(super) async fn take(&mut self, lines: Vec<Line>) -> Result<(), PeerError> {
        let mut lines = lines.into_iter().peekable();
        while let Some(line) = lines.next() {
            match line {
                Line::Begin { place, fault } => {
                    if let Some(fault) = fault {
                        self.link.note_fault(&self.app, format!("its log was read before as it is not any more: {fault}"));
                    }
                    (self.read, self.kept) = (place.clone(), place);
                }
                Line::State(state) => self.state(*state).await?,
                Line::Event(event) => self.event(*event).await?,
                Line::Told(place) => {
                    if place.epoch.len() > LONGEST_TEXT || place.epoch.chars().any(char::is_control) {
                        return Err(PeerError::Fault("it tells a place that cannot be".to_owned()));
                    }
                    if place == self.read {
                        self.link.note_idle(&self.app);
                    }
                    self.read = place;
                    self.drop_lies();
                    // Where more has come already, it is kept with that: one write for all that waits.
                    if !matches!(lines.peek(), Some(Line::Event(_))) {
                        self.keep().await?;
                        self.link.is_right(&self.app);
                    }
                }
                Line::Heard(true) => self.unheard = None,
                Line::Heard(false) => self.unheard = self.unheard.or(Some(self.app.clock.uptime())),
            }
        }
        Ok(())
    }

    async fn event(&mut self, event: Event) -> Result<(), PeerError> {
        check(&event).map_err(|reason| PeerError::Fault(format!("it tells an event that cannot be: {reason}")))?;
        let identity = self.app.store.identity();
        let origin = (event.origin, event.epoch.clone());
        if event.origin == identity.server_id && event.epoch == identity.epoch {
            let shared = self.app.store.shared_head().await.map_err(|error| PeerError::Unreachable(error.to_string()))?;
            if event.originseq.is_some_and(|number| number > shared) {
                return Err(PeerError::Fault("it tells an event of this server that this server did not write".to_owned()));
            }
            return Ok(());
        }
        let head = lock(&self.app.network.heads).get(&origin).copied().unwrap_or(0);
        if step(head, &event) == Step::Known {
            return Ok(());
        }
        if event.origin != self.link.id && self.app.network.is_followed(event.origin) {
            // Until it has said so much, the peer's log is not done with.
            self.passed_over.add(event.sequence, origin, event.originseq.unwrap_or_default(), self.app.clock.uptime());
            return Ok(());
        }
        self.events.push(event);
        if self.events.len() >= BATCH { self.keep().await } else { Ok(()) }
    }

    /// Keeps what was told. Where something is missing, it is asked for; where nobody has it any more, that is kept instead.
    async fn keep(&mut self) -> Result<(), PeerError> {
        let mut events = std::mem::take(&mut self.events);
        loop {
            self.forget_what_is_known();
            let up_to = self.passed_over.begins_at().map_or(self.read.sequence, |at| at.saturating_sub(1).min(self.read.sequence));
            let place = Place { epoch: self.read.epoch.clone(), sequence: up_to };
            if events.is_empty() && place == self.kept {
                return Ok(());
            }
            let told = KeepTold { peer: self.link.id, events, place: place.clone(), now: self.app.now() };
            let all = told.events.clone();
            let kept = self.app.store.write(told).await.map_err(|error| PeerError::Unreachable(format!("nothing can be kept: {error}")))?;
            self.note_heads(kept.heads);
            let Some(n) = kept.hole else {
                self.kept = place;
                self.link.note_place(&self.kept);
                return Ok(());
            };
            events = self.missing_before(&all[n]).await?;
            events.extend_from_slice(&all[n..]);
        }
    }

    fn note_heads(&self, heads: Vec<(Origin, u64)>) {
        let mut known = lock(&self.app.network.heads);
        for (origin, head) in heads {
            let so_far = known.entry(origin).or_insert(0);
            *so_far = head.max(*so_far);
        }
    }

    /// The events that are missing before one; or that they are missing.
    async fn missing_before(&self, event: &Event) -> Result<Vec<Event>, PeerError> {
        let origin = (event.origin, event.epoch.clone());
        let head = lock(&self.app.network.heads).get(&origin).copied().unwrap_or(0);
        let first_known = event.originseq.unwrap_or_default();
        let mut found = self.ask_for(&origin, head).await?;
        found.retain(|found| {
            (found.origin, &found.epoch) == (origin.0, &origin.1)
                && found.originseq.is_some_and(|n| n < first_known)
                && check(found).is_ok()
        });
        if found.first().is_some_and(|first| matches!(step(head, first), Step::Next(_))) {
            return Ok(found);
        }
        let to = found.first().and_then(|first| first.originseq).unwrap_or(first_known).saturating_sub(1);
        tracing::warn!(peer.name = self.link.name(), origin = %event.origin, "events {} to {to} of a server are not to be had any more", head + 1);
        let gap = Event {
            specversion: SPEC_VERSION.to_owned(),
            id: EventId(self.app.ids.uuid(self.app.now())),
            source: event.source.clone(),
            kind: kind::LOG_GAP.to_owned(),
            subject: format!("servers/{}", event.origin),
            time: self.app.now(),
            datacontenttype: event.datacontenttype.clone(),
            data: json!({ "from": head + 1, "to": to }),
            originseq: Some(to),
            ..event.clone()
        };
        Ok(std::iter::once(gap).chain(found).collect())
    }

    /// What the peer has. Where it does not answer, it is asked again in its next reading: what is not to be had is another thing.
    async fn ask_for(&self, origin: &Origin, after: u64) -> Result<Vec<Event>, PeerError> {
        let (url, token) = (self.link.url(), self.app.network.key.token(self.app.store.identity().server_id, self.link.id));
        if url.is_empty() {
            return Ok(Vec::new());
        }
        let query = [("origin", &*origin.0.to_string()), ("epoch", &origin.1), ("after", &after.to_string())];
        http::get(&url, EVENTS, token.expose(), &query).await
    }

    /// What there is at the peer.
    async fn state(&mut self, state: ServerState) -> Result<(), PeerError> {
        if state.agents.len() > MOST_AGENTS || state.peers.len() > MOST_PEERS * 2 {
            return Err(PeerError::Fault(format!("it tells of {} agents and {} peers", state.agents.len(), state.peers.len())));
        }
        let is_strange = |agent: &muster_protocol::peer::PeerAgent| {
            agent.name.is_empty()
                || [&agent.name, &agent.description].iter().any(|text| text.len() > 8 * LONGEST_TEXT || text.contains('\0'))
        };
        if state.agents.iter().any(is_strange) {
            return Err(PeerError::Fault("it tells of an agent that cannot be".to_owned()));
        }
        let texts = [&state.name, &state.url, &state.version];
        if texts.iter().any(|text| text.len() > LONGEST_TEXT || text.chars().any(char::is_control)) {
            return Err(PeerError::Fault("it says of itself what cannot be".to_owned()));
        }
        let said = state.complaints.first().map(|complaint| http::shown(&complaint.message));
        if self.link.note_accusation(said.as_ref().map(|said| format!("it says: {said}")))
            && let Some(said) = said
        {
            tracing::error!(peer.name = self.link.name(), "{said}");
        }
        let own = self.app.store.identity().server_id;
        for peer in state.peers.iter().filter(|peer| peer.server_id != own && !peer.url.is_empty()) {
            super::seeds::hear_of(&self.app, peer).await;
        }
        let told = self.link.told();
        let have_moved = self.link.agents_are_at(&self.link.url());
        if have_moved || told.as_ref().is_none_or(|told| told.agents != state.agents) {
            // What it has from others is theirs to tell.
            let agents = state.agents.iter().filter(|agent| agent.kind != AgentKind::Peer).cloned().collect();
            let taken = self.app.taken_names().await.map_err(|error| PeerError::Unreachable(error.to_string()))?;
            let put = PutPeerAgents {
                home: self.link.id,
                url: self.link.url(),
                version: state.version.clone(),
                agents,
                taken,
                now: self.app.now(),
            };
            self.app.store.write(put).await.map_err(|error| PeerError::Unreachable(format!("nothing can be kept: {error}")))?;
        }
        self.link.note_told(Arc::new(state));
        self.app.network.has_changed();
        Ok(())
    }
}

fn check(event: &Event) -> Result<(), &'static str> {
    if event.originseq.is_none_or(|number| number == 0 || i64::try_from(number).is_err()) {
        return Err("it has no number");
    }
    let texts = [&event.kind, &event.subject, &event.epoch];
    if texts.iter().any(|text| text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control)) {
        return Err("its type, subject or epoch is malformed");
    }
    if event.data.to_string().len() > LARGEST_DATA {
        return Err("it is too large");
    }
    Ok(())
}

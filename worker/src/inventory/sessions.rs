//! Keeps the control plane informed of the OpenCode sessions on this machine, also of those made by hand.
//!
//! # How, and what was measured (OpenCode 1.18.33, 2 shared cores)
//!
//! `POST /sync/history {session: seq}` answers the events after those numbers *and the whole history of every session that
//! is not named*. Both ends of that are too large for the home of somebody who works with OpenCode every day:
//!
//! | home | call | seen |
//! | --- | --- | --- |
//! | 300 sessions, 30,000 events | history, all named | 0.11 s, during which OpenCode does nothing else |
//! | 300 sessions, 30,000 events | history, 100 named | 9 MB in 0.5 s |
//! | 2,000 sessions, 200,000 events | history, 900 named | 52 MB in 4.5 s; OpenCode grew to 2.2 GB |
//! | 2,000 sessions | history, 1,000 named or more | 500: each name is a term of one SQL expression, and SQLite ends at 1,000 |
//! | 2,000 sessions | `/experimental/session?start=` (changed since) | 4 ms |
//! | 2,000 sessions | `/experimental/session`, all in pages of 500 | 80 ms |
//! | any | `/session/S/message?limit=20` | 10 to 80 ms |
//!
//! So the increments are found another way, whose cost depends on what has changed and not on what there is:
//!
//! - Every few seconds, and when a session of this worker's OpenCode comes to rest, the list of sessions changed since the
//!   last look; that shows those of other processes on the same home, too. Every minute the whole list: what is no longer
//!   in it was deleted.
//! - Of a changed session the newest messages, page by page, until one is met that is as it was told
//!   (`known::Comparison`); only what is new or changed is sent. The first time that is the newest 500, and only for
//!   sessions changed in the last `sessions.days`. OpenCode notes the change of a session some moments before its last
//!   message is stored, and not while a message grows: a session is read again until it has come to rest.
//! - Ids and fingerprints of what was told are kept in the state directory (`known`), for one server: the one that knows
//!   the global codebase by that id. A server that lost its database makes a new id, and is told everything anew.
//!
//! One request at a time, here and there; while tasks run with a pause after each.

mod known;
mod look;
mod send;
mod shape;

use crate::agent::Shared;
use crate::backoff::Backoff;
use crate::clock;
use crate::config::Share;
use crate::opencode::client::{Listed, OpenCodeError};
use crate::opencode::server::{Running, State};
use known::{Comparison, Known};
use look::{Places, keep_own, list};
use muster_protocol::client::ClientError;
use muster_protocol::error::code;
use muster_protocol::ids::{CodebaseId, SessionId};
use muster_protocol::session::SyncSessions;
use muster_protocol::worker::Registered;
use send::{SEND, is_about_one};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often changed sessions are looked for.
const LOOK: Duration = Duration::from_secs(3);
/// How soon after a look the next one comes.
const SOONEST: Duration = Duration::from_secs(1);
/// How often all are listed.
const LIST_ALL: Duration = Duration::from_mins(1);
/// How many messages are read at once.
const PAGE: usize = 20;
/// The pause after each page while tasks run.
const POLITE: Duration = Duration::from_millis(100);
/// A session changed at least this long ago has come to rest, in milliseconds.
const RESTED: i64 = 20_000;
/// One that has not come to rest for this long is taken for broken off, in milliseconds; it is read when it changes.
const BROKEN_OFF: i64 = 600_000;
/// When a session that has not come to rest is read again, in milliseconds.
const AGAIN: i64 = 5_000;

/// Why a round ended before its end.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    OpenCode(#[from] OpenCodeError),
    #[error(transparent)]
    Server(#[from] ClientError),
}

/// Keeps the server informed until the daemon ends.
pub async fn keep_synced(shared: Arc<Shared>) {
    let known = match Known::open(&shared.config.state_dir) {
        Ok(known) => known,
        Err(error) => {
            tracing::warn!("the sessions are not shared: {error} (sessions in the state directory)");
            return;
        }
    };
    let mut teller = Teller::new(Arc::clone(&shared), known);
    tokio::select! {
        () = teller.run() => {}
        () = shared.exit.cancelled() => {}
    }
}

struct Teller {
    shared: Arc<Shared>,
    known: Known,
    /// Up to here, in OpenCode's time, all changes were seen.
    newest: i64,
    listed_all: Option<Instant>,
    /// Sessions that the server refuses, and for which change.
    refused: HashMap<String, i64>,
    /// Sessions that it turned out not to know, told anew once.
    told_anew: HashSet<String>,
    /// Whether messages wait to be told.
    behind: bool,
}

impl Teller {
    fn new(shared: Arc<Shared>, mut known: Known) -> Self {
        known.doubt(clock::now().0 - BROKEN_OFF);
        Self { shared, known, newest: 0, listed_all: None, refused: HashMap::new(), told_anew: HashSet::new(), behind: false }
    }

    async fn run(&mut self) {
        let mut registered = self.shared.registered.subscribe();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        loop {
            let Ok(now) = registered.wait_for(Option::is_some).await.map(|registered| registered.clone()) else { return };
            let (Some(now), State::Ready(running)) = (now, self.shared.opencode.state()) else {
                sleep(Duration::from_millis(500)).await;
                continue;
            };
            match self.round(&running, &now).await {
                Ok(()) => backoff.reset(),
                Err(trouble) => {
                    if let Trouble::Server(error) = &trouble {
                        self.shared.contact.failed(error);
                    }
                    tracing::debug!("the sessions are not told: {trouble}");
                    sleep(backoff.pause()).await;
                }
            }
            self.known.save();
            tokio::select! {
                () = sleep(self.pause()) => {}
                () = running.routes.rested.notified() => self.known.hurry(),
            }
        }
    }

    /// How long until there is something to look at.
    fn pause(&self) -> Duration {
        if self.behind {
            return POLITE;
        }
        let again = self.known.next_again().map(|at| Duration::from_millis(u64::try_from(at - clock::now().0).unwrap_or(0)));
        again.map_or(LOOK, |again| again.clamp(SOONEST, LOOK))
    }

    async fn round(&mut self, running: &Running, registered: &Registered) -> Result<(), Trouble> {
        let places = Places::of(registered);
        let Some(global) = places.global.clone() else { return Ok(()) };
        if self.known.serve(global.as_str()) {
            self.listed_all = None;
            self.refused.clear();
        }
        let all = self.listed_all.is_none_or(|at| at.elapsed() >= LIST_ALL);
        let mut listed = match self.shared.config.sessions.share {
            Share::None => Vec::new(),
            Share::All | Share::Own => list(running, if all { None } else { Some(self.newest) }).await?,
        };
        let newest = listed.iter().map(|session| session.time.updated).max();
        if self.shared.config.sessions.share == Share::Own {
            // What was told is own, except of an earlier start under another setting: that is withdrawn with the whole list.
            let known = self.known.rows().keys().filter(|_| !all).cloned().collect();
            keep_own(&mut listed, known);
        }
        self.tell_sessions(&listed, &places).await?;
        if all {
            self.tell_deleted(&listed, &global).await?;
            self.listed_all = Some(Instant::now());
        }
        self.newest = self.newest.max(newest.unwrap_or(0));
        self.tell_messages(running).await?;
        // Once more, for those whose number of messages has changed.
        self.tell_sessions(&listed, &places).await
    }

    /// Tells the rows of sessions that are new or have changed.
    async fn tell_sessions(&mut self, listed: &[Listed], places: &Places) -> Result<(), Trouble> {
        let mut by_codebase: HashMap<CodebaseId, Vec<_>> = HashMap::new();
        for session in listed {
            let Some(codebase) = places.of_directory(&session.directory) else { continue };
            let row = self.known.row(&session.id);
            let report = shape::report(session, row.and_then(|row| row.count));
            let print = shape::fingerprint(&(&report, codebase));
            if row.is_none_or(|row| row.told != print) && self.refused.get(&session.id) != Some(&session.time.updated) {
                by_codebase.entry(codebase.clone()).or_default().push((report, print));
            }
        }
        for (codebase, sessions) in by_codebase {
            for chunk in sessions.chunks(SEND) {
                match self.send_sessions(&codebase, chunk).await {
                    // It was removed from the registry: registering brings it back, and the others need not wait.
                    Err(Trouble::Server(error)) if error.code() == code::NOT_FOUND => {
                        tracing::debug!("the server does not know the codebase {codebase} any more");
                        self.shared.register_again.notify_one();
                        break;
                    }
                    told => told?,
                }
            }
        }
        Ok(())
    }

    /// Tells which sessions are no longer there, or no longer shared.
    async fn tell_deleted(&mut self, listed: &[Listed], global: &CodebaseId) -> Result<(), Trouble> {
        let there: HashSet<&str> = listed.iter().map(|session| session.id.as_str()).collect();
        let gone: Vec<String> = self.known.rows().keys().filter(|id| !there.contains(id.as_str())).cloned().collect();
        for chunk in gone.chunks(SEND) {
            let deleted = chunk.iter().cloned().map(SessionId).collect();
            let body = SyncSessions { worker_id: self.shared.worker_id.clone(), sessions: Vec::new(), deleted };
            self.shared.server.sync_sessions(global, &body).await?;
            for id in chunk {
                self.known.remove(id);
            }
        }
        self.refused.retain(|id, _| there.contains(id.as_str()));
        Ok(())
    }

    /// Tells the messages of sessions that have changed, the newest session first, for a while.
    async fn tell_messages(&mut self, running: &Running) -> Result<(), Trouble> {
        let (begun, now) = (Instant::now(), clock::now().0);
        let since = now - i64::from(self.shared.config.sessions.days) * 86_400_000;
        let is_due = |(id, row): &(&String, &known::Row)| {
            let wanted = row.read != row.updated || row.again.is_some_and(|at| at <= now);
            wanted && row.told != 0 && row.updated >= since && self.refused.get(*id) != Some(&row.updated)
        };
        let mut due: Vec<(i64, String)> = self.known.rows().iter().filter(is_due).map(|(id, row)| (row.updated, id.clone())).collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        self.behind = false;
        for (updated, id) in due {
            if begun.elapsed() > LOOK {
                // What has changed meanwhile comes first.
                self.behind = true;
                break;
            }
            match self.tell_messages_of(running, &id).await {
                Ok(()) => drop(self.told_anew.remove(&id)),
                Err(Trouble::Server(error)) if is_about_one(&error) || error.code() == code::NOT_FOUND => {
                    self.not_taken(&id, updated, &error);
                }
                Err(Trouble::OpenCode(error)) if !matches!(error, OpenCodeError::Unreachable(_)) => {
                    // It was deleted meanwhile, or OpenCode itself cannot read it: the others need not wait until it changes.
                    tracing::debug!("the messages of the session {id} cannot be read: {error}");
                    self.known.row_mut(&id).again = None;
                    self.refused.insert(id, updated);
                }
                Err(trouble) => return Err(trouble),
            }
            self.known.save_soon();
        }
        Ok(())
    }

    /// The server refuses the messages of a session. One that it does not know is told anew, once.
    fn not_taken(&mut self, id: &str, updated: i64, error: &ClientError) {
        self.known.row_mut(id).again = None;
        if error.code() == code::NOT_FOUND && self.told_anew.insert(id.to_owned()) {
            *self.known.row_mut(id) = known::Row::default();
            self.known.forget_messages(id);
            self.listed_all = None;
        } else {
            tracing::warn!("the server does not take the messages of the session {id}: {error}");
            self.refused.insert(id.to_owned(), updated);
        }
    }

    async fn tell_messages_of(&mut self, running: &Running, id: &str) -> Result<(), Trouble> {
        let row = self.known.row(id).cloned().unwrap_or_default();
        let codebase = CodebaseId(row.codebase.clone());
        let mut comparison = Comparison::new(self.known.told(id));
        let (mut before, mut all, mut open): (Option<String>, bool, Option<bool>) = (None, false, None);
        let mut count = PAGE;
        while !comparison.is_done() {
            let page = running.client.message_page(id, count, before.as_deref()).await?;
            if page.too_large && count > 1 {
                count = 1;
                continue;
            }
            if page.too_large {
                tracing::debug!("a message of the session {id} is too large to be shared");
            }
            let newest = page.messages.last().map(|message| &message["info"]);
            open.get_or_insert(newest.is_some_and(|info| info["role"] != "assistant" || !info["time"]["completed"].is_number()));
            all = page.next.is_none();
            let changed = comparison.page(page.messages.iter().filter_map(shape::message).collect(), all);
            drop(page.messages);
            let told_more = !changed.is_empty();
            self.send_messages(&codebase, id, changed, Vec::new()).await?;
            if told_more && !comparison.is_done() {
                self.known.set_told(id, &comparison.so_far());
            }
            before = page.next;
            sleep(if self.shared.table.all().is_empty() { Duration::ZERO } else { POLITE }).await;
        }
        let end = comparison.end(all);
        if !end.gone.is_empty() {
            self.send_messages(&codebase, id, Vec::new(), end.gone.clone()).await?;
        }
        self.known.set_told(id, &end.told);
        let now = clock::now().0;
        let quiet = now - row.updated;
        let unrested = quiet < RESTED || (open == Some(true) && quiet < BROKEN_OFF);
        let changed = self.known.row_mut(id);
        changed.read = row.updated;
        changed.count = end.count(row.count);
        changed.again = unrested.then_some(now + AGAIN);
        Ok(())
    }
}

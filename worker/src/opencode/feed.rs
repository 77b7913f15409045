//! One subscription to `GET /global/event`, and its distribution to the runs.
//!
//! A run reads from a bounded queue. If it is too slow, or the connection was lost, it gets [`Event::Gap`] and reads again
//! what is stored: nothing waits for a slow run, and nothing is lost silently.

use super::events::{Event, Incoming, SessionEvent, parse};
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// How many events may wait for a run.
const QUEUE: usize = 4096;
/// The longest message that is read; OpenCode sends whole texts and diffs in one line.
const MAX_LINE: usize = 64 << 20;

/// Who gets which session's events.
#[derive(Debug, Default)]
pub struct Routes {
    inner: Mutex<HashMap<String, Route>>,
    /// Woken when a session was made or has come to rest, whosever it is.
    pub rested: Notify,
}

#[derive(Debug, Clone)]
struct Route {
    /// The session of the run; for a subagent's session that of its ancestor.
    root: String,
    queue: mpsc::Sender<SessionEvent>,
    /// Events were dropped, and the run has not been told yet.
    gap: bool,
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Route>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the events of `session`, and of the sessions that it makes, come out of the queue that is given back.
    pub fn open(&self, session: &str) -> mpsc::Receiver<SessionEvent> {
        let (queue, events) = mpsc::channel(QUEUE);
        self.lock().insert(session.to_owned(), Route { root: session.to_owned(), queue, gap: false });
        events
    }

    /// From now on the events of `child` go where those of `parent` go.
    pub fn adopt(&self, parent: &str, child: &str) {
        let mut routes = self.lock();
        if let Some(route) = routes.get(parent).cloned() {
            routes.entry(child.to_owned()).or_insert(route);
        }
    }

    /// Ends what [`Self::open`] began.
    pub fn close(&self, session: &str) {
        self.lock().retain(|_, route| route.root != session);
    }

    /// Hands an event to the run it belongs to, if there is one.
    pub fn dispatch(&self, event: SessionEvent) {
        if matches!(event.event, Event::Idle | Event::Created { .. }) {
            self.rested.notify_one();
        }
        let mut routes = self.lock();
        if let Event::Created { parent: Some(parent) } = &event.event
            && let Some(route) = routes.get(parent).cloned()
        {
            routes.insert(event.session.clone(), route);
        }
        let Some(root) = routes.get(&event.session).map(|route| route.root.clone()) else { return };
        if let Some(route) = routes.get_mut(&root) {
            route.send(event);
        }
    }

    /// Tells every run that events may be missing.
    pub fn gap(&self) {
        for (session, route) in self.lock().iter_mut() {
            if *session == route.root {
                route.send_gap();
            }
        }
    }
}

impl Route {
    fn send(&mut self, event: SessionEvent) {
        if self.gap {
            // The room that has come free is for the news that something is missing.
            self.send_gap();
        }
        if !self.gap && self.queue.try_send(event).is_err() {
            self.gap = true;
        }
    }

    fn send_gap(&mut self) {
        let gap = SessionEvent { session: self.root.clone(), directory: String::new(), event: Event::Gap };
        self.gap = self.queue.try_send(gap).is_err();
    }
}

/// Why reading the stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedEnd {
    /// Nothing came for too long; OpenCode beats every ten seconds.
    Silent,
    /// The connection ended.
    Closed(String),
}

/// Reads one connection to its end. OpenCode says at its beginning that it is connected, and sends what happens from then on: then
/// each run reads again what has happened before.
pub async fn follow(response: reqwest::Response, routes: &Routes, silence: Duration) -> FeedEnd {
    let mut chunks = response.bytes_stream();
    let mut lines = Lines::default();
    loop {
        let chunk = match tokio::time::timeout(silence, chunks.next()).await {
            Err(_) => return FeedEnd::Silent,
            Ok(None) => return FeedEnd::Closed("the stream ended".to_owned()),
            Ok(Some(Err(error))) => return FeedEnd::Closed(error.to_string()),
            Ok(Some(Ok(chunk))) => chunk,
        };
        if lines.push(&chunk).is_err() {
            return FeedEnd::Closed(format!("a message is longer than {MAX_LINE} bytes"));
        }
        while let Some(line) = lines.next() {
            if let Some(data) = line.strip_prefix("data:") {
                match parse(data.trim_start()) {
                    Some(Incoming::Session(event)) => routes.dispatch(*event),
                    Some(Incoming::Gap) => routes.gap(),
                    Some(Incoming::Alive) => {}
                    None => tracing::debug!("an event of OpenCode cannot be read"),
                }
            }
        }
    }
}

/// Splits bytes into lines. OpenCode sends each event as one `data:` line.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Up to here there is no line end.
    searched: usize,
    /// Up to here everything has been given out.
    given: usize,
}

impl Lines {
    fn push(&mut self, chunk: &[u8]) -> Result<(), ()> {
        self.bytes.drain(..self.given);
        self.searched -= self.given;
        self.given = 0;
        if self.bytes.len() + chunk.len() > MAX_LINE {
            return Err(());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn next(&mut self) -> Option<String> {
        let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n').map(|at| at + self.searched) else {
            self.searched = self.bytes.len();
            return None;
        };
        let line = String::from_utf8_lossy(&self.bytes[self.given..end]).trim_end_matches('\r').to_owned();
        self.given = end + 1;
        self.searched = end + 1;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, QUEUE, Routes};
    use crate::opencode::events::{Event, SessionEvent};

    fn event(session: &str, event: Event) -> SessionEvent {
        SessionEvent { session: session.to_owned(), directory: "/d".to_owned(), event }
    }

    #[test]
    fn lines_are_whole_wherever_the_chunks_are_cut() {
        let text = "data: ä\r\n\ndata: b\n";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for chunk in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                lines.push(chunk).unwrap();
                seen.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(seen, ["data: ä", "", "data: b"], "cut at {cut}");
        }
    }

    #[test]
    fn a_subagents_events_reach_the_run_that_made_it() {
        let routes = Routes::default();
        let mut events = routes.open("a");
        routes.dispatch(event("b", Event::Created { parent: Some("a".to_owned()) }));
        routes.dispatch(event("c", Event::Created { parent: Some("b".to_owned()) }));
        routes.dispatch(event("c", Event::Busy));
        routes.dispatch(event("x", Event::Busy));
        let seen: Vec<String> = std::iter::from_fn(|| events.try_recv().ok()).map(|e| e.session).collect();
        assert_eq!(seen, ["b", "c", "c"]);
        routes.close("a");
        assert!(routes.lock().is_empty());
    }

    #[test]
    fn a_slow_run_is_told_that_it_missed_something() {
        let routes = Routes::default();
        let mut events = routes.open("a");
        for _ in 0..QUEUE + 10 {
            routes.dispatch(event("a", Event::Busy));
        }
        while let Ok(event) = events.try_recv() {
            assert_eq!(event.event, Event::Busy);
        }
        routes.dispatch(event("a", Event::Idle));
        let seen: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).map(|e| e.event).collect();
        assert_eq!(seen, [Event::Gap, Event::Idle]);
    }
}

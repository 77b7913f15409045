//! Events that travel between servers: which are shared, whether one is the next of its origin, and where a reader of a log goes on.

use muster_protocol::event::{Event, kind};
use muster_protocol::peer::Place;

/// What an event that was told is to what is known of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next one; this is the number up to which all is known with it.
    Next(u64),
    /// It is known.
    Known,
    /// Others before it are missing.
    Hole,
}

/// Looks at an event of an origin's start of which all is known up to `head`.
#[must_use]
pub fn step(head: u64, event: &Event) -> Step {
    let Some(number) = event.originseq else { return Step::Known };
    // A gap stands for all from its beginning on.
    let begins_at = if event.kind == kind::LOG_GAP { event.data["from"].as_u64().unwrap_or(number) } else { number };
    if number <= head {
        Step::Known
    } else if begins_at <= head + 1 {
        Step::Next(number)
    } else {
        Step::Hole
    }
}

/// The types of events that other servers may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared(Vec<String>);

impl Shared {
    /// `task.completed` is that type, `task.*` all that begin with it, `*` everything.
    ///
    /// # Errors
    /// The first one that is no such pattern.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let is_fit = |pattern: &str| {
            let word = pattern.strip_suffix('*').unwrap_or(pattern);
            (pattern == "*" || !word.is_empty()) && word.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'.' | b'_'))
        };
        match patterns.iter().find(|pattern| !is_fit(pattern)) {
            Some(wrong) => Err(format!("`{wrong}` is no type of event; write `task.completed`, `task.*` or `*`")),
            None => Ok(Self(patterns.to_vec())),
        }
    }

    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// Whether events of a type are shared.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => kind.starts_with(beginning),
            None => kind == pattern,
        })
    }
}

/// Where a reader that remembers a place goes on in a log whose starts are `epochs` (each with the newest place before it, oldest first) and which
/// ends at `head`; and why that is another place, if it is.
#[must_use]
pub fn resume(asked: &Place, epochs: &[(&str, u64)], head: u64) -> (u64, Option<String>) {
    if asked.epoch.is_empty() {
        return (0, None);
    }
    let Some(n) = epochs.iter().position(|(epoch, _)| *epoch == asked.epoch) else {
        let fault = format!("it remembers place {} of a start that this server does not know", asked.sequence);
        return (0, (asked.sequence > 0).then_some(fault));
    };
    let ends_at = epochs.get(n + 1).map_or(head, |(_, begins_at)| *begins_at);
    if asked.sequence > ends_at {
        let fault = format!("it remembers place {} of a start whose log ends at {ends_at}: this server was set back", asked.sequence);
        return (ends_at, Some(fault));
    }
    (asked.sequence, None)
}

#[cfg(test)]
mod tests {
    use super::{Shared, Step, resume, step};
    use muster_protocol::event::Event;
    use muster_protocol::peer::Place;
    use serde_json::json;

    fn event(kind: &str, number: u64, data: &serde_json::Value) -> Event {
        serde_json::from_value(json!({
            "specversion": "1.0", "id": "00000000-0000-0000-0000-000000000001", "source": "/", "type": kind, "subject": "s",
            "time": "2026-01-01T00:00:00.000Z", "datacontenttype": "application/json", "data": data, "sequence": 1,
            "origin": "00000000-0000-0000-0000-000000000002", "epoch": "e", "originseq": number
        }))
        .unwrap()
    }

    #[test]
    fn only_the_next_event_of_an_origin_is_kept() {
        let told = |number| step(5, &event("task.completed", number, &json!({})));
        assert_eq!((told(5), told(6), told(7)), (Step::Known, Step::Next(6), Step::Hole));
        let gap = |from, to| step(5, &event("log.gap", to, &json!({ "from": from, "to": to })));
        assert_eq!((gap(6, 9), gap(3, 9), gap(7, 9), gap(1, 5)), (Step::Next(9), Step::Next(9), Step::Hole, Step::Known));
    }

    #[test]
    fn patterns_choose_what_is_shared() {
        let shared = Shared::new(&["task.completed".to_owned(), "peer.*".to_owned()]).unwrap();
        assert!(shared.has("task.completed") && shared.has("peer.up") && !shared.has("task.failed"));
        assert!(Shared::everything().has("anything"));
        assert!(Shared::new(&["Task".to_owned()]).is_err() && Shared::new(&[String::new()]).is_err());
    }

    #[test]
    fn a_reader_goes_on_where_the_log_is_what_it_remembers() {
        let epochs = [("e1", 0), ("e2", 50), ("e3", 60)];
        let at = |epoch: &str, sequence| resume(&Place { epoch: epoch.to_owned(), sequence }, &epochs, 70);
        assert_eq!(at("", 0), (0, None));
        assert_eq!(at("e1", 40), (40, None));
        assert_eq!(at("e3", 65), (65, None));
        // The log was set back to 50, and what came after it there is another.
        assert_eq!(at("e1", 90).0, 50);
        assert!(at("e1", 90).1.unwrap().contains("set back"));
        assert_eq!(at("e3", 99).0, 70);
        assert_eq!(at("gone", 12).0, 0);
        assert!(at("gone", 12).1.is_some() && at("gone", 0).1.is_none());
    }
}

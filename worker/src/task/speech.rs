//! What a run says, on its way into the journal: small pieces of text are joined for a moment.

use super::attempt::Attempt;
use crate::clock;
use crate::spool::{Appended, Journal};
use muster_protocol::stream::{Delta, EntryKind};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How long a piece of text may wait for the next one.
const PATIENCE: Duration = Duration::from_millis(20);
/// How much text is joined at most, in bytes.
const ENOUGH: usize = 4096;
/// How long one entry's text may be, in bytes.
const MOST: usize = 32_768;

/// What a run says.
pub(super) struct Speech<'a> {
    journal: &'a Journal,
    attempt: &'a Attempt,
    held: Option<Held>,
    last: Option<Instant>,
    complained: bool,
}

struct Held {
    kind: EntryKind,
    part: String,
    text: String,
    due: Instant,
}

impl<'a> Speech<'a> {
    pub(super) fn new(attempt: &'a Attempt) -> Self {
        Self { journal: &attempt.journal, attempt, held: None, last: None, complained: false }
    }

    /// A piece of text. The first one after a silence goes at once.
    pub(super) fn say(&mut self, kind: &EntryKind, part: &str, delta: &str) {
        if self.held.as_ref().is_some_and(|held| held.kind != *kind || held.part != part) {
            self.flush();
        }
        let now = Instant::now();
        let due = self.last.map_or(now, |last| last + PATIENCE);
        let held = self.held.get_or_insert_with(|| Held { kind: kind.clone(), part: part.to_owned(), text: String::new(), due });
        held.text.push_str(delta);
        if held.text.len() >= ENOUGH || held.due <= now {
            self.flush();
        }
    }

    /// Anything else.
    pub(super) fn tell(&mut self, kind: EntryKind, data: &impl Serialize) {
        self.flush();
        self.append(kind, data);
    }

    /// When [`Self::flush`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.due)
    }

    /// Lets go what is held.
    pub(super) fn flush(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut rest = held.text.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(boundary(rest, MOST));
            self.append(held.kind.clone(), &Delta { part: held.part.clone(), delta: piece.to_owned() });
            rest = after;
        }
        self.last = Some(Instant::now());
    }

    fn append(&mut self, kind: EntryKind, data: &impl Serialize) {
        let problem = match self.journal.append(clock::now(), kind, data) {
            Ok(Appended::Written) => None,
            Ok(Appended::Cut) => Some("the spool is full (spool_max_bytes)".to_owned()),
            Err(error) => Some(format!("the spool cannot be written: {error}")),
        };
        if let Some(problem) = problem
            && !self.complained
        {
            self.complained = true;
            tracing::error!("{}: its stream is cut: {problem}", self.attempt.describe());
        }
        self.attempt.wake.notify_one();
    }
}

/// The last character boundary within `most` bytes.
fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::{Attempt, PATIENCE, Speech};
    use crate::clock::BootTime;
    use crate::spool::Spool;
    use crate::spool::tests::assignment;
    use muster_protocol::stream::{Delta, EntryKind};
    use std::sync::Arc;

    fn attempt(dir: &std::path::Path) -> Arc<Attempt> {
        Attempt::new(Spool::open(dir, 1 << 24).unwrap().0.create(assignment(1)).unwrap(), BootTime::now())
    }

    fn said(attempt: &Attempt) -> Vec<(String, String)> {
        let read = |entry: muster_protocol::stream::Entry| {
            let delta: Delta = serde_json::from_str(entry.data.get()).unwrap();
            (delta.part, delta.delta)
        };
        attempt.journal.batch(u64::MAX).unwrap().into_iter().map(read).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_piece_goes_at_once_and_the_following_ones_are_joined() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = attempt(dir.path());
        let mut speech = Speech::new(&attempt);
        speech.say(&EntryKind::Text, "p", "a");
        assert_eq!(attempt.journal.next_seq(), 1);
        speech.say(&EntryKind::Text, "p", "b");
        speech.say(&EntryKind::Text, "p", "c");
        assert_eq!(attempt.journal.next_seq(), 1);
        assert!(speech.due().unwrap() <= tokio::time::Instant::now() + PATIENCE);
        speech.say(&EntryKind::Text, "q", "d");
        speech.flush();
        assert_eq!(
            said(&attempt),
            [("p".into(), "a".into()), ("p".into(), "bc".into()), ("q".into(), "d".into())] as [(String, String); 3]
        );
    }

    #[tokio::test]
    async fn a_long_text_is_cut_between_characters_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = attempt(dir.path());
        let text = "ü€x".repeat(40_000);
        let mut speech = Speech::new(&attempt);
        speech.say(&EntryKind::Text, "p", &text);
        assert!(attempt.journal.next_seq() > 3);
        assert_eq!(said(&attempt).into_iter().map(|(_, delta)| delta).collect::<String>(), text);
    }
}

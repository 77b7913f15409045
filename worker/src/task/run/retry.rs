//! Retries: OpenCode repeats a provider request that failed, and the text that it had begun is broken off.

use super::texts::Source;
use super::{Action, Phase, Run, Verdict, emit};
use crate::opencode::error::{self, Failure, code};
use crate::opencode::events::Event;
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::time::Timestamp;

impl Run {
    /// OpenCode waits before it repeats a provider request. It does for as long as the provider asks; a run does not.
    pub(super) fn on_retry(&mut self, retry: &Event, discards: Vec<String>, now: u64, actions: &mut Vec<Action>) {
        self.phase = Phase::Retrying;
        // One that was found shown before may break off what was only said since.
        if self.is_new_retry(retry) || !discards.is_empty() {
            self.tell_retry(retry, discards, now, actions);
        }
    }

    /// Whether it was not told, and is not older than one that was found shown.
    fn is_new_retry(&self, retry: &Event) -> bool {
        matches!(retry, Event::Retry { attempt, next, .. } if self.retry != Some((*attempt, *next)) && *next > self.retry_shown)
    }

    fn tell_retry(&mut self, retry: &Event, discards: Vec<String>, now: u64, actions: &mut Vec<Action>) {
        let Event::Retry { attempt, message, next, wait } = retry else { return };
        self.phase = Phase::Retrying;
        self.retry = Some((*attempt, *next));
        let (message, next) = (error::scrub(message), Timestamp(*next));
        self.waits_until = now.saturating_add(*wait);
        let note = StatusNote {
            state: "retry".to_owned(),
            message: Some(message.clone()),
            retry: Some(*attempt),
            next_at: Some(next),
            discards,
            ..StatusNote::default()
        };
        actions.push(emit::tell(EntryKind::Status, &note));
        let ends = now.saturating_add(*wait).saturating_sub(self.begun).saturating_sub(self.pending.waited(now));
        if let Some(why) = emit::too_long(&self.limits, *wait, ends, self.deadline.filter(|deadline| next > *deadline)) {
            let failure = format!("{message}; the next try would be made in {} s, at {next}: {why}", wait.div_ceil(1_000));
            self.phase = Phase::Over(Verdict::Stop(Failure::new(code::RETRY_LIMIT, failure)));
        }
    }

    /// Takes in a retry that is found shown; its event may be lost, or come later.
    pub fn on_retry_shown(&mut self, retry: &Event, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if let (None, Event::Retry { next, .. }) = (self.verdict(), retry) {
            let is_news = self.is_new_retry(retry);
            self.retry_shown = self.retry_shown.max(*next);
            if is_news {
                let discards = self.parts.break_off(Source::Stored);
                self.tell_retry(retry, discards, now, &mut actions);
            }
        }
        actions
    }
}

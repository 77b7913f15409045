//! Catching up with what is stored: after events were lost, or when a run falls silent.
//!
//! What is stored is read while events wait to be read that are contained in it: whatever they tell again is no news.

use super::texts::Source;
use super::{Action, Phase, Run, Verdict, emit};
use crate::opencode::client::Message;
use crate::opencode::error::{Failure, code};
use crate::opencode::events::MessageInfo;
use muster_protocol::stream::{EntryKind, StatusNote};

/// How long after an idle that does not fit what is stored, or after a look that failed, it is read again.
const AGAIN: u64 = 1_500;
/// How long without an event until what is stored is read again.
const QUIET: u64 = 15_000;

/// When what is stored was read.
#[derive(Debug)]
pub(super) struct Look {
    last: u64,
    /// Events are missing that were not made up for yet.
    pub(super) is_due: bool,
    /// How often it was found at rest.
    idle: u32,
}

impl Look {
    pub(super) fn new(now: u64) -> Self {
        Self { last: now, is_due: false, idle: 0 }
    }
}

impl Run {
    /// Events are missing.
    pub(super) fn on_gap(&mut self, now: u64, actions: &mut Vec<Action>) {
        self.parts.doubt();
        self.look_soon(now);
        actions.push(Action::Recheck);
    }

    /// What is stored has to be looked at, at the latest with one of the next ticks.
    pub(super) fn look_soon(&mut self, now: u64) {
        self.look = Look { last: now, is_due: true, ..self.look };
    }

    /// Looks again if the last look failed or did not tell enough.
    pub(super) fn look_again(&mut self, now: u64) -> Vec<Action> {
        let since = now.saturating_sub(self.look.last);
        let unclear = self.look.is_due || self.idle.is_some_and(|idle| now.saturating_sub(idle) >= AGAIN);
        let quiet = now.saturating_sub(self.last_sign) >= QUIET && since >= QUIET;
        if (unclear && since >= AGAIN) || quiet {
            self.look.last = now;
            return vec![Action::Recheck];
        }
        Vec::new()
    }

    /// Takes in what is stored: the messages from the prompt's own on (none if it is not there), and whether the session works.
    pub fn observe(&mut self, messages: Option<&[Message]>, busy: bool, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.verdict().is_some() {
            return actions;
        }
        self.look.is_due = false;
        for message in messages.unwrap_or_default() {
            self.on_message(&message.info, &mut actions);
            if self.is_streamed(&message.info.id) {
                message.parts.iter().for_each(|part| self.parts.on_part(part, Source::Stored, now, &mut actions));
            }
            self.take_back_unkept(&message.info, &mut actions);
        }
        if busy {
            self.on_busy(&mut actions);
            self.look.idle = 0;
        } else {
            self.on_idle(now);
            self.look.idle += 1;
            // Read twice, seconds apart, as neither working nor answered: it never will be.
            if self.look.idle >= 3 && self.verdict().is_none() {
                self.phase = Phase::Over(Verdict::Failed(self.error.take().map_or_else(
                    || Failure::new(code::OPENCODE_ERROR, "OpenCode stopped working on the prompt without an answer; try again"),
                    |(failure, _)| failure,
                )));
            }
        }
        self.check_limits(now);
        actions
    }

    /// What was said of a complete answer that has kept nothing of it was broken off while events were missing.
    pub(super) fn take_back_unkept(&mut self, info: &MessageInfo, actions: &mut Vec<Action>) {
        let failed = info.error.as_ref().is_some_and(|error| !error.is_null());
        if self.look.is_due || failed || !info.is_complete() {
            return;
        }
        let discards = self.parts.end_unkept(&info.id);
        if !discards.is_empty() {
            let note = StatusNote { state: "retry".to_owned(), discards, ..StatusNote::default() };
            actions.push(emit::tell(EntryKind::Status, &note));
        }
    }

    /// Takes in a subagent's session that was found.
    pub fn adopt(&mut self, child: &str) {
        self.children.insert(child.to_owned());
    }
}

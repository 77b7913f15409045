//! One run in OpenCode as a state machine: events in, entries and refusals out, a verdict at the end. No I/O, no clock.
//!
//! The rules follow what OpenCode was seen to do: it says that it is idle before an error is stored, says it twice after
//! one, says nothing at all for an unknown mode, and repeats for ever what ended without a finish reason.

mod emit;
mod parts;
mod verdict;

pub use verdict::{Action, Phase, Verdict};

use crate::opencode::client::Message;
use crate::opencode::error::{self, Failure, code};
use crate::opencode::events::{Event, MessageInfo, SessionEvent};
use crate::policy::Limits;
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::Usage;
use muster_protocol::time::Timestamp;
use parts::Parts;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

/// How long after an error without any answer no idle need be waited for, in milliseconds.
const ERROR_GRACE: u64 = 1_000;
/// How long after an idle that does not fit what is stored it is read again.
const IDLE_GRACE: u64 = 1_500;
/// How long without an event until what is stored is read again.
const QUIET: u64 = 15_000;

/// What one message has spent.
#[must_use]
pub fn usage_of(info: &MessageInfo) -> Usage {
    emit::usage_of(info)
}

/// What several messages have spent.
#[must_use]
pub fn sum_of(all: &[Usage]) -> Usage {
    emit::sum(all.iter())
}

/// One run.
#[derive(Debug)]
pub struct Run {
    session: String,
    message: String,
    limits: Limits,
    phase: Phase,
    /// When OpenCode made the prompt's message, by its clock; what is older belongs to earlier prompts.
    accepted: Option<f64>,
    begun: u64,
    last_sign: u64,
    last_check: u64,
    answers: Vec<Answer>,
    spent: HashMap<String, Usage>,
    told: Usage,
    unfinished: u32,
    steps: HashSet<String>,
    compactions: u32,
    children: BTreeSet<String>,
    asked: HashSet<String>,
    refused_question: Option<String>,
    error: Option<(Failure, u64)>,
    idle: Option<u64>,
    idle_checks: u32,
    parts: Parts,
}

/// An answer of the model in the run's own session.
#[derive(Debug, Clone)]
struct Answer {
    id: String,
    complete: bool,
    counted: bool,
    summary: bool,
    error: Option<Failure>,
}

impl Run {
    /// A run whose prompt is being given, at `now` in milliseconds of some clock.
    #[must_use]
    pub fn new(session: &str, message: &str, codebase: PathBuf, limits: Limits, now: u64) -> Self {
        Self {
            session: session.to_owned(),
            message: message.to_owned(),
            limits,
            phase: Phase::Prompted,
            accepted: None,
            begun: now,
            last_sign: now,
            last_check: now,
            answers: Vec::new(),
            spent: HashMap::new(),
            told: Usage::default(),
            unfinished: 0,
            steps: HashSet::new(),
            compactions: 0,
            children: BTreeSet::new(),
            asked: HashSet::new(),
            refused_question: None,
            error: None,
            idle: None,
            idle_checks: 0,
            parts: Parts::new(codebase),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What became of it, once that is known.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match &self.phase {
            Phase::Over(verdict) => Some(verdict),
            _ => None,
        }
    }

    /// Its own session and those of its subagents.
    #[must_use]
    pub fn sessions(&self) -> HashSet<String> {
        self.children.iter().chain([&self.session]).cloned().collect()
    }

    /// Tokens and cost so far, those of subagents included.
    #[must_use]
    pub fn usage(&self) -> Usage {
        emit::sum(self.spent.values())
    }

    /// The files it was seen to change, in order.
    #[must_use]
    pub fn files(&self) -> &[String] {
        self.parts.files()
    }

    /// Takes an event in.
    pub fn on_event(&mut self, event: &SessionEvent, now: u64) -> Vec<Action> {
        if self.verdict().is_some() {
            return Vec::new();
        }
        self.last_sign = now;
        let mut actions = Vec::new();
        if event.session == self.session {
            self.on_own(event, now, &mut actions);
        } else {
            self.on_childs(event, &mut actions);
        }
        self.check_limits(now);
        actions
    }

    fn on_own(&mut self, event: &SessionEvent, now: u64, actions: &mut Vec<Action>) {
        match &event.event {
            Event::Busy => self.on_busy(actions),
            Event::Retry { attempt, message, next } => {
                self.phase = Phase::Retrying;
                let note = StatusNote {
                    state: "retry".to_owned(),
                    message: Some(error::scrub(message)),
                    retry: Some(*attempt),
                    next_at: Some(Timestamp(*next)),
                    ..StatusNote::default()
                };
                actions.push(emit::tell(EntryKind::Status, &note));
            }
            Event::Idle => self.on_idle(now),
            Event::Error(error) => self.on_error(error::from_opencode(error), now),
            Event::Compacted => {
                self.compactions += 1;
                let note = StatusNote { state: "compacted".to_owned(), ..StatusNote::default() };
                actions.push(emit::tell(EntryKind::Status, &note));
            }
            Event::Message(info) => self.on_message(info, actions),
            Event::Part(part) if self.is_streamed(&part.message_id) => {
                if let Some(child) = part.state["metadata"]["sessionId"].as_str() {
                    self.children.insert(child.to_owned());
                }
                self.parts.on_part(part, now, actions);
            }
            Event::Delta { message, part, delta } if self.is_streamed(message) => self.parts.on_delta(part, delta, actions),
            Event::Todos(items) => actions.push(emit::todos(items)),
            Event::Gap => {
                self.parts.doubt();
                self.last_check = now;
                actions.push(Action::Recheck);
            }
            _ => self.on_asked(event, actions),
        }
    }

    fn on_childs(&mut self, event: &SessionEvent, actions: &mut Vec<Action>) {
        match &event.event {
            Event::Created { .. } => drop(self.children.insert(event.session.clone())),
            Event::Message(info) if info.is_assistant() => {
                self.children.insert(event.session.clone());
                self.count(info, actions);
            }
            _ => self.on_asked(event, actions),
        }
    }

    /// Refuses permissions and questions, whichever session asks; each once.
    fn on_asked(&mut self, event: &SessionEvent, actions: &mut Vec<Action>) {
        let directory = event.directory.clone();
        match &event.event {
            Event::Permission(request) if self.asked.insert(request.id.clone()) => {
                actions.push(emit::permission(request));
                actions.push(Action::RejectPermission { id: request.id.clone(), directory });
            }
            Event::Question(request) if self.asked.insert(request.id.clone()) => {
                if event.session == self.session {
                    self.refused_question = Some(emit::question_title(request));
                }
                actions.push(emit::question(request));
                actions.push(Action::RejectQuestion { id: request.id.clone(), directory });
            }
            _ => {}
        }
    }

    fn on_busy(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Prompted {
            let note = StatusNote { state: "busy".to_owned(), session_id: Some(self.session.clone()), ..StatusNote::default() };
            actions.push(emit::tell(EntryKind::Status, &note));
        }
        self.phase = Phase::Working;
        self.idle = None;
    }

    /// Notes an error. That something was aborted, before there is an answer, is late news of the prompt before.
    fn on_error(&mut self, failure: Failure, now: u64) {
        if !(failure.code == code::ABORTED && self.answers.is_empty()) {
            self.error.get_or_insert((failure, now));
        }
    }

    fn on_message(&mut self, info: &MessageInfo, actions: &mut Vec<Action>) {
        if info.id == self.message && self.accepted.is_none() {
            self.accepted = Some(info.time.created);
            // What went wrong before this one was there went wrong with another one.
            self.error = None;
        }
        if !info.is_assistant() || self.accepted.is_none_or(|accepted| info.time.created < accepted) {
            return;
        }
        if self.phase == Phase::Prompted {
            self.on_busy(actions);
        }
        self.count(info, actions);
        let index = self.answers.iter().position(|answer| answer.id == info.id).unwrap_or_else(|| {
            self.answers.push(Answer { id: info.id.clone(), complete: false, counted: false, summary: info.is_summary(), error: None });
            self.answers.len() - 1
        });
        let Some(answer) = self.answers.get_mut(index) else { return };
        answer.complete |= info.is_complete();
        answer.summary |= info.is_summary();
        answer.error = info.error.as_ref().filter(|error| !error.is_null()).map(error::from_opencode).or_else(|| answer.error.take());
        if answer.complete && !answer.counted {
            answer.counted = true;
            let unfinished = answer.error.is_none() && matches!(info.finish.as_deref(), None | Some("unknown"));
            self.unfinished = if unfinished { self.unfinished + 1 } else { 0 };
        }
    }

    /// Counts a model call and what it cost.
    fn count(&mut self, info: &MessageInfo, actions: &mut Vec<Action>) {
        self.steps.insert(info.id.clone());
        self.spent.insert(info.id.clone(), emit::usage_of(info));
        let sum = self.usage();
        if info.is_complete() && sum != self.told {
            self.told = sum;
            actions.push(emit::tell(EntryKind::Usage, &sum));
        }
    }

    fn is_streamed(&self, message: &str) -> bool {
        self.answers.iter().any(|answer| answer.id == message && !answer.summary)
    }

    fn on_idle(&mut self, now: u64) {
        self.idle.get_or_insert(now);
        self.conclude();
    }

    /// The end, if idle was seen and the newest answer is complete.
    fn conclude(&mut self) {
        let Some(newest) = self.answers.last().filter(|newest| newest.complete) else { return };
        let verdict = match (&newest.error, &self.refused_question) {
            (Some(failure), _) => Verdict::Failed(failure.clone()),
            (None, Some(question)) => Verdict::Failed(Failure::new(
                code::QUESTION_REFUSED,
                format!(
                    "the run asked a question and nobody can answer while it runs unattended: {question}; put the answer into the prompt"
                ),
            )),
            (None, None) => Verdict::Answered(self.answers.iter().rev().find(|answer| !answer.summary).unwrap_or(newest).id.clone()),
        };
        self.phase = Phase::Over(verdict);
    }

    /// Lets time pass. To be called every few hundred milliseconds.
    pub fn on_tick(&mut self, now: u64) -> Vec<Action> {
        if self.verdict().is_some() {
            return Vec::new();
        }
        if let Some((failure, at)) = &self.error
            && self.answers.is_empty()
            && now.saturating_sub(*at) >= ERROR_GRACE
        {
            self.phase = Phase::Over(Verdict::Failed(failure.clone()));
            return Vec::new();
        }
        self.check_limits(now);
        let since_check = now.saturating_sub(self.last_check);
        let idle_unclear = self.idle.is_some_and(|idle| now.saturating_sub(idle) >= IDLE_GRACE) && since_check >= IDLE_GRACE;
        let quiet = now.saturating_sub(self.last_sign) >= QUIET && since_check >= QUIET;
        if self.verdict().is_none() && (idle_unclear || quiet) {
            self.last_check = now;
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
        for message in messages.unwrap_or_default() {
            self.on_message(&message.info, &mut actions);
            if self.is_streamed(&message.info.id) {
                message.parts.iter().for_each(|part| self.parts.on_part(part, now, &mut actions));
            }
        }
        if busy {
            self.on_busy(&mut actions);
            self.idle_checks = 0;
        } else {
            self.on_idle(now);
            self.idle_checks += 1;
            // Read twice, seconds apart, as neither working nor answered: it never will be.
            if self.idle_checks >= 3 && self.verdict().is_none() {
                self.phase = Phase::Over(Verdict::Failed(self.error.take().map_or_else(
                    || Failure::new(code::OPENCODE_ERROR, "OpenCode stopped working on the prompt without an answer; try again"),
                    |(failure, _)| failure,
                )));
            }
        }
        self.check_limits(now);
        actions
    }

    fn check_limits(&mut self, now: u64) {
        if self.verdict().is_some() {
            return;
        }
        let broken = emit::broken_limit(
            &self.limits,
            &emit::Spent {
                ran_ms: now.saturating_sub(self.begun),
                silent_ms: now.saturating_sub(self.last_sign),
                steps: self.steps.len(),
                unfinished: self.unfinished,
                compactions: self.compactions,
                usage: self.usage(),
            },
        );
        if let Some(failure) = broken {
            self.phase = Phase::Over(Verdict::Stop(failure));
        }
    }

    /// Takes in a permission or question that was found waiting.
    pub fn on_asked_again(&mut self, event: &SessionEvent) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.verdict().is_none() {
            self.on_asked(event, &mut actions);
        }
        actions
    }

    /// The id of the prompt's message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

#[cfg(test)]
mod tests;

//! One run in OpenCode as a state machine: events in, entries and refusals out, a verdict at the end. No I/O, no clock.
//!
//! The rules follow what OpenCode was seen to do: it says that it is idle before an error is stored, says it twice after
//! one, says nothing at all for an unknown mode, and repeats for ever what ended without a finish reason.

mod asked;
mod catch_up;
mod emit;
mod parts;
mod retry;
mod texts;
mod verdict;

pub use asked::{Asked, Settled};
pub use verdict::{Action, Phase, Verdict};

use crate::opencode::error::{self, Failure, code};
use crate::opencode::events::{Event, MessageInfo, SessionEvent};
use crate::policy::Limits;
use asked::Pending;
use catch_up::Look;
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::Usage;
use muster_protocol::time::Timestamp;
use parts::Parts;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use texts::Source;

/// How long after an error without any answer no idle need be waited for, in milliseconds.
const ERROR_GRACE: u64 = 1_000;

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
    /// Until then OpenCode has said that nothing will come.
    waits_until: u64,
    /// The retry that was told last: which try, and when.
    retry: Option<(u64, i64)>,
    /// When the newest retry that was found shown is made: earlier ones are over.
    retry_shown: i64,
    deadline: Option<Timestamp>,
    look: Look,
    answers: Vec<Answer>,
    spent: HashMap<String, Usage>,
    told: Usage,
    unfinished: u32,
    steps: HashSet<String>,
    compactions: u32,
    children: BTreeSet<String>,
    asked: HashSet<String>,
    pending: Pending,
    refused_question: Option<String>,
    error: Option<(Failure, u64)>,
    idle: Option<u64>,
    parts: Parts,
}

/// An answer of the model in the run's own session.
#[derive(Debug, Clone)]
struct Answer {
    id: String,
    complete: bool,
    counted: bool,
    summary: bool,
    finish: Option<String>,
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
            waits_until: now,
            retry: None,
            retry_shown: 0,
            deadline: None,
            look: Look::new(now),
            answers: Vec::new(),
            spent: HashMap::new(),
            told: Usage::default(),
            unfinished: 0,
            steps: HashSet::new(),
            compactions: 0,
            children: BTreeSet::new(),
            asked: HashSet::new(),
            pending: Pending::default(),
            refused_question: None,
            error: None,
            idle: None,
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
            self.on_childs(event, now, &mut actions);
        }
        self.check_limits(now);
        actions
    }

    fn on_own(&mut self, event: &SessionEvent, now: u64, actions: &mut Vec<Action>) {
        match &event.event {
            Event::Busy => self.on_busy(actions),
            Event::Retry { .. } => {
                let discards = self.parts.break_off(Source::Event);
                self.on_retry(&event.event, discards, now, actions);
            }
            Event::Idle => self.on_idle(now),
            Event::Error(error) => self.on_error(error::from_opencode(error), now),
            Event::Compacted => {
                self.compactions += 1;
                let note = StatusNote { state: "compacted".to_owned(), ..StatusNote::default() };
                actions.push(emit::tell(EntryKind::Status, &note));
            }
            Event::Message(info) => {
                self.on_message(info, actions);
                self.take_back_unkept(info, actions);
            }
            Event::Part(part) if self.is_streamed(&part.message_id) => {
                if let Some(child) = part.state["metadata"]["sessionId"].as_str() {
                    self.children.insert(child.to_owned());
                }
                self.parts.on_part(part, Source::Event, now, actions);
            }
            Event::Delta { message, part, delta } if self.is_streamed(message) => self.parts.on_delta(part, delta, actions),
            Event::Todos(items) => actions.push(emit::todos(items)),
            Event::Gap => self.on_gap(now, actions),
            _ => self.on_asked(event, now, actions),
        }
    }

    fn on_childs(&mut self, event: &SessionEvent, now: u64, actions: &mut Vec<Action>) {
        match &event.event {
            Event::Created { .. } => drop(self.children.insert(event.session.clone())),
            // The run waits for its subagent.
            Event::Retry { .. } => self.on_retry(&event.event, Vec::new(), now, actions),
            Event::Message(info) if info.is_assistant() => {
                self.children.insert(event.session.clone());
                self.count(info, actions);
            }
            _ => self.on_asked(event, now, actions),
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

    /// The task's deadline: a retry after it is not waited for.
    #[must_use]
    pub fn with_deadline(self, deadline: Option<Timestamp>) -> Self {
        Self { deadline, ..self }
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
        // An answer to our prompt says so. One that goes on after a compaction answers another message: only its time tells, by a clock
        // that may have been set meanwhile.
        let is_late = self.accepted.is_none_or(|accepted| info.time.created < accepted);
        if !info.is_assistant() || (is_late && info.parent_id.as_deref() != Some(self.message.as_str())) {
            return;
        }
        if self.phase == Phase::Prompted {
            self.on_busy(actions);
        }
        // What is stored was read before this event, which is older.
        if !info.is_complete() && self.answers.iter().any(|answer| answer.id == info.id && answer.complete) {
            return;
        }
        self.count(info, actions);
        let index = self.answers.iter().position(|answer| answer.id == info.id).unwrap_or_else(|| {
            let (id, summary) = (info.id.clone(), info.is_summary());
            self.answers.push(Answer { id, complete: false, counted: false, summary, finish: None, error: None });
            self.answers.len() - 1
        });
        let Some(answer) = self.answers.get_mut(index) else { return };
        answer.complete |= info.is_complete();
        answer.summary |= info.is_summary();
        answer.finish.clone_from(&info.finish);
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

    /// The end, if idle was seen and the newest answer is complete; what is missing is told before.
    fn conclude(&mut self) {
        if self.look.is_due {
            return;
        }
        let Some(newest) = self.answers.last().filter(|newest| newest.complete) else { return };
        let verdict = match (&newest.error, &self.refused_question) {
            (Some(failure), _) => Verdict::Failed(failure.clone()),
            (None, Some(question)) => Verdict::Failed(Failure::new(
                code::QUESTION_REFUSED,
                format!("the run asked a question that was not answered: {question}; put the answer into the prompt"),
            )),
            // A refusal makes OpenCode refuse what else the session asks, without a word to the model; that ends the run.
            (None, None) if newest.finish.as_deref() == Some("tool-calls") && !self.asked.is_empty() => Verdict::Failed(Failure::new(
                code::PERMISSION_REFUSED,
                "OpenCode ended the run because one of several things that it asked for at once was refused; permit it, or put into the prompt \
                 what to do without",
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
        let expired = self.pending.expire(now);
        if !expired.is_empty() {
            self.last_sign = now;
            let mut actions = Vec::new();
            for settled in expired {
                self.settle(settled, &mut actions);
            }
            return actions;
        }
        self.check_limits(now);
        if self.verdict().is_none() { self.look_again(now) } else { Vec::new() }
    }

    fn check_limits(&mut self, now: u64) {
        if self.verdict().is_some() {
            return;
        }
        let broken = emit::broken_limit(
            &self.limits,
            &emit::Spent {
                // The time that people take is not the run's.
                ran_ms: now.saturating_sub(self.begun).saturating_sub(self.pending.waited(now)),
                silent_ms: if self.pending.is_waiting() { 0 } else { now.saturating_sub(self.last_sign.max(self.waits_until)) },
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

    /// The id of the prompt's message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

#[cfg(test)]
mod tests;

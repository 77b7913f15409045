//! What a run waits for people to answer: permission requests and questions, its subagents' included.

use super::emit::{MAX_DETAIL, cut, cut_text, question_title, tell};
use super::{Action, Run};
use crate::opencode::events::{Event, PermissionRequest, QuestionRequest, SessionEvent};
use crate::policy::{REFUSAL, REFUSAL_TO_MODEL};
use muster_protocol::ids::InteractionId;
use muster_protocol::interaction::{InteractionState, PERMISSION, QUESTION, Reply, ReplyInteraction};
use muster_protocol::stream::{EntryKind, InteractionNote};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// What the model is told when a person refuses without a word.
const REFUSED_BY_PERSON: &str = "A person refused this. Do not try it again; go on without it, and say in the answer what was left out.";
/// What the model is told when nobody answered in time.
const REFUSED_BY_TIME: &str =
    "Nobody answered in time, so this was refused. Do not try it again; go on without it, and say in the answer what was left out.";

/// The largest request that is told, in bytes.
const MOST_BYTES: usize = 256 * 1024;

/// What OpenCode asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// OpenCode's id of the request.
    pub request: String,
    /// [`PERMISSION`] or [`QUESTION`].
    pub kind: &'static str,
    /// The directory of the session that asks.
    pub directory: String,
    /// What is asked for, in a line.
    pub title: String,
    /// Whether refusing it ends the run: a question of the run's own session.
    pub ends_run: bool,
    detail: Value,
}

impl Asked {
    pub(super) fn permission(request: &PermissionRequest, directory: &str) -> Self {
        Self {
            request: request.id.clone(),
            kind: PERMISSION,
            directory: directory.to_owned(),
            title: cut_text(&format!("{}: {}", request.permission, request.patterns.join(", ")), 500),
            ends_run: false,
            detail: bounded(&request.metadata),
        }
    }

    pub(super) fn question(request: &QuestionRequest, directory: &str, own: bool) -> Self {
        Self {
            request: request.id.clone(),
            kind: QUESTION,
            directory: directory.to_owned(),
            title: question_title(request),
            ends_run: own,
            detail: bounded(&Value::Array(request.questions.clone())),
        }
    }

    /// The entry that tells of it.
    pub(super) fn note(&self, outcome: &str, reason: Option<&str>) -> InteractionNote {
        InteractionNote {
            id: None,
            request: self.request.clone(),
            kind: self.kind.to_owned(),
            title: self.title.clone(),
            outcome: outcome.to_owned(),
            reason: reason.map(str::to_owned),
            directory: Some(self.directory.clone()).filter(|directory| !directory.is_empty()),
            deadline: None,
            detail: self.detail.clone(),
        }
    }
}

/// An answer on its way to OpenCode, and the entry that tells of it once OpenCode has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// What was asked.
    pub asked: Asked,
    /// The answer.
    pub reply: ReplyInteraction,
    /// The entry.
    pub note: InteractionNote,
}

#[derive(Debug)]
struct Open {
    asked: Asked,
    id: InteractionId,
    until: u64,
}

/// What is open.
#[derive(Debug, Default)]
pub(super) struct Pending {
    open: HashMap<String, Open>,
    since: Option<u64>,
    waited: u64,
}

impl Pending {
    /// Whether the run waits for people.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// For how long the run has waited for people in all.
    pub(super) fn waited(&self, now: u64) -> u64 {
        self.waited + self.since.map_or(0, |since| now.saturating_sub(since))
    }

    /// Opens one, until a moment on the run's clock and on the wall's.
    pub(super) fn open(&mut self, asked: Asked, id: InteractionId, now: u64, until: u64, deadline: Timestamp) -> Action {
        let note = InteractionNote { id: Some(id), deadline: Some(deadline), ..asked.note(InteractionState::Open.as_str(), None) };
        self.open.insert(asked.request.clone(), Open { asked, id, until });
        self.since.get_or_insert(now);
        tell(EntryKind::Interaction, &note)
    }

    /// Takes somebody's answer; none if it is not open any more.
    pub(super) fn answer(&mut self, id: InteractionId, mut reply: ReplyInteraction, now: u64) -> Option<Settled> {
        let request = self.open.iter().find(|(_, open)| open.id == id).map(|(request, _)| request.clone())?;
        let Open { asked, .. } = self.close(&request, now)?;
        let said = said(&reply);
        if asked.kind == PERMISSION && reply.reply == Some(Reply::Reject) {
            // Without a message OpenCode ends the run.
            reply.message.get_or_insert_with(|| REFUSED_BY_PERSON.to_owned());
        }
        let note = InteractionNote { id: Some(id), ..asked.note(InteractionState::Applied.as_str(), Some(&said)) };
        Some(Settled { asked, reply, note })
    }

    /// Refuses what nobody has answered in time.
    pub(super) fn expire(&mut self, now: u64) -> Vec<Settled> {
        let over: Vec<String> = self.open.iter().filter(|(_, open)| open.until <= now).map(|(request, _)| request.clone()).collect();
        let expired = over.iter().filter_map(|request| self.close(request, now));
        let settle = |Open { asked, id, .. }: Open| {
            let note = asked.note(InteractionState::Expired.as_str(), Some("refused: nobody answered in time"));
            let message = (asked.kind == PERMISSION).then(|| REFUSED_BY_TIME.to_owned());
            let reply = ReplyInteraction { reply: Some(Reply::Reject), message, ..ReplyInteraction::default() };
            Settled { asked, reply, note: InteractionNote { id: Some(id), ..note } }
        };
        expired.collect::<Vec<_>>().into_iter().map(settle).collect()
    }

    /// OpenCode says that one is settled, by nobody's answer.
    pub(super) fn void(&mut self, request: &str, now: u64) -> Option<Action> {
        let Open { asked, id, .. } = self.close(request, now)?;
        let note = asked.note(InteractionState::Void.as_str(), Some("OpenCode does not wait for it any more"));
        Some(tell(EntryKind::Interaction, &InteractionNote { id: Some(id), ..note }))
    }

    /// The same for all of a directory but those that OpenCode says it waits for.
    pub(super) fn void_all_but(&mut self, directory: &str, waiting: &HashSet<String>, now: u64) -> Vec<Action> {
        let is_gone = |open: &&Open| [directory, ""].contains(&open.asked.directory.as_str()) && !waiting.contains(&open.asked.request);
        let gone: Vec<String> = self.open.values().filter(is_gone).map(|open| open.asked.request.clone()).collect();
        gone.iter().filter_map(|request| self.void(request, now)).collect()
    }

    fn close(&mut self, request: &str, now: u64) -> Option<Open> {
        let open = self.open.remove(request)?;
        if self.open.is_empty() {
            self.waited += self.since.take().map_or(0, |since| now.saturating_sub(since));
        }
        Some(open)
    }
}

impl Run {
    /// Asks people for permissions and answers, whichever session wants them; refuses at once where nobody is to be asked. Each once.
    pub(super) fn on_asked(&mut self, event: &SessionEvent, now: u64, actions: &mut Vec<Action>) {
        let own = event.session == self.session;
        let asked = match &event.event {
            Event::Permission(request) => Asked::permission(request, &event.directory),
            Event::Question(request) => Asked::question(request, &event.directory, own),
            Event::Settled { request } => {
                actions.extend(self.pending.void(request, now));
                return;
            }
            _ => return,
        };
        if !self.asked.insert(asked.request.clone()) {
            return;
        }
        if self.limits.answer.is_zero() {
            let note = asked.note("rejected", Some(REFUSAL));
            let message = (asked.kind == PERMISSION).then(|| REFUSAL_TO_MODEL.to_owned());
            let reply = ReplyInteraction { reply: Some(Reply::Reject), message, ..ReplyInteraction::default() };
            let settled = Settled { asked, reply, note };
            self.settle(settled, actions);
        } else {
            actions.push(Action::Ask(Box::new(asked)));
        }
    }

    /// How long people have to answer.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.limits.answer
    }

    /// Notes that people are asked; they have until `deadline`.
    pub fn opened(&mut self, asked: Asked, id: InteractionId, now: u64, deadline: Timestamp) -> Action {
        let patience = u64::try_from(self.limits.answer.as_millis()).unwrap_or(u64::MAX);
        self.pending.open(asked, id, now, now.saturating_add(patience), deadline)
    }

    /// OpenCode did not take an answer. If it still waits, the next look asks anew.
    pub fn not_taken(&mut self, request: &str, now: u64) {
        self.asked.remove(request);
        self.look_soon(now);
    }

    /// Takes in somebody's answer.
    pub fn on_answer(&mut self, id: InteractionId, reply: ReplyInteraction, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.verdict().is_none()
            && let Some(settled) = self.pending.answer(id, reply, now)
        {
            self.last_sign = now;
            self.settle(settled, &mut actions);
        }
        actions
    }

    pub(super) fn settle(&mut self, settled: Settled, actions: &mut Vec<Action>) {
        if settled.asked.ends_run && settled.reply.reply == Some(Reply::Reject) {
            let why = settled.note.reason.clone().unwrap_or_default();
            self.refused_question = Some(format!("{} ({why})", settled.asked.title));
        }
        actions.push(Action::Settle(Box::new(settled)));
    }

    /// Takes in which requests of a directory wait: others of it do not any more.
    pub fn on_waiting(&mut self, directory: &str, waiting: &HashSet<String>, now: u64) -> Vec<Action> {
        self.pending.void_all_but(directory, waiting, now)
    }

    /// Takes in a permission or question that was found waiting.
    pub fn on_asked_again(&mut self, event: &SessionEvent, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.verdict().is_none() {
            self.on_asked(event, now, &mut actions);
        }
        actions
    }
}

/// A request with its texts cut; one of very many texts is left out.
fn bounded(request: &Value) -> Value {
    let detail = cut(request, MAX_DETAIL);
    let bytes = detail.to_string().len();
    if bytes <= MOST_BYTES { detail } else { json!({ "left_out": format!("{bytes} bytes") }) }
}

/// An answer in a line.
fn said(reply: &ReplyInteraction) -> String {
    match &reply.reply {
        Some(Reply::Reject) => reply.message.as_ref().map_or_else(|| "refused".to_owned(), |message| format!("refused: {message}")),
        Some(Reply::Always) => "permitted, always".to_owned(),
        Some(_) => "permitted, once".to_owned(),
        None => reply.answers.iter().map(|labels| labels.join(", ")).collect::<Vec<_>>().join(" / "),
    }
}

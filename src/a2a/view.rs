//! A task row as an A2A task.

use super::asked::Asked;
use super::error::{A2aError, Outcome};
use super::incoming::MESSAGE_KEY;
use crate::app::App;
use crate::domain::projection::{Projection, changed_files, question};
use crate::store::a2a::ToldTask;
use crate::store::submit::answer_entries;
use muster_protocol::a2a::{Message, Metadata, Part, Role, State, Task, TaskStatus};
use muster_protocol::ids::TaskId;
use muster_protocol::interaction::{Interaction, InteractionState};
use muster_protocol::task::TaskState;
use serde_json::{Value, json};
use std::collections::HashMap;

/// How many entries are read in one go.
const CHUNK: u32 = 2_000;

/// How much of a task is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    /// How many of the newest messages; all if absent.
    pub(super) history: Option<usize>,
    /// Whether artifacts.
    pub(super) artifacts: bool,
}

/// Refuses a length that is none.
///
/// # Errors
/// It is negative.
pub(super) fn check_history(length: Option<i32>) -> Outcome<()> {
    if length.is_some_and(|n| n < 0) { Err(A2aError::invalid("historyLength", "must not be negative")) } else { Ok(()) }
}

impl Want {
    /// Everything, with so many messages.
    ///
    /// # Errors
    /// A negative length.
    pub(super) fn all(history: Option<i32>) -> Outcome<Self> {
        check_history(history)?;
        Ok(Self { history: history.and_then(|n| usize::try_from(n).ok()), artifacts: true })
    }
}

impl Asked {
    /// A task as it is now.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn view(&self, told: &ToldTask, want: Want) -> Outcome<Task> {
        view(&self.app, told, want).await
    }

    /// Whether a task waits for the client.
    pub(super) async fn waits(&self, told: &ToldTask) -> Outcome<bool> {
        Ok(match told.record.task.state {
            TaskState::AuthRequired => true,
            TaskState::InputRequired => told.record.is_own() || self.asks(told).await?.is_some(),
            _ => false,
        })
    }

    /// What a task asks and nobody has answered, the oldest first.
    pub(super) async fn asks(&self, told: &ToldTask) -> Outcome<Option<Interaction>> {
        asks(&self.app, told).await
    }
}

/// A task as it is now.
///
/// # Errors
/// Of the store.
pub(super) async fn view(app: &App, told: &ToldTask, want: Want) -> Outcome<Task> {
    let later = if want.history == Some(0) { HashMap::new() } else { app.store.later_messages(&[told.record.task.id]).await? };
    let mut task = view_with(app, told, want, &later).await?;
    task.artifacts = task.artifacts.filter(|artifacts| !artifacts.is_empty());
    Ok(task)
}

/// The same, where what was said later is known.
///
/// # Errors
/// Of the store.
pub(super) async fn view_with(app: &App, told: &ToldTask, want: Want, later: &HashMap<TaskId, Vec<Message>>) -> Outcome<Task> {
    let needs_folding = want.artifacts || told.record.is_own();
    let folded = if needs_folding { Some(fold(app, told, told.record.task.entries).await?) } else { None };
    put_together(app, told, want, folded, later.get(&told.record.task.id)).await
}

/// A task that was answered with its submit, as it is now. All of it is known: nothing is read.
///
/// # Errors
/// Of the store.
pub(super) async fn view_answered(app: &App, told: &ToldTask, want: Want) -> Outcome<Task> {
    let task = &told.record.task;
    let mut folded = begin_fold(told);
    for entry in answer_entries(task.result.as_deref().unwrap_or_default(), told.status_at) {
        folded.apply(&entry);
    }
    put_together(app, told, want, Some(folded), None).await
}

async fn put_together(app: &App, told: &ToldTask, want: Want, folded: Option<Projection>, later: Option<&Vec<Message>>) -> Outcome<Task> {
    let task = &told.record.task;
    let is_own = told.record.is_own();
    // What an agent of this server says with a state is in its stream alone.
    let said = folded.as_ref().filter(|_| is_own).and_then(|folded| folded.status.message.clone());
    let artifacts = folded.filter(|_| want.artifacts).map(|folded| {
        let changed = changed_files(&task.changes);
        folded.artifacts.into_iter().chain(changed).collect()
    });
    Ok(Task {
        id: task.id.to_string(),
        context_id: task.context_id.to_string(),
        status: status(app, told, said).await?,
        artifacts,
        history: history(told, want.history, later),
        metadata: metadata(told),
    })
}

/// A task as it was at a place, as its stream tells it.
///
/// # Errors
/// Of the store.
pub(super) async fn view_at(app: &App, told: &ToldTask, at: u64, projection: &Projection, want: Want) -> Outcome<Task> {
    let (mut artifacts, is_now) = (projection.artifacts.clone(), at == told.record.task.entries);
    if is_now && told.record.task.state.is_terminal() {
        artifacts.extend(changed_files(&told.record.task.changes));
    }
    let artifacts = Some(artifacts).filter(|artifacts| !artifacts.is_empty());
    if is_now {
        return Ok(Task { artifacts, ..view(app, told, Want { artifacts: false, ..want }).await? });
    }
    let id = told.record.task.id;
    let later = app.store.later_messages(&[id]).await?.remove(&id).unwrap_or_default();
    Ok(Task {
        id: id.to_string(),
        context_id: told.record.task.context_id.to_string(),
        status: projection.status.clone(),
        artifacts,
        history: history(told, want.history, Some(&said_by(id, at, projection, later))),
        metadata: metadata_at(told, projection),
    })
}

/// What of the later messages was said by then: questions that were over, or of an earlier place, with their answers.
fn said_by(task: TaskId, at: u64, projection: &Projection, later: Vec<Message>) -> Vec<Message> {
    let mut is_said = true;
    let was_said = |message: &Message| {
        if message.role == Role::Agent {
            let place = message.message_id.strip_prefix(&format!("{task}-")).and_then(|place| place.parse::<u64>().ok());
            is_said = projection.is_over(&message.message_id) || place.is_some_and(|place| place <= at);
        }
        is_said
    };
    later.into_iter().filter(was_said).collect()
}

/// The task as its stream tells it up to an entry.
///
/// # Errors
/// Of the store.
pub(super) async fn fold(app: &App, told: &ToldTask, upto: u64) -> Outcome<Projection> {
    let task = &told.record.task;
    let mut projection = begin_fold(told);
    let mut after = 0;
    while after < upto {
        let entries = app.store.said(task.id, after, upto, CHUNK).await?;
        let Some(last) = entries.last() else { break };
        after = last.task_seq;
        for entry in &entries {
            projection.apply(entry);
        }
    }
    Ok(projection)
}

fn begin_fold(told: &ToldTask) -> Projection {
    let task = &told.record.task;
    Projection::new(task.id.to_string(), task.context_id.to_string(), task.created_at)
}

async fn status(app: &App, told: &ToldTask, said: Option<Box<Message>>) -> Outcome<TaskStatus> {
    let task = &told.record.task;
    if told.record.is_own() {
        return Ok(TaskStatus { state: task.state.into(), message: said, timestamp: Some(told.status_at) });
    }
    let asks = asks(app, told).await?;
    let says = |text: &str| Message {
        message_id: format!("{}-{}", task.id, task.entries),
        context_id: Some(task.context_id.to_string()),
        task_id: Some(task.id.to_string()),
        role: Role::Agent,
        parts: vec![Part::text(text)],
        ..Message::default()
    };
    let (state, message) = match (task.state, asks) {
        (TaskState::InputRequired, Some(asked)) => (State::InputRequired, Some(question(&asked, task.context_id.as_str()))),
        // It has its answer, and does not know yet.
        (TaskState::InputRequired, None) => (State::Working, None),
        (state, _) => (state.into(), task.error.as_deref().map(says)),
    };
    Ok(TaskStatus { state, message: message.map(Box::new), timestamp: Some(told.status_at) })
}

async fn asks(app: &App, told: &ToldTask) -> Outcome<Option<Interaction>> {
    if told.record.task.state != TaskState::InputRequired {
        return Ok(None);
    }
    let records = app.store.interactions_of(told.record.task.id).await?;
    let interactions = records.into_iter().map(|record| record.interaction);
    Ok(interactions.into_iter().find(|interaction| interaction.state == InteractionState::Open))
}

/// The newest messages, oldest first: what the task began with, and what was said since.
fn history(told: &ToldTask, wanted: Option<usize>, later: Option<&Vec<Message>>) -> Vec<Message> {
    let mut all = vec![first_message(told)];
    all.extend(later.into_iter().flatten().cloned());
    let beyond = wanted.map_or(0, |wanted| all.len().saturating_sub(wanted));
    all.split_off(beyond)
}

/// The message that a task began with; one that was submitted otherwise has its prompt.
fn first_message(told: &ToldTask) -> Message {
    let task = &told.record.task;
    let kept = task.metadata.get(MESSAGE_KEY).and_then(|kept| serde_json::from_value(kept.get("message")?.clone()).ok());
    let said = kept.unwrap_or_else(|| Message {
        message_id: format!("{}-prompt", task.id),
        role: Role::User,
        parts: vec![Part::text(task.prompt.clone())],
        ..Message::default()
    });
    Message { context_id: Some(task.context_id.to_string()), task_id: Some(task.id.to_string()), ..said }
}

/// What else was known of a task, as its stream tells it.
fn metadata_at(told: &ToldTask, projection: &Projection) -> Metadata {
    let agent = told.record.task.metadata.get(crate::agents::AGENT_KEY).cloned();
    projection.known.clone().into_iter().chain(agent.map(|agent| ("agent".to_owned(), agent))).collect()
}

/// What else is known of a task.
fn metadata(told: &ToldTask) -> Metadata {
    let task = &told.record.task;
    let placed = Some(&task.codebase_id).filter(|id| id.as_str() != muster_protocol::task::PENDING_CODEBASE);
    let known = [
        ("agent", task.metadata.get(crate::agents::AGENT_KEY).cloned().unwrap_or_default()),
        ("worker", json!(task.worker_id)),
        ("codebase", json!(placed)),
        ("session", json!(task.session_id)),
        ("model", json!(task.model)),
        ("usage", json!(task.usage)),
        ("code", json!(task.error_code)),
        ("disconnected", task.disconnected.then_some(true).into()),
        ("cancelRequested", task.cancel_requested.then_some(true).into()),
        ("confirmed", json!(task.confirmed)),
    ];
    known.into_iter().filter(|(_, value)| *value != Value::Null).map(|(key, value)| (key.to_owned(), value)).collect()
}

//! Streams for viewers: a task's entries, and its output as earlier clients read it.

use super::extract::{PathId, Query};
use super::sse::{After, answer, event};
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::events::Signal;
use crate::store::StoreError;
use crate::store::tail::{Tail, TailRead};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use muster_protocol::error::ErrorBody;
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::stream::{DONE_EVENT, Delta, EntryKind, OutputLine, StreamEntry, ToolCall, ToolState};
use muster_protocol::task::{OutputItem, TaskOutput};
use serde::Deserialize;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use utoipa::IntoParams;

/// How many entries are read in one go.
const CHUNK: u32 = 256;

/// `GET /v1/opencode/tasks/{id}/stream`
#[utoipa::path(get, path = "/v1/opencode/tasks/{id}/stream", tag = "tasks", summary = "Follow a task's stream",
    description = "Server-sent events: the name is the entry's kind, the id its task_seq, the data a StreamEntry. Continues after Last-Event-ID. Ends \
        with `done` when the task has ended.",
    params(("id" = TaskId, Path), ("after" = Option<u64>, Query, description = "Only entries after this task_seq"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same, as browsers send it")),
    responses((status = 200, body = StreamEntry, content_type = "text/event-stream"), (status = 404, body = ErrorBody)))]
pub(crate) async fn follow(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
    After(after): After,
) -> Result<Response, ApiError> {
    app.task_for(&who, id).await?;
    let entries = follow_entries(app.clone(), id, after.unwrap_or(0));
    let events = entries.filter_map(|step| {
        std::future::ready(match step {
            Step::Entry(entry) => Some(event(entry.kind.as_str(), Some(entry.task_seq), &*entry)),
            Step::Done(done) => Some(event(DONE_EVENT, None, &done)),
            Step::Broken(_) => None,
        })
    });
    Ok(answer(&app.life, events))
}

/// `GET /v1/opencode/tasks/{id}/output/stream`
#[utoipa::path(get, path = "/v1/opencode/tasks/{id}/output/stream", tag = "tasks", summary = "Follow a task's output",
    description = "Server-sent events `output`, then `done`, as earlier clients read them.",
    params(("id" = TaskId, Path), ("Last-Event-ID" = Option<u64>, Header, description = "Only what comes after it")),
    responses((status = 200, body = OutputItem, content_type = "text/event-stream"), (status = 404, body = ErrorBody)))]
pub(crate) async fn follow_output(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
    After(after): After,
) -> Result<Response, ApiError> {
    let worker = app.task_for(&who, id).await?.task.worker_id;
    let entries = follow_entries(app.clone(), id, after.unwrap_or(0));
    let events = entries.filter_map(move |step| {
        let event = match step {
            Step::Entry(entry) => {
                let item = output_of(&entry, worker.clone());
                item.map(|item| event("output", Some(entry.task_seq), &item))
            }
            Step::Done(done) => Some(event(DONE_EVENT, None, &done)),
            Step::Broken(_) => None,
        };
        std::future::ready(event)
    });
    Ok(answer(&app.life, events))
}

/// From where output is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Since {
    /// How many outputs the caller has already.
    #[serde(default)]
    since: u64,
}

/// `GET /v1/opencode/tasks/{id}/output`
#[utoipa::path(get, path = "/v1/opencode/tasks/{id}/output", tag = "tasks", summary = "Get a task's output",
    params(("id" = TaskId, Path), Since), responses((status = 200, body = TaskOutput), (status = 404, body = ErrorBody)))]
pub(crate) async fn output(
    State(app): State<App>,
    who: Principal,
    PathId(id): PathId<TaskId>,
    Query(Since { since }): Query<Since>,
) -> Result<Json<TaskOutput>, ApiError> {
    let worker = app.task_for(&who, id).await?.task.worker_id;
    let (mut outputs, mut total, mut after) = (Vec::new(), 0_u64, 0);
    loop {
        let entries = app.store.entries(id, after, CHUNK).await?;
        let Some(last) = entries.last() else { break };
        after = last.task_seq;
        for item in entries.iter().filter_map(|entry| output_of(entry, worker.clone())) {
            if total >= since {
                outputs.push(item);
            }
            total += 1;
        }
    }
    Ok(Json(TaskOutput { task_id: id, outputs, total }))
}

/// A step of a followed task.
pub(crate) enum Step {
    /// The next entry.
    Entry(Arc<StreamEntry>),
    /// It has ended: its status and state.
    Done(serde_json::Value),
    /// Its entries cannot be read. A viewer reconnects and goes on after its last entry.
    Broken(StoreError),
}

struct Follower {
    app: App,
    task: TaskId,
    after: u64,
    tail: Arc<Tail>,
    signal: Signal,
    ready: VecDeque<Arc<StreamEntry>>,
    over: bool,
}

/// The entries of a task after a place, as they come, and its end. What is not read is not fetched.
pub(crate) fn follow_entries(app: App, task: TaskId, after: u64) -> impl Stream<Item = Step> + Send {
    let tail = app.store.tail(task);
    let signal = tail.signal();
    let follower = Follower { app, task, after, tail, signal, ready: VecDeque::new(), over: false };
    unfold(follower, |mut follower| async move {
        let step = follower.next().await?;
        Some((step, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Step> {
        loop {
            if self.over {
                return None;
            }
            if let Some(entry) = self.ready.pop_front() {
                self.after = entry.task_seq;
                return Some(Step::Entry(entry));
            }
            let change = *self.signal.borrow_and_update();
            let TailRead { entries, state } = match self.app.store.read_tail(&self.tail, self.after, change).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(task.id = %self.task, %error, "a stream ends: its entries cannot be read");
                    self.over = true;
                    return Some(Step::Broken(error));
                }
            };
            self.ready.extend(entries);
            if self.ready.is_empty() {
                let state = state?;
                if state.is_terminal() {
                    self.over = true;
                    return Some(Step::Done(json!({ "status": state.status(), "state": state })));
                }
                if self.signal.changed().await.is_err() {
                    return None;
                }
            }
        }
    }
}

/// An entry as earlier clients read output: text as it came, tools as a line, the rest not at all.
fn output_of(entry: &StreamEntry, worker_id: Option<WorkerId>) -> Option<OutputItem> {
    let output = match entry.kind {
        EntryKind::Text => entry.read::<Delta>()?.delta,
        EntryKind::Output => entry.read::<OutputLine>()?.line,
        EntryKind::Tool => tool_line(&entry.read::<ToolCall>()?)?,
        _ => return None,
    };
    Some(OutputItem { output, timestamp: entry.at, worker_id })
}

/// A tool call as a line, once it has ended.
fn tool_line(call: &ToolCall) -> Option<String> {
    let title = call.title.as_deref().unwrap_or_default();
    match call.state {
        ToolState::Completed => Some(format!("[{}] {title}", call.tool)),
        ToolState::Error => Some(format!("[{}] {title} failed: {}", call.tool, call.error.as_deref().unwrap_or("no reason given"))),
        _ => None,
    }
}

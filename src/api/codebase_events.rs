//! What happens in a codebase, as the earlier system's dashboard follows it: the status of all its tasks, and what they say.
//!
//! Events `connected`, `status`, `part.text`, `part.reasoning`, `part.tool`, `file_edit`, `message` (a task's result) and `idle`, with the earlier
//! system's fields. An id is the place in the event log and in the stream of each task that runs, so that a viewer who comes back misses and repeats
//! nothing.

use super::extract::PathId;
use super::sse::answer;
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::events::Signal;
use crate::store::StoreError;
use crate::store::events::EventFilter;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event as SseEvent;
use futures_util::FutureExt as _;
use futures_util::future::select_all;
use futures_util::stream::{StreamExt as _, once, unfold};
use muster_protocol::error::ErrorBody;
use muster_protocol::event::{Event, kind};
use muster_protocol::ids::{CodebaseId, TaskId};
use muster_protocol::stream::{Delta, EntryKind, FileChange, OutputLine, StreamEntry, ToolCall};
use muster_protocol::task::{Task, TaskState};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

/// How many entries or events are read in one go.
const CHUNK: u32 = 128;
/// How many tasks are followed at once; of more only the status is told.
const MOST_FOLLOWED: usize = 100;

/// The place in a task's stream after its result.
const RESULT_TOLD: u64 = i64::MAX.unsigned_abs();

/// `GET /v1/opencode/codebases/{id}/events`
#[utoipa::path(get, path = "/v1/opencode/codebases/{id}/events", tag = "codebases", summary = "Follow what happens in a codebase",
    description = "Server-sent events: `connected`, then `status` of its tasks and what they say, as the earlier system's dashboard reads it: \
        `part.text`, `part.reasoning`, `part.tool`, `file_edit`, `message` with a task's result, and `idle`.",
    params(("id" = String, Path), ("Last-Event-ID" = Option<String>, Header, description = "Only what comes after it")),
    responses((status = 200, content_type = "text/event-stream"), (status = 404, body = ErrorBody)))]
pub(crate) async fn follow_codebase(
    State(app): State<App>,
    _who: Principal,
    PathId(id): PathId<CodebaseId>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let codebase = app.store.codebase(&id).await?.ok_or_else(|| ApiError::not_found("codebase", &id))?;
    let given = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?").to_owned());
    let pairs: Vec<_> = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = pairs.into_iter().filter(|(name, _)| name == "after").map(|(_, value)| value).next_back();
    let given = given.filter(|id| !id.trim().is_empty()).or(asked).filter(|id| !id.trim().is_empty());
    let place = given.map(|given| Place::read(&given)).transpose()?;
    let viewer = Viewer::new(app.clone(), id.clone(), place).await?;
    let connected =
        json!({ "event_type": "connected", "codebase_id": id, "status": "connected", "remote": true, "worker_id": codebase.worker_id });
    let connected = once(std::future::ready(SseEvent::default().event("connected").data(connected.to_string())));
    let events = unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((event, viewer))
    });
    Ok(answer(&app.life, connected.chain(events)))
}

/// Where a viewer is: in the event log, and in the stream of each task that it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    seq: u64,
    tasks: Option<BTreeMap<TaskId, u64>>,
}

impl Place {
    /// `SEQ`, or `SEQ;TASK:PLACE;TASK:PLACE`.
    fn read(id: &str) -> Result<Self, ApiError> {
        let wrong = || ApiError::BadRequest(format!("Last-Event-ID must be one that the server gave, not `{}`", crate::error::shown(id)));
        let mut parts = id.trim().split(';');
        let seq = parts.next().and_then(|seq| seq.parse().ok()).ok_or_else(wrong)?;
        let mut tasks = None;
        for part in parts.filter(|part| !part.is_empty()) {
            let at = part.split_once(':').and_then(|(task, after)| Some((task.parse().ok()?, after.parse().ok()?)));
            let (task, after) = at.ok_or_else(wrong)?;
            tasks.get_or_insert_with(BTreeMap::new).insert(task, after);
        }
        if id.contains(';') && tasks.is_none() {
            tasks = Some(BTreeMap::new());
        }
        Ok(Self { seq, tasks })
    }
}

/// A task whose stream is followed.
struct Followed {
    after: u64,
    signal: Signal,
}

struct Viewer {
    app: App,
    codebase: CodebaseId,
    seq: u64,
    followed: BTreeMap<TaskId, Followed>,
    log: Signal,
    logged: VecDeque<Event>,
    /// A task that has ended: what it still said comes first.
    ending: Option<(Event, Task)>,
    ready: VecDeque<SseEvent>,
}

impl Viewer {
    async fn new(app: App, codebase: CodebaseId, place: Option<Place>) -> Result<Self, StoreError> {
        let log = app.store.hub().log();
        let (seq, tasks) = match place {
            Some(Place { seq, tasks: Some(tasks) }) => (seq, tasks),
            other => {
                let head = app.store.log_head().await?;
                (other.map_or(head, |place| place.seq), running(&app, &codebase).await?)
            }
        };
        let mut viewer =
            Self { app, codebase, seq, followed: BTreeMap::new(), log, logged: VecDeque::new(), ending: None, ready: VecDeque::new() };
        for (task, after) in tasks {
            viewer.follow(task, after);
        }
        Ok(viewer)
    }

    fn follow(&mut self, task: TaskId, after: u64) {
        if self.followed.len() < MOST_FOLLOWED {
            let signal = self.app.store.hub().task(task);
            self.followed.entry(task).or_insert(Followed { after, signal });
        }
    }

    /// The next event, as it comes. What is not read is not fetched.
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.log.mark_unchanged();
            self.followed.values_mut().for_each(|followed| followed.signal.mark_unchanged());
            match self.advance().await {
                Ok(true) => {}
                Ok(false) if self.wait().await => {}
                Ok(false) => return None,
                Err(error) => {
                    // The viewer reconnects and goes on after its last event.
                    tracing::warn!(codebase.id = %self.codebase, %error, "a stream ends: the store cannot be read");
                    return None;
                }
            }
        }
    }

    /// Waits until something happened; false if nothing will any more.
    async fn wait(&mut self) -> bool {
        let tasks = self.followed.values_mut().map(|followed| followed.signal.changed().boxed());
        let (changed, ..) = select_all(std::iter::once(self.log.changed().boxed()).chain(tasks)).await;
        changed.is_ok()
    }

    /// Reads one step on; false if there is nothing new.
    async fn advance(&mut self) -> Result<bool, StoreError> {
        if let Some((event, task)) = self.ending.take() {
            if self.read_entries(task.id).await? {
                self.ending = Some((event, task));
            } else {
                self.end(&event, &task);
            }
            return Ok(true);
        }
        let mut read = false;
        for task in self.followed.keys().copied().collect::<Vec<_>>() {
            read |= self.read_entries(task).await?;
        }
        if read {
            return Ok(true);
        }
        if self.logged.is_empty() {
            let filter = EventFilter { after: self.seq, limit: CHUNK, ..EventFilter::default() };
            self.logged = self.app.store.events(&filter).await?.into();
        }
        let Some(event) = self.logged.pop_front() else { return Ok(false) };
        self.take(event).await?;
        Ok(true)
    }

    /// Takes in an event of the log.
    async fn take(&mut self, event: Event) -> Result<(), StoreError> {
        let task = match event.subject.strip_prefix("tasks/").and_then(|id| id.parse::<TaskId>().ok()) {
            Some(id) => self.app.store.task(id).await?.map(|record| record.task),
            None => None,
        };
        let Some(task) = task.filter(|task| task.codebase_id == self.codebase) else {
            self.seq = event.sequence;
            return Ok(());
        };
        match event.kind.as_str() {
            kind::TASK_ASSIGNED | kind::TASK_STARTED => self.follow(task.id, 0),
            kind::TASK_COMPLETED | kind::TASK_FAILED | kind::TASK_CANCELED => {
                self.ending = Some((event, task));
                return Ok(());
            }
            _ => {}
        }
        self.seq = event.sequence;
        self.tell_status(&event, &task);
        Ok(())
    }

    /// A task has ended, and all that it said is told.
    fn end(&mut self, event: &Event, task: &Task) {
        let told = self.followed.get(&task.id).is_some_and(|followed| followed.after == RESULT_TOLD);
        if let Some(result) = task.result.as_ref().filter(|_| !told) {
            if let Some(followed) = self.followed.get_mut(&task.id) {
                followed.after = RESULT_TOLD;
            }
            let tokens = task.usage.map(|usage| json!({ "input": usage.input, "output": usage.output }));
            self.push(
                "message",
                task,
                json!({
                    "type": "text", "content": result, "role": "assistant", "message_id": task.id, "model": task.model, "agent": task.mode,
                    "tokens": tokens, "cost": task.usage.map(|usage| usage.cost), "time": { "created": task.completed_at },
                }),
            );
        }
        self.followed.remove(&task.id);
        self.seq = event.sequence;
        self.tell_status(event, task);
        if self.followed.is_empty() {
            self.push("idle", task, json!({}));
        }
    }

    fn tell_status(&mut self, event: &Event, task: &Task) {
        self.push(
            "status",
            task,
            json!({
                "status": task.status, "state": task.state, "type": event.kind, "title": task.title, "agent": task.mode, "time": event.time,
            }),
        );
    }

    /// Reads entries of a task; whether there were any.
    async fn read_entries(&mut self, id: TaskId) -> Result<bool, StoreError> {
        let Some(followed) = self.followed.get(&id) else { return Ok(false) };
        let entries = self.app.store.entries(id, followed.after, CHUNK).await?;
        if entries.is_empty() {
            return Ok(false);
        }
        let Some(task) = self.app.store.task(id).await?.map(|record| record.task) else { return Ok(false) };
        for entry in &entries {
            if let Some(followed) = self.followed.get_mut(&id) {
                followed.after = entry.task_seq;
            }
            if let Some((name, said)) = said(&task, entry) {
                self.push(name, &task, said);
            }
        }
        Ok(true)
    }

    /// Adds an event, with what each has and the place that it leads to.
    fn push(&mut self, name: &str, task: &Task, mut data: Value) {
        if let Some(data) = data.as_object_mut() {
            let common = [
                ("event_type", json!(name)),
                ("codebase_id", json!(self.codebase)),
                ("task_id", json!(task.id)),
                ("session_id", json!(task.session_id)),
            ];
            data.extend(common.map(|(name, value)| (name.to_owned(), value)));
        }
        let mut id = format!("{};", self.seq);
        for (task, followed) in &self.followed {
            // Writing to a string does not fail.
            let _ = write!(id, "{task}:{};", followed.after);
        }
        self.ready.push_back(SseEvent::default().event(name).data(data.to_string()).id(id));
    }
}

/// The tasks that run in a codebase, each with the place of its newest entry.
async fn running(app: &App, codebase: &CodebaseId) -> Result<BTreeMap<TaskId, u64>, StoreError> {
    // One that is held and still submitted was only shown to a plain worker.
    let running = app.store.held_in(codebase).await?.into_iter().filter(|record| record.task.state != TaskState::Submitted);
    Ok(running.take(MOST_FOLLOWED).map(|record| (record.task.id, record.task.entries)).collect())
}

/// An entry as an event of the earlier system; those that it had not are left out.
fn said(task: &Task, entry: &StreamEntry) -> Option<(&'static str, Value)> {
    let part = |kind: &str, id: &str| json!({ "part_type": kind, "part_id": format!("{}-{id}", task.id), "message_id": task.id });
    let with = |mut part: Value, more: Value| {
        if let (Some(part), Value::Object(more)) = (part.as_object_mut(), more) {
            part.extend(more);
        }
        part
    };
    Some(match entry.kind {
        EntryKind::Text => {
            let delta = entry.read::<Delta>()?;
            ("part.text", with(part("text", &delta.part), json!({ "delta": delta.delta })))
        }
        EntryKind::Reasoning => {
            let delta = entry.read::<Delta>()?;
            ("part.reasoning", with(part("reasoning", &delta.part), json!({ "delta": delta.delta })))
        }
        EntryKind::Output => {
            let line = entry.read::<OutputLine>()?.line;
            ("part.text", with(part("text", &entry.task_seq.to_string()), json!({ "text": line })))
        }
        EntryKind::Tool => {
            let call = entry.read::<ToolCall>()?;
            let more = json!({
                "tool_name": call.tool, "call_id": call.call, "status": call.state, "input": call.input, "output": call.output,
                "title": call.title, "error": call.error,
            });
            ("part.tool", with(part("tool", &call.call), more))
        }
        EntryKind::File => ("file_edit", json!({ "path": entry.read::<FileChange>()?.path })),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::Place;
    use std::collections::BTreeMap;

    #[test]
    fn a_place_is_read_back_and_nonsense_is_refused() {
        let id = "0198e2f0-0000-7000-8000-000000000001";
        assert_eq!(Place::read("7").unwrap(), Place { seq: 7, tasks: None });
        assert_eq!(Place::read("7;").unwrap(), Place { seq: 7, tasks: Some(BTreeMap::new()) });
        let both = Place::read(&format!("7;{id}:3;")).unwrap();
        assert_eq!(both, Place { seq: 7, tasks: Some(BTreeMap::from([(id.parse().unwrap(), 3)])) });
        for wrong in ["", "x", "-1", "7;x", "7;x:1", &format!("7;{id}"), &format!("7;{id}:x")] {
            assert!(Place::read(wrong).is_err(), "{wrong}");
        }
    }
}

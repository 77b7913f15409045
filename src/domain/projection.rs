//! A task's stream as A2A tells it: text as pieces of artifacts, what is done as status updates, what is asked as `input-required`.
//!
//! Folding the entries up to a place gives the task as of that place, so that a snapshot and the events after it fit together whoever reads them.

mod join;
mod say;

pub use join::joined;
pub use say::{changed_files, question, question_of};

use muster_protocol::a2a::{
    Artifact, Content, Message, Metadata, Part, State, StreamResponse, TaskArtifactUpdateEvent, TaskStatus, TaskStatusUpdateEvent,
};
use muster_protocol::interaction::InteractionState;
use muster_protocol::stream::{
    Delta, EntryKind, FileChange, InteractionNote, Made, OutputLine, StatusNote, StreamEntry, ToolCall, ToolState,
};
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;
use serde_json::json;

/// The artifact of a plain worker's output.
const OUTPUT: &str = "output";

/// A task as its stream tells it, up to some entry.
#[derive(Debug, Clone)]
pub struct Projection {
    task_id: String,
    context_id: String,
    /// How far it is.
    pub status: TaskStatus,
    /// What it made.
    pub artifacts: Vec<Artifact>,
    /// What its status notes said of it: who works on it, in which session, whether it is disconnected or to be canceled.
    pub known: Metadata,
    /// What it asks and nobody has answered, oldest first.
    open: Vec<(String, Message)>,
    /// What it asked before, by the ids.
    over: Vec<String>,
    /// What was told of a tool last.
    told: Option<(String, ToolState, Option<String>)>,
    /// Whether artifacts are kept by their ids only.
    is_lean: bool,
}

impl Projection {
    /// A task of which nothing was told yet.
    #[must_use]
    pub fn new(task_id: String, context_id: String, created_at: Timestamp) -> Self {
        let status = TaskStatus { state: State::Submitted, message: None, timestamp: Some(created_at) };
        Self {
            task_id,
            context_id,
            status,
            artifacts: Vec::new(),
            known: Metadata::new(),
            open: Vec::new(),
            over: Vec::new(),
            told: None,
            is_lean: false,
        }
    }

    /// Takes in an entry, and answers what is told of it.
    pub fn apply(&mut self, entry: &StreamEntry) -> Vec<StreamResponse> {
        match entry.kind {
            EntryKind::Text => {
                let delta = entry.read::<Delta>();
                delta.map(|delta| self.add(&delta.part, &delta.delta)).into_iter().collect()
            }
            EntryKind::Output => {
                let line = entry.read::<OutputLine>();
                line.map(|line| self.add(OUTPUT, &format!("{}\n", line.line))).into_iter().collect()
            }
            EntryKind::Tool => entry.read().and_then(|call| self.tool(entry, &call)).into_iter().collect(),
            EntryKind::File => {
                let change = entry.read::<FileChange>();
                change
                    .map(|change| self.still(entry, format!("{} {}", change.change, change.path), "file", json!(change)))
                    .into_iter()
                    .collect()
            }
            EntryKind::Status => entry.read().map(|note| self.note(entry, &note)).unwrap_or_default(),
            EntryKind::Interaction => entry.read().and_then(|note| self.interaction(entry, &note)).into_iter().collect(),
            EntryKind::Artifact => entry.read().map(|made| self.made(made)).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The event that tells the status as it is now.
    #[must_use]
    pub fn status_event(&self, metadata: Metadata) -> StreamResponse {
        StreamResponse::StatusUpdate(TaskStatusUpdateEvent {
            task_id: self.task_id.clone(),
            context_id: self.context_id.clone(),
            status: self.status.clone(),
            metadata,
        })
    }

    /// The event of a whole artifact.
    #[must_use]
    pub fn whole(&self, artifact: Artifact) -> StreamResponse {
        StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            task_id: self.task_id.clone(),
            context_id: self.context_id.clone(),
            artifact,
            append: false,
            last_chunk: true,
            metadata: Metadata::new(),
        })
    }

    /// Lets go of what artifacts hold, for good: from here on only what is added to them is told.
    pub fn let_go(&mut self) {
        self.is_lean = true;
        for artifact in &mut self.artifacts {
            *artifact = bare(artifact);
        }
    }

    /// Whether it asked something and does not wait for the answer any more.
    #[must_use]
    pub fn is_over(&self, id: &str) -> bool {
        self.over.iter().any(|over| over == id)
    }

    /// Something that it asked was answered, and it will hear of that.
    pub fn answered(&mut self, id: &str) {
        self.open.retain(|(open, _)| open != id);
        self.over.push(id.to_owned());
        if self.status.state == State::InputRequired {
            let waits = self.open.first().map(|(_, question)| Box::new(question.clone()));
            let state = if waits.is_some() { State::InputRequired } else { State::Working };
            self.status = TaskStatus { state, message: waits, ..self.status.clone() };
        }
    }

    fn add(&mut self, id: &str, text: &str) -> StreamResponse {
        let known = self.artifacts.iter_mut().rev().find(|artifact| artifact.artifact_id == id);
        let append = known.is_some();
        let piece = Artifact { artifact_id: id.to_owned(), parts: vec![Part::text(text)], ..Artifact::default() };
        match known.and_then(|artifact| artifact.parts.first_mut()) {
            Some(_) if self.is_lean => {}
            Some(Part { content: Content::Text(all), .. }) => all.push_str(text),
            _ => self.artifacts.push(if self.is_lean { bare(&piece) } else { piece.clone() }),
        }
        StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            task_id: self.task_id.clone(),
            context_id: self.context_id.clone(),
            artifact: piece,
            append,
            last_chunk: false,
            metadata: Metadata::new(),
        })
    }

    fn made(&mut self, made: Made) -> StreamResponse {
        let Made { artifact, append, last } = made;
        let place = self.artifacts.iter().position(|known| known.artifact_id == artifact.artifact_id);
        match place.and_then(|place| self.artifacts.get_mut(place)) {
            Some(_) if self.is_lean => {}
            Some(known) if append => known.parts.extend(artifact.parts.iter().cloned()),
            Some(known) => known.clone_from(&artifact),
            None => self.artifacts.push(if self.is_lean { bare(&artifact) } else { artifact.clone() }),
        }
        StreamResponse::ArtifactUpdate(TaskArtifactUpdateEvent {
            task_id: self.task_id.clone(),
            context_id: self.context_id.clone(),
            artifact,
            append: append && place.is_some(),
            last_chunk: last,
            metadata: Metadata::new(),
        })
    }

    /// Each state of a tool once, and not while the model still writes what it is to do.
    fn tool(&mut self, entry: &StreamEntry, call: &ToolCall) -> Option<StreamResponse> {
        let now = (call.call.clone(), call.state.clone(), call.title.clone());
        if call.state == ToolState::Pending || self.told.as_ref() == Some(&now) {
            return None;
        }
        self.told = Some(now);
        let title = call.title.as_deref().filter(|title| !title.is_empty());
        let what = title.map_or_else(|| call.tool.clone(), |title| format!("{}: {title}", call.tool));
        let text = match (&call.state, &call.error) {
            (ToolState::Error, Some(error)) => format!("{what} failed: {error}"),
            (state, _) => format!("{what} ({state})"),
        };
        let tool = json!({ "call": call.call, "tool": call.tool, "state": call.state, "title": call.title, "error": call.error });
        Some(self.still(entry, text, "tool", tool))
    }

    /// Something that happens and changes no state.
    fn still(&mut self, entry: &StreamEntry, text: String, key: &str, data: serde_json::Value) -> StreamResponse {
        let waits = self.open.first().map(|(_, question)| question.clone());
        let said = waits.unwrap_or_else(|| self.says(entry, text));
        let state = if self.status.state == State::Submitted { State::Working } else { self.status.state };
        self.status = TaskStatus { state, message: Some(Box::new(said)), timestamp: Some(entry.at) };
        self.status_event(Metadata::from_iter([(key.to_owned(), data)]))
    }

    fn says(&self, entry: &StreamEntry, text: String) -> Message {
        say::of_agent(format!("{}-{}", self.task_id, entry.task_seq), &self.task_id, &self.context_id, vec![Part::text(text)])
    }

    fn note(&mut self, entry: &StreamEntry, note: &StatusNote) -> Vec<StreamResponse> {
        self.learn(note);
        let mut told: Vec<_> = note.discards.iter().filter_map(|part| self.discard(part)).collect();
        if let Some(state) = TaskState::from_word(&note.state) {
            self.open.clear();
            let message = note.message.clone().map(|text| Box::new(self.says(entry, text)));
            self.status = TaskStatus { state: state.into(), message, timestamp: Some(entry.at) };
            let code = note.code.as_ref().map(|code| ("code".to_owned(), json!(code)));
            told.push(self.status_event(code.into_iter().collect()));
        } else if matches!(note.state.as_str(), "retry" | "disconnected" | "reconnected" | "cancel-requested" | "stopping" | "compacted") {
            let text = note.message.clone().unwrap_or_else(|| note.state.clone());
            told.push(self.still(entry, text, "note", json!(note.state)));
        }
        told
    }

    fn learn(&mut self, note: &StatusNote) {
        let said = [("worker", &note.worker), ("session", &note.session_id)];
        self.known.extend(said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))));
        match note.state.as_str() {
            "disconnected" => drop(self.known.insert("disconnected".to_owned(), json!(true))),
            "reconnected" => drop(self.known.remove("disconnected")),
            "cancel-requested" => drop(self.known.insert("cancelRequested".to_owned(), json!(true))),
            // It is queued again.
            state if state == TaskState::Submitted.as_str() => self.known.retain(|key, _| key == "session"),
            _ => {}
        }
    }

    /// What was broken off does not count: it is said again.
    fn discard(&mut self, part: &str) -> Option<StreamResponse> {
        let place = self.artifacts.iter().position(|artifact| artifact.artifact_id == part)?;
        let artifact = Artifact { parts: vec![Part::text("")], ..self.artifacts.remove(place) };
        let metadata = Metadata::from_iter([("discarded".to_owned(), json!(true))]);
        Some(self.whole(Artifact { metadata, ..artifact }))
    }

    fn interaction(&mut self, entry: &StreamEntry, note: &InteractionNote) -> Option<StreamResponse> {
        let id = note.id?.to_string();
        let mut metadata = Metadata::from_iter([("interaction".to_owned(), json!(id)), ("outcome".to_owned(), json!(note.outcome))]);
        if note.outcome == InteractionState::Open.as_str() {
            let asked = question_of(note, &self.task_id, &self.context_id)?;
            self.open.push((id, asked));
        } else {
            self.open.retain(|(open, _)| *open != id);
            self.over.push(id);
            metadata.extend(note.reason.as_ref().map(|reason| ("reason".to_owned(), json!(reason))));
        }
        let waits = self.open.first().map(|(_, question)| Box::new(question.clone()));
        let state = if waits.is_some() { State::InputRequired } else { State::Working };
        self.status = TaskStatus { state, message: waits, timestamp: Some(entry.at) };
        Some(self.status_event(metadata))
    }
}

/// An artifact of which only the id is kept, and that text can be added to.
fn bare(artifact: &Artifact) -> Artifact {
    Artifact { artifact_id: artifact.artifact_id.clone(), parts: vec![Part::text("")], ..Artifact::default() }
}

#[cfg(test)]
mod tests;

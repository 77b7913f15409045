//! What an agent says: its questions, and the files that it changed.

use muster_protocol::a2a::{Artifact, Content, Message, Metadata, Part, Role};
use muster_protocol::interaction::{Interaction, QUESTION};
use muster_protocol::stream::{FileChange, InteractionNote};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};

/// The media type of a change to a file.
const DIFF: &str = "text/x-diff";

pub(super) fn of_agent(message_id: String, task_id: &str, context_id: &str, parts: Vec<Part>) -> Message {
    Message {
        message_id,
        context_id: Some(context_id.to_owned()),
        task_id: Some(task_id.to_owned()),
        role: Role::Agent,
        parts,
        ..Message::default()
    }
}

/// What a task asks, as the stream tells it; `None` for what nobody can answer.
#[must_use]
pub fn question_of(note: &InteractionNote, task_id: &str, context_id: &str) -> Option<Message> {
    let id = note.id?.to_string();
    let asked = Asked { id, kind: &note.kind, title: &note.title, directory: note.directory.as_deref(), request: &note.detail };
    Some(asked.message(note.deadline, task_id, context_id))
}

/// What a task asks, as the store has it.
#[must_use]
pub fn question(asked: &Interaction, context_id: &str) -> Message {
    let (id, directory) = (asked.id.to_string(), asked.directory.as_deref());
    let said = Asked { id, kind: &asked.kind, title: &asked.title, directory, request: &asked.request };
    said.message(asked.deadline, &asked.task_id.to_string(), context_id)
}

struct Asked<'a> {
    id: String,
    kind: &'a str,
    title: &'a str,
    directory: Option<&'a str>,
    request: &'a Value,
}

impl Asked<'_> {
    /// In words for people, and as data for programs. Its id is the interaction's.
    fn message(self, deadline: Option<Timestamp>, task_id: &str, context_id: &str) -> Message {
        let text = if self.kind == QUESTION { self.questions() } else { self.permission() };
        let data = json!({ "interaction": self.id, "kind": self.kind, "title": self.title, "directory": self.directory,
            "request": self.request, "deadline": deadline });
        of_agent(self.id, task_id, context_id, vec![Part::text(text), Part::data(data)])
    }

    fn permission(&self) -> String {
        let place = self.directory.map(|directory| format!(" (in {directory})")).unwrap_or_default();
        format!("May it? {}{place}\nAnswer yes (this once), always or no.", self.title)
    }

    fn questions(&self) -> String {
        let all = self.request.as_array().map(Vec::as_slice).unwrap_or_default();
        let lines: Vec<_> = all.iter().filter_map(line_of).collect();
        if lines.is_empty() { self.title.to_owned() } else { lines.join("\n") }
    }
}

/// A question and what may be chosen.
fn line_of(question: &Value) -> Option<String> {
    let text = question.get("question")?.as_str()?;
    let options = question.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let labels: Vec<_> = options.iter().filter_map(|option| option.get("label")?.as_str()).collect();
    Some(if labels.is_empty() { text.to_owned() } else { format!("{text} ({})", labels.join(", ")) })
}

/// The files that a task changed, an artifact each: the change as a file, or what is known of it where there is no diff.
#[must_use]
pub fn changed_files(changes: &[FileChange]) -> Vec<Artifact> {
    let artifact = |change: &FileChange| {
        let known = json!({ "path": change.path, "change": change.change, "additions": change.additions, "deletions": change.deletions });
        let part = match &change.patch {
            Some(patch) => Part { media_type: Some(DIFF.to_owned()), ..Content::Raw(patch.clone().into_bytes()).into() },
            None => Part::data(known.clone()),
        };
        let metadata = known.as_object().cloned().unwrap_or_else(Metadata::new);
        Artifact {
            artifact_id: format!("file:{}", change.path),
            name: Some(change.path.clone()),
            parts: vec![Part { filename: Some(change.path.clone()), ..part }],
            metadata,
            ..Artifact::default()
        }
    };
    changes.iter().map(artifact).collect()
}

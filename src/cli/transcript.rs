//! From the entries of a task stream to what a person reads.

use super::render::{count, counted, one_line, took};
use super::style::Style;
use muster_protocol::a2a::{Content, Part};
use muster_protocol::interaction::QUESTION;
use muster_protocol::stream::{
    Delta, EntryKind, FileChange, InteractionNote, Made, OutputLine, StatusNote, StreamEntry, Todos, ToolCall, ToolState,
};
use muster_protocol::task::Usage;
use std::collections::HashMap;

/// The longest note, in characters.
const LONGEST: usize = 160;

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// More of the answer, as it is.
    Answer(String),
    /// The answer goes on with a new paragraph.
    Paragraph,
    /// More of the reasoning.
    Reasoning(String),
    /// A line about what happens.
    Note(Style, String),
}

/// What has been said so far, as far as it matters for what is said next.
pub(crate) struct Transcript {
    /// The part of the answer that came last, with its attempt.
    part: Option<(u64, String)>,
    /// The same for the reasoning.
    thought: Option<(u64, String)>,
    usage: Option<Usage>,
    doing: String,
    is_waiting: bool,
    /// The names of workers by their ids.
    names: HashMap<String, String>,
    /// The worker that is known to get the task; nothing is said of it.
    holder: Option<String>,
}

impl Transcript {
    pub(crate) fn new() -> Self {
        Self { part: None, thought: None, usage: None, doing: WAITING.to_owned(), is_waiting: true, names: HashMap::new(), holder: None }
    }

    /// A further turn of a conversation whose worker, by id and name, has been told.
    pub(crate) fn of_turn(holder: Option<(&str, &str)>) -> Self {
        let mut transcript = Self::new();
        if let Some((id, name)) = holder {
            transcript.name_worker(id.to_owned(), name.to_owned());
            transcript.holder = Some(id.to_owned());
        }
        transcript
    }

    /// Whether no worker has the task.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// The id of the worker that an entry tells of, if its name is not known.
    pub(crate) fn nameless_worker(&self, entry: &StreamEntry) -> Option<String> {
        let note: StatusNote = entry.read().filter(|_| entry.kind == EntryKind::Status)?;
        note.worker.filter(|id| !self.names.contains_key(id))
    }

    /// Makes a worker known by its name.
    pub(crate) fn name_worker(&mut self, id: String, name: String) {
        self.names.insert(id, name);
    }

    /// What happens now, for a progress line.
    pub(crate) fn progress(&self) -> String {
        match &self.usage {
            Some(usage) if !self.is_waiting => format!("{} · {} tokens", self.doing, count(usage.input + usage.output)),
            _ => self.doing.clone(),
        }
    }

    /// What an entry adds.
    pub(crate) fn entry(&mut self, entry: &StreamEntry) -> Vec<Piece> {
        if entry.attempt > 0 && !matches!(entry.kind, EntryKind::Status) {
            self.is_waiting = false;
        }
        let pieces = match &entry.kind {
            EntryKind::Text => entry.read().map(|delta| self.text(entry.attempt, delta)),
            EntryKind::Reasoning => entry.read().map(|delta| self.reasoning(entry.attempt, delta)),
            EntryKind::Tool => entry.read().map(|call| self.tool(&call)),
            EntryKind::File => entry.read().map(|change| vec![Piece::Note(Style::Plain, file(&change))]),
            EntryKind::Todo => entry.read().and_then(|todos| todo(&todos)).map(|line| vec![Piece::Note(Style::Dim, line)]),
            EntryKind::Usage => {
                self.usage = entry.read().or(self.usage);
                None
            }
            EntryKind::Status => entry.read().and_then(|note| self.status(entry, &note)).map(|note| vec![note]),
            EntryKind::Interaction => entry.read().map(|note| vec![interaction(&note)]),
            EntryKind::Output => entry.read().map(|OutputLine { line }| vec![Piece::Answer(line), Piece::Answer("\n".to_owned())]),
            EntryKind::Artifact => entry.read().map(made),
            EntryKind::Other(_) => None,
        };
        pieces.unwrap_or_default()
    }

    fn text(&mut self, attempt: u64, Delta { part, delta }: Delta) -> Vec<Piece> {
        "writing".clone_into(&mut self.doing);
        let part = Some((attempt, part));
        let is_new = self.part.is_some() && self.part != part;
        self.part = part;
        let answer = Piece::Answer(delta);
        if is_new { vec![Piece::Paragraph, answer] } else { vec![answer] }
    }

    fn reasoning(&mut self, attempt: u64, Delta { part, delta }: Delta) -> Vec<Piece> {
        "thinking".clone_into(&mut self.doing);
        let part = Some((attempt, part));
        let is_new = self.thought.is_some() && self.thought != part;
        self.thought = part;
        let delta = if is_new { format!("\n{delta}") } else { delta };
        vec![Piece::Reasoning(delta)]
    }

    fn tool(&mut self, call: &ToolCall) -> Vec<Piece> {
        if let Some((style, line)) = call_line(call) {
            "thinking".clone_into(&mut self.doing);
            return vec![Piece::Note(style, line)];
        }
        self.doing = format!("running {}", one_line(&format!("{}  {}", call.tool, subject(call)), 60));
        Vec::new()
    }

    fn status(&mut self, entry: &StreamEntry, note: &StatusNote) -> Option<Piece> {
        let message = one_line(note.message.as_deref().unwrap_or_default(), LONGEST);
        let with_message = |text: &str| if message.is_empty() { text.to_owned() } else { format!("{text}: {message}") };
        match note.state.as_str() {
            "submitted" => {
                let is_again = !self.is_waiting;
                self.is_waiting = true;
                WAITING.clone_into(&mut self.doing);
                is_again.then(|| Piece::Note(Style::Warn, format!("↻ {}", with_message("waiting for a worker again"))))
            }
            "working" => {
                self.is_waiting = false;
                "starting".clone_into(&mut self.doing);
                let which = if entry.attempt > 1 { format!(" (attempt {})", entry.attempt) } else { String::new() };
                if which.is_empty() && self.holder.is_some() && self.holder == note.worker {
                    return None;
                }
                let id = note.worker.as_deref().unwrap_or("a worker");
                let worker = self.names.get(id).map_or(id, String::as_str);
                Some(Piece::Note(Style::Dim, format!("· {worker} has the task{which}")))
            }
            // The end is told once, after the last entry.
            "completed" | "failed" | "canceled" | "rejected" => None,
            "started" | "starting" | "busy" => {
                self.doing = if note.state == "busy" { "thinking".to_owned() } else { with_message("starting") };
                None
            }
            "retry" => {
                let tries = note.retry.map_or(String::new(), |n| format!(" {n}"));
                let pause = note.next_at.map_or(String::new(), |at| format!(", again in {}", took(at.since(entry.at))));
                "waiting for the provider".clone_into(&mut self.doing);
                let again = if note.discards.is_empty() { "" } else { "; the answer begins again" };
                Some(Piece::Note(Style::Warn, format!("↻ {}{pause}{again}", with_message(&format!("retry{tries}")))))
            }
            "disconnected" => Some(Piece::Note(Style::Warn, format!("! {}", with_message("the worker is not heard of")))),
            "reconnected" => Some(Piece::Note(Style::Dim, format!("· {}", with_message("the worker is back")))),
            "cancel-requested" => {
                "canceling".clone_into(&mut self.doing);
                Some(Piece::Note(Style::Warn, format!("· {}", with_message("cancel requested"))))
            }
            other => Some(Piece::Note(Style::Dim, format!("· {}", with_message(&one_line(other, LONGEST))))),
        }
    }
}

/// A tool call in a line; nothing while it runs.
pub(crate) fn call_line(call: &ToolCall) -> Option<(Style, String)> {
    let line = one_line(&format!("{}  {}", call.tool, subject(call)), LONGEST);
    match call.state {
        ToolState::Completed => Some((Style::Good, format!("✓ {line}"))),
        ToolState::Error => {
            let error = one_line(call.error.as_deref().unwrap_or("failed"), LONGEST);
            Some((Style::Bad, format!("✗ {line}: {error}")))
        }
        _ => None,
    }
}

const WAITING: &str = "waiting for a worker";

/// What a tool call is about: OpenCode's title, or what its input names.
fn subject(call: &ToolCall) -> String {
    let named = ["command", "filePath", "path", "pattern", "url", "query", "description"].iter().find_map(|key| call.input[key].as_str());
    let titled = call.title.as_deref().filter(|title| !title.is_empty());
    titled.or(named).unwrap_or_default().to_owned()
}

fn file(change: &FileChange) -> String {
    let lines = match (change.additions, change.deletions) {
        (0, 0) => String::new(),
        (added, removed) => format!("  +{added} -{removed}"),
    };
    one_line(&format!("± {} {}{lines}", change.change, change.path), LONGEST)
}

/// What an agent of the server made: text as it is, anything else by its name.
fn made(made: Made) -> Vec<Piece> {
    let name = made.artifact.name.unwrap_or(made.artifact.artifact_id);
    let piece = |part: Part| match part.content {
        Content::Text(text) => Piece::Answer(text),
        _ => Piece::Note(Style::Plain, one_line(&format!("+ {}", part.filename.as_ref().unwrap_or(&name)), LONGEST)),
    };
    made.artifact.parts.into_iter().map(piece).collect()
}

fn todo(todos: &Todos) -> Option<String> {
    let done = todos.items.iter().filter(|item| item.status == "completed").count();
    let current = todos.items.iter().find(|item| item.status == "in_progress");
    let current = current.map_or(String::new(), |item| format!(": {}", item.content));
    let total = todos.items.len();
    (total > 0).then(|| one_line(&format!("☐ {done} of {} done{current}", counted(total, "step")), LONGEST))
}

fn interaction(note: &InteractionNote) -> Piece {
    let reason = note.reason.as_deref().map_or(String::new(), |reason| format!(" ({reason})"));
    let what = match (note.id, note.outcome.as_str()) {
        (Some(id), "open") => {
            let how = if note.kind == QUESTION { "answer it with: muster answer" } else { "permit it with: muster approve" };
            let place = note.directory.as_deref().map_or(String::new(), |directory| format!(" in {directory}"));
            format!("{}{place}; {how} {id}", note.title)
        }
        (_, outcome) => format!("{}: {outcome}{reason}", note.title),
    };
    Piece::Note(Style::Warn, one_line(&format!("? {}: {what}", note.kind), LONGEST))
}

#[cfg(test)]
#[path = "transcript/tests.rs"]
mod tests;

//! The parts of the answers: texts that grow, tool calls that change, files that are touched.

use super::Action;
use super::emit::{MAX_DETAIL, cut, cut_text, tell};
use crate::opencode::events::Part;
use muster_protocol::stream::{EntryKind, FileChange, ToolCall, ToolState};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The most of a finished tool's output that goes into the stream, in characters.
const MAX_OUTPUT: usize = 32_768;
/// The most of a running tool's output: its end is sent again and again while it grows.
const MAX_GROWING: usize = 2_048;
/// How often the output of a running tool is sent, in milliseconds.
const GROWING_EVERY: u64 = 300;

#[derive(Debug)]
pub(super) struct Parts {
    codebase: PathBuf,
    texts: HashMap<String, Text>,
    tools: HashMap<String, Tool>,
    files: Vec<String>,
    /// Files told of since the current step began: OpenCode lists them again at its end.
    files_of_step: HashSet<String>,
}

/// A text or reasoning part.
#[derive(Debug)]
struct Text {
    kind: EntryKind,
    said: String,
    /// Pieces may be missing after what was said: only the whole text tells.
    doubtful: bool,
}

/// A tool call, as last told.
#[derive(Debug, Default)]
struct Tool {
    status: String,
    output_len: usize,
    told_at: u64,
}

impl Parts {
    pub(super) fn new(codebase: PathBuf) -> Self {
        Self { codebase, texts: HashMap::new(), tools: HashMap::new(), files: Vec::new(), files_of_step: HashSet::new() }
    }

    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// Some events are missing.
    pub(super) fn doubt(&mut self) {
        self.texts.values_mut().for_each(|text| text.doubtful = true);
    }

    /// A piece of a text. Pieces of unknown parts are left out: the whole comes at the end.
    pub(super) fn on_delta(&mut self, part: &str, delta: &str, actions: &mut Vec<Action>) {
        if let Some(text) = self.texts.get_mut(part).filter(|text| !text.doubtful) {
            text.say(part, delta, actions);
        }
    }

    /// A part as it is now.
    pub(super) fn on_part(&mut self, part: &Part, now: u64, actions: &mut Vec<Action>) {
        match part.kind.as_str() {
            "text" if !part.synthetic => self.on_text(part, EntryKind::Text, actions),
            "reasoning" => self.on_text(part, EntryKind::Reasoning, actions),
            "tool" => self.on_tool(part, now, actions),
            "patch" => {
                for file in &part.files {
                    self.on_file(Path::new(file), 0, 0, actions);
                }
            }
            "step-start" => self.files_of_step.clear(),
            _ => {}
        }
    }

    fn on_text(&mut self, part: &Part, kind: EntryKind, actions: &mut Vec<Action>) {
        let text = self.texts.entry(part.id.clone()).or_insert_with(|| Text { kind, said: String::new(), doubtful: false });
        let Some(rest) = part.text.strip_prefix(&text.said).filter(|rest| !rest.is_empty()) else { return };
        let rest = rest.to_owned();
        text.doubtful = false;
        text.say(&part.id, &rest, actions);
    }

    fn on_tool(&mut self, part: &Part, now: u64, actions: &mut Vec<Action>) {
        let state = &part.state;
        let status = state["status"].as_str().unwrap_or_default();
        let output = state["output"].as_str().or_else(|| state["metadata"]["output"].as_str());
        let told = self.tools.entry(part.id.clone()).or_default();
        let changed = told.status != status;
        let ended = ["completed", "error"].contains(&told.status.as_str());
        let grown =
            status == "running" && output.is_some_and(|output| output.len() != told.output_len) && now >= told.told_at + GROWING_EVERY;
        if ended || !(changed || grown) {
            return;
        }
        *told = Tool { status: status.to_owned(), output_len: output.map_or(0, str::len), told_at: now };
        let running = status == "running" || status == "pending";
        let call = ToolCall {
            call: if part.call_id.is_empty() { part.id.clone() } else { part.call_id.clone() },
            tool: part.tool.clone(),
            state: ToolState::from(status),
            title: state["title"].as_str().filter(|title| !title.is_empty()).map(|title| cut_text(title, 500)),
            input: if grown && !changed { Value::Null } else { cut(&state["input"], MAX_DETAIL) },
            output: output.filter(|output| !output.is_empty()).map(|text| if running { end_of(text) } else { cut_text(text, MAX_OUTPUT) }),
            error: state["error"].as_str().map(|error| cut_text(error, MAX_DETAIL)),
        };
        actions.push(tell(EntryKind::Tool, &call));
        if status == "completed" {
            self.on_changing_tool(part, actions);
        }
    }

    /// A finished tool that says which file it changed.
    fn on_changing_tool(&mut self, part: &Part, actions: &mut Vec<Action>) {
        if !["write", "edit", "multiedit", "apply_patch", "patch"].contains(&part.tool.as_str()) {
            return;
        }
        let metadata = &part.state["metadata"];
        let diff = &metadata["filediff"];
        let file = metadata["filepath"].as_str().or_else(|| diff["file"].as_str()).or_else(|| part.state["input"]["filePath"].as_str());
        if let Some(file) = file {
            let count = |name: &str| diff[name].as_u64().unwrap_or(0);
            self.on_file(Path::new(file), count("additions"), count("deletions"), actions);
        }
    }

    fn on_file(&mut self, file: &Path, additions: u64, deletions: u64, actions: &mut Vec<Action>) {
        let path = relative(file, &self.codebase);
        if !self.files_of_step.insert(path.clone()) {
            return;
        }
        if !self.files.contains(&path) {
            self.files.push(path.clone());
        }
        actions.push(tell(EntryKind::File, &FileChange { path, change: "edited".to_owned(), additions, deletions, patch: None }));
    }
}

impl Text {
    fn say(&mut self, part: &str, delta: &str, actions: &mut Vec<Action>) {
        self.said.push_str(delta);
        actions.push(Action::Say { kind: self.kind.clone(), part: part.to_owned(), delta: delta.to_owned() });
    }
}

/// A path relative to the codebase where it is inside.
pub(super) fn relative(file: &Path, codebase: &Path) -> String {
    file.strip_prefix(codebase).unwrap_or(file).to_string_lossy().into_owned()
}

/// The end of a growing output.
fn end_of(text: &str) -> String {
    let from = text.char_indices().rev().nth(MAX_GROWING - 1).map_or(0, |(at, _)| at);
    if from == 0 { text.to_owned() } else { format!("…{}", &text[from..]) }
}

//! The parts of the answers: texts, tool calls that change, files that are touched.

use super::Action;
use super::emit::{MAX_DETAIL, cut, cut_text, tell};
use super::texts::{Source, Texts};
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
    texts: Texts,
    tools: HashMap<String, Tool>,
    files: Vec<String>,
    /// Files told of since the current step began: OpenCode lists them again at its end.
    files_of_step: HashSet<String>,
    /// Beginnings and ends of steps that were taken in: what is stored tells them again.
    marks: HashSet<String>,
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
        let (texts, tools) = (Texts::default(), HashMap::new());
        Self { codebase, texts, tools, files: Vec::new(), files_of_step: HashSet::new(), marks: HashSet::new() }
    }

    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// Some events are missing.
    pub(super) fn doubt(&mut self) {
        self.texts.doubt();
    }

    /// The request that was being answered is made again: gives the texts that were broken off.
    pub(super) fn break_off(&mut self, source: Source) -> Vec<String> {
        self.texts.break_off(source)
    }

    /// A message is complete: gives the texts of which it has kept nothing.
    pub(super) fn end_unkept(&mut self, message: &str) -> Vec<String> {
        self.texts.end_unkept(message)
    }

    /// A piece of a text.
    pub(super) fn on_delta(&mut self, part: &str, delta: &str, actions: &mut Vec<Action>) {
        self.texts.on_delta(part, delta, actions);
    }

    /// A part as it is.
    pub(super) fn on_part(&mut self, part: &Part, source: Source, now: u64, actions: &mut Vec<Action>) {
        match part.kind.as_str() {
            "text" if !part.synthetic => self.texts.on_whole(part, EntryKind::Text, source, actions),
            "reasoning" => self.texts.on_whole(part, EntryKind::Reasoning, source, actions),
            "tool" => self.on_tool(part, now, actions),
            "step-start" if self.marks.insert(part.id.clone()) => self.files_of_step.clear(),
            "patch" if self.marks.insert(part.id.clone()) => {
                for file in &part.files {
                    self.on_file(Path::new(file), 0, 0, actions);
                }
            }
            _ => {}
        }
    }

    fn on_tool(&mut self, part: &Part, now: u64, actions: &mut Vec<Action>) {
        let state = &part.state;
        let status = state["status"].as_str().unwrap_or_default();
        let output = state["output"].as_str().or_else(|| state["metadata"]["output"].as_str());
        let told = self.tools.entry(part.id.clone()).or_default();
        // It was read as running before the event came that it is pending.
        let is_late = status == "pending" && !told.status.is_empty();
        let changed = told.status != status && !is_late;
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

/// A path relative to the codebase where it is inside.
pub(super) fn relative(file: &Path, codebase: &Path) -> String {
    file.strip_prefix(codebase).unwrap_or(file).to_string_lossy().into_owned()
}

/// The end of a growing output.
fn end_of(text: &str) -> String {
    let from = text.char_indices().rev().nth(MAX_GROWING - 1).map_or(0, |(at, _)| at);
    if from == 0 { text.to_owned() } else { format!("…{}", &text[from..]) }
}

//! The modes that need no OpenCode.

use super::attempt::Attempt;
use super::speech::Speech;
use super::{Ending, not_begun};
use crate::agent::Shared;
use crate::inventory;
use crate::opencode::error::{Failure, code};
use muster_protocol::codebase::GLOBAL_NAME;
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{Task, builtin_mode};
use std::path::Path;

/// Runs `echo`, `noop` or `register_codebase`.
pub(super) fn run(shared: &Shared, attempt: &Attempt) -> Ending {
    // Nothing here can be done twice to any harm, but a cancel that came first counts.
    if let Some(stop) = attempt.stopped() {
        return not_begun(stop);
    }
    let task = attempt.task();
    let done = |result: String| Ending::Completed { result, usage: None, changes: vec![] };
    match task.mode.as_str() {
        builtin_mode::ECHO => {
            let mut speech = Speech::new(attempt);
            speech.say(&EntryKind::Text, "echo", &task.prompt);
            speech.flush();
            done(task.prompt.clone())
        }
        builtin_mode::REGISTER_CODEBASE => register_codebase(shared, task),
        _ => done(String::new()),
    }
}

/// Adds the directory that the task asks for, if it is here; another worker may have it otherwise.
fn register_codebase(shared: &Shared, task: &Task) -> Ending {
    let text = |key: &str| task.metadata.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    let path = Path::new(text("path"));
    if !path.is_absolute() {
        let failure = Failure::new(code::CODEBASE_MISSING, "metadata.path must be an absolute path");
        return Ending::Failed(failure, None);
    }
    if let Some(problem) = inventory::problem(path) {
        tracing::info!("task {}: handed back, {problem}", task.id);
        return Ending::HandedBack;
    }
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = Some(text("name")).filter(|name| !name.is_empty() && *name != GLOBAL_NAME).unwrap_or(&last);
    match shared.added.add(name, path, text("description")) {
        Ok(()) => {
            shared.look_again.notify_one();
            let result = format!("{} is a directory on {} and is registered", path.display(), shared.config.name);
            Ending::Completed { result, usage: None, changes: vec![] }
        }
        Err(error) => Ending::Failed(Failure::new(code::SPOOL_ERROR, format!("it cannot be written down: {error}")), None),
    }
}

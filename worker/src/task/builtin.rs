//! The modes that need no OpenCode.

use super::attempt::Attempt;
use super::speech::Speech;
use super::{Ending, not_begun};
use crate::agent::Shared;
use crate::inventory;
use crate::opencode::error::{Failure, code};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::builtin_mode;
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
        builtin_mode::REGISTER_CODEBASE => match register_codebase(task.metadata.get("path").and_then(|path| path.as_str())) {
            Ok(path) => {
                shared.look_again.notify_one();
                done(format!("{path} is a directory on {}", shared.config.name))
            }
            Err(failure) => Ending::Failed(failure, None),
        },
        _ => done(String::new()),
    }
}

fn register_codebase(path: Option<&str>) -> Result<&str, Failure> {
    let path = path.filter(|path| Path::new(path).is_absolute());
    let path = path.ok_or_else(|| Failure::new(code::CODEBASE_MISSING, "metadata.path must be an absolute path"))?;
    match inventory::problem(Path::new(path)) {
        None => Ok(path),
        Some(problem) => Err(Failure::new(code::CODEBASE_MISSING, problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::register_codebase;

    #[test]
    fn only_a_directory_that_exists_can_be_registered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(register_codebase(Some(path)).unwrap(), path);
        for bad in [None, Some("relative"), Some("/does/not/exist")] {
            assert_eq!(register_codebase(bad).unwrap_err().code, "codebase_missing");
        }
    }
}

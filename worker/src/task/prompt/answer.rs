//! The stored answer of a run: its text, and what it changed.

use crate::opencode::client::{Diff, Message, OpenCodeClient, OpenCodeError};
use crate::opencode::error;
use crate::opencode::server::Running;
use crate::task::Ending;
use muster_protocol::stream::FileChange;
use muster_protocol::task::Usage;
use std::path::Path;
use std::time::Duration;

/// The longest patch that is passed on, in bytes.
const MAX_PATCH: usize = 65_536;
/// How many messages of a run are looked through.
const MOST_MESSAGES: usize = 5_000;

/// How often OpenCode is asked for the changes of a run that changed files: it stores them a moment after the run is over.
const DIFF_TRIES: u32 = 10;
/// The pause in between.
const DIFF_PAUSE: Duration = Duration::from_millis(200);

/// Text and changes of the answer `answer` to the prompt `prompt`; `edited` is whether the run was seen to change files.
pub(crate) async fn collect(
    client: &OpenCodeClient,
    session: &str,
    prompt: &str,
    answer: &str,
    codebase: &Path,
    edited: bool,
) -> Result<(String, Vec<FileChange>), OpenCodeError> {
    let message = client.message(session, answer).await?;
    let diffs = diffs(client, session, prompt, edited).await.unwrap_or_else(|error| {
        tracing::warn!("the changes of a run cannot be read: {error}");
        Vec::new()
    });
    let root = Path::new(&message.info.path.root).to_owned();
    Ok((text(&message), diffs.into_iter().map(|diff| change(diff, &root, codebase)).collect()))
}

async fn diffs(client: &OpenCodeClient, session: &str, prompt: &str, edited: bool) -> Result<Vec<Diff>, OpenCodeError> {
    for _ in 1..DIFF_TRIES {
        let diffs = client.diff(session, prompt).await?;
        // Where it keeps no snapshots there will never be any, and the names of the files are all there is.
        if !diffs.is_empty() || !edited {
            return Ok(diffs);
        }
        tokio::time::sleep(DIFF_PAUSE).await;
    }
    client.diff(session, prompt).await
}

/// The text that the model wrote. After a repeated provider request an empty part stays behind.
fn text(message: &Message) -> String {
    let texts = message.parts.iter().filter(|part| part.kind == "text" && !part.synthetic && !part.text.is_empty());
    texts.map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n\n")
}

fn change(diff: Diff, root: &Path, codebase: &Path) -> FileChange {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "line counts; what is negative saturates")]
    let count = |lines: f64| lines as u64;
    // OpenCode names files relative to the root of the work tree; the root of what is no repository is `/`.
    let file = root.join(&diff.file);
    let path = file.strip_prefix(codebase).unwrap_or(if root == Path::new("/") { Path::new(&diff.file) } else { &file });
    FileChange {
        path: path.to_string_lossy().into_owned(),
        change: diff.status.unwrap_or_else(|| "modified".to_owned()),
        additions: count(diff.additions),
        deletions: count(diff.deletions),
        patch: diff.patch.filter(|patch| !patch.is_empty() && patch.len() <= MAX_PATCH),
    }
}

/// What is known of changes where OpenCode keeps no snapshots: the names of the files.
pub(super) fn touched(files: &[String]) -> Vec<FileChange> {
    let change = |path: &String| FileChange { path: path.clone(), change: "edited".to_owned(), additions: 0, deletions: 0, patch: None };
    files.iter().map(change).collect()
}

/// What OpenCode has stored of a run that nobody followed to its end.
#[derive(Debug, PartialEq)]
pub(crate) enum Stored {
    /// The prompt never arrived.
    Absent,
    /// It was begun and not finished.
    Unfinished,
    /// It has ended.
    Ended(Ending),
}

/// Looks up what became of a prompt.
pub(crate) async fn look_up(running: &Running, session: &str, prompt: &str, codebase: &Path) -> Result<Stored, OpenCodeError> {
    let messages = match running.client.messages_from(session, prompt, MOST_MESSAGES).await {
        Ok(Some(messages)) => messages,
        Ok(None) => return Ok(Stored::Absent),
        Err(error) if error.is_not_found() => return Ok(Stored::Absent),
        Err(error) => return Err(error),
    };
    let answers: Vec<&Message> = messages.iter().filter(|message| message.info.is_assistant()).collect();
    let usage = Some(spent(&answers));
    let Some(newest) = answers.last() else { return Ok(Stored::Unfinished) };
    let goes_on = matches!(newest.info.finish.as_deref(), Some("tool-calls" | "unknown") | None) && newest.info.error.is_none();
    if !newest.info.is_complete() || goes_on || newest.info.is_summary() {
        return Ok(Stored::Unfinished);
    }
    if let Some(problem) = newest.info.error.as_ref().filter(|error| !error.is_null()) {
        let failure = error::from_opencode(problem);
        // An abort is how OpenCode stores a run that its own end has cut.
        let cut = failure.code == error::code::ABORTED;
        return Ok(if cut { Stored::Unfinished } else { Stored::Ended(Ending::Failed(failure, usage)) });
    }
    let (result, changes) = collect(&running.client, session, prompt, &newest.info.id, codebase, false).await?;
    Ok(Stored::Ended(Ending::Completed { result, usage, changes }))
}

/// The ending of a run that was complete when OpenCode ended.
pub(super) async fn stored(running: &Running, session: &str, prompt: &str, codebase: &Path) -> Result<Option<Ending>, OpenCodeError> {
    Ok(match look_up(running, session, prompt, codebase).await? {
        Stored::Ended(ending) => Some(ending),
        Stored::Absent | Stored::Unfinished => None,
    })
}

fn spent(answers: &[&Message]) -> Usage {
    let each: Vec<Usage> = answers.iter().map(|message| crate::task::run::usage_of(&message.info)).collect();
    crate::task::run::sum_of(&each)
}

#[cfg(test)]
mod tests {
    use super::{change, text};
    use crate::opencode::client::{Diff, Message};
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn the_answer_is_what_the_model_wrote_without_empty_and_synthetic_parts() {
        let message: Message = serde_json::from_value(json!({"info": {"id": "m", "role": "assistant"}, "parts": [
            {"id": "1", "type": "step-start"}, {"id": "2", "type": "text", "text": ""}, {"id": "3", "type": "reasoning", "text": "hm"},
            {"id": "4", "type": "text", "text": "one"}, {"id": "5", "type": "text", "text": "no", "synthetic": true}, {"id": "6", "type": "text", "text": "two"}]}))
        .unwrap();
        assert_eq!(text(&message), "one\n\ntwo");
    }

    #[test]
    fn changed_files_are_named_relative_to_the_codebase() {
        let diff =
            |file: &str| Diff { file: file.to_owned(), patch: None, additions: 1.0, deletions: 0.0, status: Some("added".to_owned()) };
        let of = |file: &str, root: &str, codebase: &str| change(diff(file), Path::new(root), Path::new(codebase)).path;
        assert_eq!(of("sub/a.txt", "/repo", "/repo/sub"), "a.txt");
        assert_eq!(of("a.txt", "/repo", "/repo"), "a.txt");
        assert_eq!(of("other/a.txt", "/repo", "/repo/sub"), "/repo/other/a.txt");
        assert_eq!(of("a.txt", "/", "/home/u"), "a.txt");
    }
}

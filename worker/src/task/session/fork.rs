//! Continuing a copy of a session, which may be busy elsewhere meanwhile.

use super::{failed, in_use, now};
use crate::opencode::client::Session;
use crate::opencode::error::Failure;
use crate::opencode::events::MessageInfo;
use crate::opencode::server::Running;
use muster_protocol::ids::WorkerId;
use muster_protocol::task::{Assignment, Task};
use serde_json::{Value, json};

/// How many of the newest messages are looked at for the beginning of an unfinished turn.
const LOOK_BACK: usize = 50;

/// Whether a session is the copy that was made for a task.
pub(super) fn is_of(session: &Session, task: &Task) -> bool {
    let muster = &session.metadata["muster"];
    muster["forked_from"].is_string() && muster["task"] == json!(task.id)
}

/// Copies a session up to its last complete turn, and marks the copy as Muster's. The title is OpenCode's: the original's
/// and which copy it is.
pub(super) async fn fork(running: &Running, original: &Session, assignment: &Assignment, worker: &WorkerId) -> Result<Session, Failure> {
    let newest = running.client.newest_messages(&original.id, LOOK_BACK).await.map_err(|e| failed(&e))?;
    let infos: Vec<&MessageInfo> = newest.iter().map(|message| &message.info).collect();
    let before = unfinished_turn(&infos, now());
    let copy = running.client.fork(&original.id, before).await.map_err(|e| failed(&e))?;
    let metadata = marked(&copy.metadata, &original.id, assignment, worker);
    let copy = running.client.set_metadata(&copy.id, &metadata).await.map_err(|e| failed(&e))?;
    tracing::info!("the session {} was copied as {} for task {}", original.id, copy.id, assignment.task.id);
    Ok(copy)
}

/// The prompt of the turn that somebody is at work on, if there is one.
fn unfinished_turn<'a>(messages: &[&'a MessageInfo], now: f64) -> Option<&'a str> {
    let newest = *messages.last()?;
    // Between two steps of a turn the newest answer is complete, and says that a tool was called.
    let between = newest.finish.as_deref() == Some("tool-calls") && in_use(newest, now);
    if newest.is_assistant() && newest.is_complete() && !between {
        return None;
    }
    let prompt = messages.iter().rev().find(|message| !message.is_assistant()).map(|message| message.id.as_str());
    if newest.is_assistant() { newest.parent_id.as_deref().or(prompt) } else { prompt }
}

/// The metadata of a copy: what the original had, and whose it is now.
fn marked(inherited: &Value, original: &str, assignment: &Assignment, worker: &WorkerId) -> Value {
    let mut metadata = inherited.as_object().cloned().unwrap_or_default();
    let muster = json!({"worker": worker, "task": assignment.task.id, "attempt": assignment.attempt, "forked_from": original});
    metadata.insert("muster".to_owned(), muster);
    Value::Object(metadata)
}

#[cfg(test)]
mod tests {
    use super::{is_of, marked, unfinished_turn};
    use crate::opencode::client::Session;
    use crate::opencode::events::{MessageInfo, MessageTime};
    use crate::spool::tests::assignment;
    use muster_protocol::ids::WorkerId;
    use serde_json::json;

    fn info(id: &str, parent: Option<&str>, completed: Option<f64>, finish: Option<&str>) -> MessageInfo {
        MessageInfo {
            id: id.to_owned(),
            role: if parent.is_some() { "assistant" } else { "user" }.to_owned(),
            parent_id: parent.map(str::to_owned),
            time: MessageTime { created: 1.0, completed },
            finish: finish.map(str::to_owned),
            ..MessageInfo::default()
        }
    }

    #[test]
    fn a_turn_that_is_being_worked_on_is_left_out_of_the_copy() {
        let (prompt, step) = (info("u2", None, None, None), info("a2", Some("u2"), Some(1e9), Some("tool-calls")));
        let (done, open) = (info("a1", Some("u1"), Some(1e9), Some("stop")), info("a3", Some("u2"), None, None));
        assert_eq!(unfinished_turn(&[&done], 1e9), None);
        assert_eq!(unfinished_turn(&[&done, &prompt], 1e9), Some("u2"));
        assert_eq!(unfinished_turn(&[&done, &prompt, &step], 1e9 + 5.0), Some("u2"));
        assert_eq!(unfinished_turn(&[&done, &prompt, &step], 1e9 + 1e6), None, "it ended so: a permission was refused");
        assert_eq!(unfinished_turn(&[&step, &open], 1e9), Some("u2"), "also if its prompt is further back");
    }

    #[test]
    fn a_copy_is_known_by_the_task_it_was_made_for() {
        let given = assignment(1);
        let metadata = marked(&json!({"mine": 1, "muster": {"task": "other"}}), "ses_o", &given, &WorkerId("w".to_owned()));
        assert_eq!(metadata["mine"], 1);
        let session = |metadata| Session { id: "ses_c".to_owned(), directory: String::new(), metadata };
        assert!(is_of(&session(metadata), &given.task));
        assert!(!is_of(&session(json!({"muster": {"task": given.task.id}})), &given.task), "begun for it, not copied");
    }
}

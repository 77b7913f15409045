//! Which session gets the prompt, with which model and mode; checked before anything is begun, for a clear failure.

mod fork;

use crate::opencode::client::{OpenCodeError, Session};
use crate::opencode::error::{Failure, code};
use crate::opencode::events::MessageInfo;
use crate::opencode::server::{Catalogue, Running};
use muster_protocol::ids::WorkerId;
use muster_protocol::task::{Assignment, Task};
use serde_json::json;

/// How long a session that is not Muster's must have been quiet, in milliseconds.
const QUIET: f64 = 60_000.0;
/// OpenCode's mode if none is asked for.
const DEFAULT_MODE: &str = "build";

/// What is prompted how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) mode: String,
    pub(super) model: Option<(String, String)>,
}

pub(super) fn failed(error: &OpenCodeError) -> Failure {
    Failure::new(code::OPENCODE_ERROR, error.to_string())
}

/// Model and mode, checked against what OpenCode offers in the directory. What it offered a minute ago may be old: before
/// something is called missing it is read again.
pub(super) async fn choose(running: &Running, task: &Task, directory: &str, new_session: bool) -> Result<Choice, Failure> {
    let known = running.catalogue(directory, false).await.map_err(|e| failed(&e))?;
    match pick(&known, task, new_session) {
        Ok(choice) => Ok(choice),
        Err(_) => pick(&*running.catalogue(directory, true).await.map_err(|e| failed(&e))?, task, new_session),
    }
}

fn pick(offer: &Catalogue, task: &Task, new_session: bool) -> Result<Choice, Failure> {
    let mode = if task.mode.is_empty() { DEFAULT_MODE } else { &task.mode };
    if !offer.modes.iter().any(|known| known == mode) {
        let there = offer.modes.join(", ");
        return Err(Failure::new(code::MODE_NOT_FOUND, format!("OpenCode on this worker has no mode `{mode}`; it has: {there}")));
    }
    // A session keeps its model; only a new one needs to be told the default.
    let model = task.model.as_deref().filter(|model| !model.is_empty());
    let wanted = model.or_else(|| offer.default_model.as_deref().filter(|_| new_session));
    let Some(wanted) = wanted else { return Ok(Choice { mode: mode.to_owned(), model: None }) };
    if model.is_some() && !offer.models.iter().any(|known| known.id == wanted) {
        return Err(Failure::new(code::MODEL_NOT_FOUND, missing_model(offer, wanted)));
    }
    let split = wanted.split_once('/').map(|(provider, model)| (provider.to_owned(), model.to_owned()));
    Ok(Choice { mode: mode.to_owned(), model: split })
}

fn missing_model(offer: &Catalogue, wanted: &str) -> String {
    let mut there: Vec<&str> = offer.models.iter().take(8).map(|model| model.id.as_str()).collect();
    if offer.models.len() > there.len() {
        there.push("..");
    }
    let there = if there.is_empty() { "none; log in to a provider with `opencode auth login`".to_owned() } else { there.join(", ") };
    format!("OpenCode on this worker has no model `{wanted}`; it has: {there}")
}

/// The session of an assignment: the one to continue, or a new one.
pub(super) async fn open(running: &Running, assignment: &Assignment, directory: &str, worker: &WorkerId) -> Result<Session, Failure> {
    let Some(id) = &assignment.session_id else {
        let metadata = json!({"muster": {"worker": worker, "task": assignment.task.id, "attempt": assignment.attempt}});
        return running.client.create_session(directory, &title(&assignment.task), metadata).await.map_err(|e| failed(&e));
    };
    let session = match running.client.session(id.as_str()).await {
        Ok(session) => session,
        Err(error) if error.is_not_found() => {
            return Err(Failure::new(
                code::SESSION_NOT_FOUND,
                format!("the OpenCode session {id} of this conversation is no longer on this worker; begin a new conversation"),
            ));
        }
        Err(error) => return Err(failed(&error)),
    };
    // What an interrupted attempt of this task has copied is its own: it is continued, not copied again.
    if assignment.fork && !fork::is_of(&session, &assignment.task) {
        return fork::fork(running, &session, assignment, worker).await;
    }
    if assignment.continuation {
        // Whatever is left of the interrupted run must not answer beside the new one.
        running.client.abort(id.as_str()).await.map_err(|e| failed(&e))?;
    }
    ensure_free(running, &session, assignment.continuation).await?;
    Ok(session)
}

/// Refuses a session that somebody else works in.
async fn ensure_free(running: &Running, session: &Session, continuation: bool) -> Result<(), Failure> {
    let busy = |why: &str| {
        Err(Failure::new(
            code::SESSION_BUSY,
            format!(
                "the OpenCode session {id} is in use elsewhere ({why}); wait until it is done, or continue a copy of it: \
                 `\"fork\": true` in the request to resume it, or `muster chat --session {id} --fork` \
                 (`muster run --session {id} --fork \"..\"`)",
                id = session.id
            ),
        ))
    };
    let statuses = running.client.statuses(&session.directory).await.map_err(|e| failed(&e))?;
    if !continuation && statuses.contains_key(&session.id) {
        return busy("a run is going on in it");
    }
    if session.metadata["muster"].is_object() {
        return Ok(());
    }
    // Another process on the same home gives no status here: only its messages show that it works.
    let newest = running.client.newest_messages(&session.id, 1).await.map_err(|e| failed(&e))?;
    match newest.last().map(|message| in_use(&message.info, now())) {
        Some(true) => busy("its newest message is unfinished or younger than a minute"),
        _ => Ok(()),
    }
}

/// The time in milliseconds since 1970, as OpenCode gives it.
fn now() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
    let now = crate::clock::now().0 as f64;
    now
}

fn in_use(newest: &MessageInfo, now: f64) -> bool {
    let unfinished = newest.is_assistant() && !newest.is_complete();
    unfinished || now - newest.time.completed.unwrap_or(newest.time.created) < QUIET
}

/// A session's title: given, so that no model is asked for one.
fn title(task: &Task) -> String {
    let source = if task.title.trim().is_empty() { &task.prompt } else { &task.title };
    let line: String = source.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect();
    if line.is_empty() { "Muster task".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::{Catalogue, Choice, in_use, pick, title};
    use crate::opencode::events::{MessageInfo, MessageTime};
    use crate::opencode::models::models;
    use crate::spool::tests::assignment;
    use serde_json::json;

    fn offer() -> Catalogue {
        let providers = json!({"providers": [{"id": "p", "models": {"m": {}, "deep/name": {}}}]});
        Catalogue { models: models(&providers), default_model: Some("p/m".to_owned()), modes: vec!["build".to_owned(), "plan".to_owned()] }
    }

    fn choose(model: Option<&str>, mode: &str, new_session: bool) -> Result<Choice, &'static str> {
        let mut task = assignment(1).task;
        task.model = model.map(str::to_owned);
        mode.clone_into(&mut task.mode);
        pick(&offer(), &task, new_session).map_err(|failure| failure.code)
    }

    #[test]
    fn model_and_mode_are_checked_before_anything_is_begun() {
        let model = |model: &str| Some(("p".to_owned(), model.to_owned()));
        assert_eq!(choose(Some("p/deep/name"), "plan", true), Ok(Choice { mode: "plan".to_owned(), model: model("deep/name") }));
        assert_eq!(choose(Some("p/none"), "build", true), Err("model_not_found"));
        assert_eq!(choose(Some("none"), "build", true), Err("model_not_found"));
        assert_eq!(choose(None, "nope", true), Err("mode_not_found"));
    }

    #[test]
    fn a_new_session_is_told_the_default_and_a_continued_one_keeps_its_model() {
        assert_eq!(choose(None, "", true).unwrap().model, Some(("p".to_owned(), "m".to_owned())));
        assert_eq!(choose(None, "", false).unwrap().model, None);
    }

    #[test]
    fn a_session_that_somebody_just_used_is_left_alone() {
        let message = |role: &str, created: f64, completed: Option<f64>| MessageInfo {
            role: role.to_owned(),
            time: MessageTime { created, completed },
            ..MessageInfo::default()
        };
        assert!(in_use(&message("assistant", 0.0, None), 1e9));
        assert!(in_use(&message("user", 1e9 - 10.0, None), 1e9));
        assert!(!in_use(&message("assistant", 0.0, Some(1.0)), 1e9));
    }

    #[test]
    fn a_session_always_has_a_title() {
        let mut task = assignment(1).task;
        task.title = " \n".to_owned();
        task.prompt = "do\n  it".to_owned();
        assert_eq!(title(&task), "do it");
        task.prompt.clear();
        assert_eq!(title(&task), "Muster task");
    }
}

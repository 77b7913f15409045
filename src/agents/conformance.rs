//! The agent that the official conformance kit of A2A talks to (`a2a.conformance_agent`): what it does is said by how the id of the message begins.
//! Its tasks are tasks like any other, told a step at a time.

use super::{Begun, Letter, Message};
use crate::agents::Agent;
use crate::app::App;
use crate::error::ApiError;
use crate::store::own::{Step, TellOwn};
use crate::store::submit::Answer;
use crate::tasks::{ANSWERED_MODE, Place};
use muster_protocol::a2a::{Artifact, Content, Message as Said, Part};
use muster_protocol::ids::TaskId;
use muster_protocol::stream::Made;
use muster_protocol::task::{SubmitTask as Wanted, Target, TaskState};
use serde_json::json;
use std::time::Duration;

/// What is left over fails then: nobody answered, or the server was restarted.
const DEADLINE_MS: i64 = 60 * 60 * 1_000;
/// How long it works where the kit wants to see it work.
const WORK: Duration = Duration::from_secs(2);
/// How long it works where the kit comes back meanwhile.
const LONG_WORK: Duration = Duration::from_secs(6);
/// How long it works by default.
const SHORT_WORK: Duration = Duration::from_secs(1);
/// Answered without a task, where the message names none.
const BARE: &str = "tck-message-response";
const BARE_ANSWER: &str = "Direct message response";

/// What happens, each after a pause.
type Script = Vec<(Duration, Step)>;

fn now(step: Step) -> (Duration, Step) {
    (Duration::ZERO, step)
}

fn state(state: TaskState, said: Option<&str>) -> Step {
    Step::State { state, said: said.map(str::to_owned) }
}

fn made(part: Part) -> Step {
    let artifact = Artifact { artifact_id: "made".to_owned(), parts: vec![part], ..Artifact::default() };
    Step::Made(Made { artifact, append: false, last: true })
}

fn chunk(text: &str, append: bool, last: bool) -> Step {
    let artifact = Artifact { artifact_id: "made".to_owned(), parts: vec![Part::text(text)], ..Artifact::default() };
    Step::Made(Made { artifact, append, last })
}

fn file(content: Content) -> Part {
    Part { filename: Some("output.txt".to_owned()), media_type: Some("text/plain".to_owned()), ..content.into() }
}

/// What is done about a message; the longest beginning of its id that is known decides.
fn script(message_id: &str) -> Script {
    let is = |beginning: &str| message_id.starts_with(beginning);
    let done = || now(state(TaskState::Completed, None));
    let making = |part: Part| vec![now(made(part)), done()];
    if is("tck-complete-task") {
        vec![now(state(TaskState::Completed, Some("Hello from TCK")))]
    } else if is("tck-delayed-complete") {
        vec![(WORK, state(TaskState::Completed, Some("Done after delay")))]
    } else if is("tck-artifact-file-url") {
        making(file(Content::Url("https://example.com/output.txt".to_owned())))
    } else if is("tck-artifact-file") || is("tck-stream-artifact-file") {
        making(file(Content::Raw(b"tck".to_vec())))
    } else if is("tck-artifact-data") {
        making(Part::data(json!({ "key": "value", "count": 42 })))
    } else if is("tck-artifact-text") {
        making(Part::text("Generated text content"))
    } else if is(BARE) {
        vec![now(state(TaskState::Completed, Some(BARE_ANSWER)))]
    } else if is("tck-input-required") {
        vec![now(state(TaskState::InputRequired, Some("What more is there to know?")))]
    } else if is("tck-auth-required") {
        vec![now(state(TaskState::AuthRequired, Some("Who are you?")))]
    } else if is("tck-reject-task") {
        vec![now(state(TaskState::Rejected, Some("rejected")))]
    } else if is("tck-stream-artifact-chunked") {
        vec![now(chunk("chunk-1 ", false, false)), now(chunk("chunk-2", true, true)), done()]
    } else if is("tck-stream-artifact-text") {
        making(Part::text("Streamed text content"))
    } else if is("tck-stream-ordering-001") {
        making(Part::text("Ordered output"))
    } else if is("tck-stream-001") {
        making(Part::text("Stream hello from TCK"))
    } else if is("tck-stream-002") {
        vec![done()]
    } else if is("tck-stream-003") {
        making(Part::text("Stream task lifecycle"))
    } else if is("test-resubscribe-message-id") {
        vec![(LONG_WORK, made(Part::text("Worked on"))), done()]
    } else {
        let asks = state(TaskState::InputRequired, Some("Is there anything else?"));
        vec![(SHORT_WORK, made(Part::text("Worked on it"))), now(asks)]
    }
}

impl App {
    pub(super) async fn let_conformance_answer(&self, letter: Letter<'_>) -> Result<Begun, ApiError> {
        let (message, now) = (letter.message, self.now());
        let target = Target { agent: Some(letter.agent.clone()), ..Target::default() };
        let deadline = Some(muster_protocol::time::Timestamp(now.0.saturating_add(DEADLINE_MS)));
        let wanted = Wanted { mode: Some(ANSWERED_MODE.to_owned()), model: None, deadline, ..message.wanted(target) };
        let begun = self.take_in(letter, wanted, Place::default(), Some(Answer::BEGUN)).await?;
        self.act(begun.task.id, &message.id);
        Ok(begun)
    }

    /// What is answered to a message without a task; nothing where there is to be one.
    ///
    /// # Errors
    /// As of [`Self::begin_message`].
    pub async fn bare_answer(&self, message: &Message) -> Result<Option<&'static str>, ApiError> {
        let may = self.config.a2a.conformance_agent && message.id.starts_with(BARE);
        Ok(if may && self.agent_for(message).await? == Agent::Conformance { Some(BARE_ANSWER) } else { None })
    }

    /// Goes on with a task of an agent of this server that waits in the state `from`; answers whether it did wait.
    ///
    /// # Errors
    /// Of the store.
    pub async fn go_on_itself(&self, task: TaskId, from: TaskState, said: Vec<Said>, message: &Message) -> Result<bool, ApiError> {
        let steps = vec![state(TaskState::Working, None)];
        let goes_on = self.store.write(TellOwn { task, from: Some(from), messages: said, steps, now: self.now() }).await?;
        if goes_on {
            self.act(task, &message.id);
        }
        Ok(goes_on)
    }

    /// Does what the id of a message says, until the task has ended: by itself, or canceled.
    fn act(&self, task: TaskId, message_id: &str) {
        let (app, script) = (self.clone(), script(message_id));
        self.life.spawn_isolated("conformance agent", async move {
            for (pause, step) in script {
                tokio::select! {
                    () = app.life.stopping() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                let tell = TellOwn { task, from: Some(TaskState::Working), messages: Vec::new(), steps: vec![step], now: app.now() };
                match app.store.write(tell).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => return tracing::warn!(task.id = %task, %error, "the conformance agent gives up"),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Step, TaskState, script};

    fn last(message_id: &str) -> Option<TaskState> {
        match script(message_id).pop() {
            Some((_, Step::State { state, .. })) => Some(state),
            _ => None,
        }
    }

    #[test]
    fn every_script_ends_the_task_or_asks() {
        for id in ["tck-complete-task-1", "tck-artifact-file-url-1", "tck-stream-002", "test-resubscribe-message-id-1"] {
            assert_eq!(last(id), Some(TaskState::Completed), "{id}");
        }
        assert_eq!(last("tck-reject-task-1"), Some(TaskState::Rejected));
        assert_eq!(last("tck-auth-required"), Some(TaskState::AuthRequired));
        assert_eq!(last("whatever"), Some(TaskState::InputRequired));
        assert_ne!(script("tck-artifact-file-1"), script("tck-artifact-file-url-1"));
    }

    #[test]
    fn what_is_not_known_takes_less_than_five_seconds() {
        let took: Duration = script("m-1").iter().map(|(pause, _)| *pause).sum();
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
        assert!(script("test-resubscribe-message-id").iter().map(|(pause, _)| *pause).sum::<Duration>() >= Duration::from_secs(4));
    }
}

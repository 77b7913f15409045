//! Tasks that an agent of this server answers itself, a step at a time: no worker holds them, and no attempt is made.

use super::a2a::add_message;
use super::attempts::{End, FinishTask};
use super::sql::statements;
use super::tasks::TaskRecord;
use super::tx::NewEvent;
use super::{ReadAhead, Tx, Write};
use crate::events::Wake;
use muster_protocol::a2a::Message;
use muster_protocol::ids::TaskId;
use muster_protocol::stream::{EntryKind, Made, StatusNote};
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;

/// The mode of a message that an agent of this server answers itself.
pub const ANSWERED_MODE: &str = "message";

/// What an agent tells of its task.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It made something.
    Made(Made),
    /// The task is in another state now.
    State {
        /// Which; a terminal one ends the task.
        state: TaskState,
        /// What is said with it: what is asked, the answer, or why it is rejected.
        said: Option<String>,
    },
    /// What it was to do was canceled, as somebody asked.
    Canceled {
        /// Whether nothing of it runs any more.
        confirmed: bool,
        /// What is said with it.
        said: String,
    },
    /// The event log is told of it.
    Event(NewEvent),
}

/// Tells steps of a task, in order and together.
#[derive(Debug, Clone)]
pub struct TellOwn {
    /// The task.
    pub task: TaskId,
    /// The state in which it must be; any that is not terminal if absent.
    pub from: Option<TaskState>,
    /// What was said meanwhile, and is kept with it.
    pub messages: Vec<Message>,
    /// What happens.
    pub steps: Vec<Step>,
    /// When.
    pub now: Timestamp,
}

statements! {
    WAITS_SINCE: "UPDATE tasks SET asked_at = $2 WHERE id = $1";
}

impl TaskRecord {
    /// Whether an agent of this server answers the task itself.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.task.mode == ANSWERED_MODE && self.task.attempt == 0 && !self.held && self.task.state != TaskState::Submitted
    }
}

impl Write for TellOwn {
    const NAME: &'static str = "tell_own";
    /// Whether it was told: a task that has ended, or is in another state than it must be, stays as it is.
    type Output = bool;

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.tasks.push(self.task);
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        let Some(record) = tx.task(self.task).await? else { return Ok(false) };
        let is_right = self.from.is_none_or(|from| from == record.task.state);
        if !record.is_own() || record.task.state.is_terminal() || !is_right {
            return Ok(false);
        }
        // What is to be canceled ends in no other way.
        let ends = |step: &Step| matches!(step, Step::State { state, .. } if state.is_terminal());
        if record.cancel_asked_at.is_some() && self.steps.iter().any(ends) {
            return Ok(false);
        }
        for message in &self.messages {
            add_message(tx, self.task, message, self.now).await?;
        }
        for step in &self.steps {
            match step {
                Step::Made(made) => {
                    let place = tx.count_entries(self.task, 1, self.now).await?;
                    tx.note(self.task, place, 0, self.now, EntryKind::Artifact, made);
                }
                Step::Event(event) => tx.event(event.clone()),
                Step::State { state, said } if state.is_terminal() => return self.end(tx, *state, said.as_deref()).await,
                Step::Canceled { confirmed, said } => {
                    let end = End { error: Some(said.clone()), ..End::by_cancel(&record, *confirmed, self.now) };
                    FinishTask { record: &tx.task(self.task).await?.unwrap_or(record), end, now: self.now }.apply(tx).await?;
                    return Ok(true);
                }
                Step::State { state, said } => self.change(tx, *state, said.clone()).await?,
            }
        }
        tx.wake(Wake::Task(self.task));
        Ok(true)
    }
}

impl TellOwn {
    async fn change(&self, tx: &mut Tx<'_>, state: TaskState, said: Option<String>) -> sqlx::Result<()> {
        let before = tx.task(self.task).await?.map(|record| record.task.state);
        let changed = tx.change_task(self.task, |record| {
            record.task.state = state;
            record.task.entries += 1;
            // It was begun when it was accepted.
            record.task.started_at = record.task.started_at.or(Some(record.task.created_at));
            record.task.updated_at = self.now;
        });
        let place = changed.await?.task.entries;
        let note = StatusNote { state: state.as_str().to_owned(), message: said, ..StatusNote::default() };
        tx.note(self.task, place, 0, self.now, EntryKind::Status, &note);
        if before == Some(state) {
            return Ok(());
        }
        tx.execute(WAITS_SINCE.on(tx.dialect()).bind(self.task.to_string()).bind(self.now.0)).await.map(drop)
    }

    async fn end(&self, tx: &mut Tx<'_>, state: TaskState, said: Option<&str>) -> sqlx::Result<bool> {
        let Some(record) = tx.task(self.task).await? else { return Ok(false) };
        let is_good = state == TaskState::Completed;
        let end =
            End { result: said.filter(|_| is_good).map(str::to_owned), ..End::without_result(state, said.filter(|_| !is_good), None) };
        FinishTask { record: &record, end, now: self.now }.apply(tx).await?;
        Ok(true)
    }
}

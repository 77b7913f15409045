//! A part of a coordination under way: its task, and what became of it.

use crate::app::App;
use crate::domain::coordination::{Outcome, PartState};
use crate::error::ApiError;
use crate::events::Signal;
use crate::store::external::agent_of;
use crate::store::tasks::TaskRecord;
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::task::{Task, TaskState};
use muster_protocol::time::Timestamp;

/// A part.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(super) struct Piece {
    /// Its task, once it was begun.
    pub(super) task: Option<TaskId>,
    /// How it ended.
    pub(super) outcome: Option<Outcome>,
    /// Whether the stream was told of that.
    pub(super) is_end_said: bool,
    /// Whether it was canceled without the word of who did it.
    pub(super) is_unconfirmed: bool,
    /// Whether its task was asked to stop.
    pub(super) cancel_sent: bool,
    /// Since when its machine is lost.
    pub(super) lost_since: Option<Timestamp>,
    /// Its task as it was seen last.
    pub(super) state: Option<TaskState>,
    pub(super) signal: Option<Signal>,
    begun_at: Option<Timestamp>,
    holder: Option<WorkerId>,
    is_unread: bool,
}

impl Piece {
    /// Its task is there: it is followed from now on.
    pub(super) async fn begun(&mut self, app: &App, task: &Task) -> Result<(), ApiError> {
        (self.task, self.begun_at) = (Some(task.id), Some(task.created_at));
        if task.state.is_terminal() {
            return self.ended(app, task).await;
        }
        (self.signal, self.is_unread) = (Some(app.store.hub().task(task.id)), true);
        Ok(())
    }

    /// Its task is looked at again, though nothing is heard of it.
    pub(super) fn read_again(&mut self) {
        self.is_unread = true;
    }

    /// What is to be waited for, and where it is noted that it happened.
    pub(super) fn listen(&mut self) -> Option<(&mut Signal, &mut bool)> {
        self.signal.as_mut().map(|signal| (signal, &mut self.is_unread))
    }

    /// Whether it is still waited for.
    pub(super) fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    /// Reads its task, if that may have changed; answers whether it did.
    pub(super) async fn look(&mut self, app: &App) -> Result<bool, ApiError> {
        let Some(task) = self.task.filter(|_| self.is_open()) else { return Ok(false) };
        let changed = self.signal.as_mut().is_some_and(|signal| {
            let changed = signal.has_changed().unwrap_or(false);
            signal.mark_unchanged();
            changed
        });
        if !changed && !self.is_unread {
            return Ok(false);
        }
        self.is_unread = false;
        match app.store.task(task).await? {
            Some(record) => self.seen(app, record).await?,
            None => self.gives(PartState::Failed, app.now(), "its task is not there any more".to_owned()),
        }
        Ok(true)
    }

    async fn seen(&mut self, app: &App, record: TaskRecord) -> Result<(), ApiError> {
        (self.lost_since, self.state, self.holder) = (record.disconnected_at, Some(record.task.state), record.holder);
        if record.task.state.is_terminal() { self.ended(app, &record.task).await } else { Ok(()) }
    }

    async fn ended(&mut self, app: &App, task: &Task) -> Result<(), ApiError> {
        let Some(state) = PartState::of(task.state) else { return Ok(()) };
        let said = if state == PartState::Completed { &task.result } else { &task.error };
        let text =
            said.clone().unwrap_or_else(|| if state == PartState::Completed { String::new() } else { "no reason was given".to_owned() });
        self.is_unconfirmed = task.confirmed == Some(false);
        self.holder = task.worker_id.clone().filter(|_| task.attempt > 0);
        let machine = self.machine(app).await?;
        let took_ms = task.completed_at.unwrap_or(task.updated_at).since(task.created_at);
        self.outcome = Some(Outcome { state, task: Some(task.id), machine, took_ms, text });
        Ok(())
    }

    /// The machine that has it, or had it.
    pub(super) async fn machine(&self, app: &App) -> Result<Option<String>, ApiError> {
        let Some(holder) = self.holder.as_ref().filter(|holder| agent_of(holder).is_none()) else { return Ok(None) };
        Ok(Some(app.store.worker(holder).await?.map_or_else(|| holder.to_string(), |record| record.worker.name)))
    }

    /// It is not waited for any longer.
    pub(super) async fn is_missing(&mut self, app: &App, why: &str) -> Result<(), ApiError> {
        let machine = self.machine(app).await?;
        let text = match (self.task, &machine) {
            (None, _) => format!("it was not begun {why}"),
            (Some(_), Some(machine)) => format!("it was {} on {machine} {why}", self.word()),
            (Some(_), None) => format!("it was {} {why}", self.word()),
        };
        self.gives(PartState::Missing, app.now(), text);
        if let Some(outcome) = &mut self.outcome {
            outcome.machine = machine;
        }
        Ok(())
    }

    fn word(&self) -> &'static str {
        match self.state {
            Some(TaskState::InputRequired | TaskState::AuthRequired) => "waiting for an answer",
            Some(TaskState::Working) => "running",
            _ => "waiting",
        }
    }

    /// It ends without its task's word.
    pub(super) fn gives(&mut self, state: PartState, now: Timestamp, text: String) {
        let took_ms = self.begun_at.map_or(0, |begun| now.since(begun));
        self.outcome = Some(Outcome { state, task: self.task, machine: None, took_ms, text });
    }
}

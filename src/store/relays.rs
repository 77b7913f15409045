//! Tasks that are relayed to agents of others: giving them to the relay, what they are called there, and how they end.

use super::attempts::{End, FinishTask};
use super::external::{agent_of, holder_of};
use super::row::{Columns as _, to_int};
use super::sql::statements;
use super::tasks::TaskRecord;
use super::{ReadAhead, Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::ids::{ContextId, TaskId};
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;

/// What an attempt is called at the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// Its task; empty before the agent has named it.
    pub task: String,
    /// Its conversation; empty as well.
    pub context: String,
}

statements! {
    // The oldest turn of each conversation that has none running.
    NEXT: "SELECT id FROM tasks t WHERE state = 'submitted' AND held = 0 AND target_worker = $1 AND not_before <= $2
        AND NOT EXISTS (SELECT 1 FROM tasks e WHERE e.context_id = t.context_id AND e.completed_at IS NULL AND e.id < t.id)
        ORDER BY priority DESC, id LIMIT $3";
    WAITING_FOR: "SELECT name FROM agents a WHERE EXISTS (SELECT 1 FROM tasks WHERE state = 'submitted' AND held = 0
        AND target_worker = 'agents/' || a.name)";
    REMOTE: "SELECT remote_task, remote_context FROM relays WHERE task_id = $1 AND attempt = $2";
    OF_PEER: "SELECT name FROM agents WHERE name = $1 AND kind = 'peer'";
    CONTEXT: "SELECT remote_context FROM relays WHERE context_id = $1 AND agent = $2 AND remote_context <> '' ORDER BY task_id DESC LIMIT 1";
    PUT: "INSERT INTO relays (task_id, attempt, context_id, agent, remote_task, remote_context) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (task_id, attempt) DO UPDATE SET remote_task = excluded.remote_task, remote_context = excluded.remote_context";
    FORGET: "DELETE FROM relays WHERE task_id = $1 AND attempt = $2 AND remote_task = ''";
}

impl Store {
    /// The agents of others for which tasks wait.
    ///
    /// # Errors
    /// Of the database.
    pub async fn agents_waited_for(&self) -> Result<Vec<String>, StoreError> {
        let rows = WAITING_FOR.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| row.text("name")).collect::<sqlx::Result<_>>()?)
    }

    /// What an attempt is called at its agent; none if nothing was sent.
    ///
    /// # Errors
    /// Of the database.
    pub async fn remote_of(&self, task: TaskId, attempt: u64) -> Result<Option<Remote>, StoreError> {
        let row = REMOTE.on(self.dialect()).bind(task.to_string()).bind(to_int(attempt)).fetch_optional(self.readers()).await?;
        Ok(row
            .map(|row| Ok::<_, sqlx::Error>(Remote { task: row.text("remote_task")?, context: row.text("remote_context")? }))
            .transpose()?)
    }

    /// What a conversation is called at an agent.
    ///
    /// # Errors
    /// Of the database.
    pub async fn remote_context(&self, context: &ContextId, agent: &str) -> Result<Option<String>, StoreError> {
        let query = CONTEXT.on(self.dialect()).bind(context.0.clone()).bind(agent.to_owned());
        let row = query.fetch_optional(self.readers()).await?;
        Ok(row.map(|row| row.text("remote_context")).transpose()?)
    }
}

/// Whether a held task may have been sent to an agent of others: then nobody else is to begin it.
pub(super) async fn was_sent(tx: &mut Tx<'_>, record: &TaskRecord) -> sqlx::Result<bool> {
    if record.holder.as_ref().and_then(agent_of).is_none() {
        return Ok(false);
    }
    let sent = REMOTE.on(tx.dialect()).bind(record.task.id.to_string()).bind(to_int(record.task.attempt));
    Ok(tx.optional(sent).await?.is_some())
}

/// Gives the next tasks of an agent to the relay.
#[derive(Debug, Clone)]
pub struct TakeRelays {
    /// The agent.
    pub agent: String,
    /// How many at most.
    pub most: u32,
    /// When.
    pub now: Timestamp,
}

impl Write for TakeRelays {
    const NAME: &'static str = "take_relays";
    type Output = Vec<TaskRecord>;

    const AFTER_OTHERS: bool = true;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Vec<TaskRecord>> {
        let holder = holder_of(&self.agent);
        let next = NEXT.on(tx.dialect()).bind(holder.0.clone()).bind(self.now.0).bind(i64::from(self.most));
        let ids: Vec<TaskId> = tx.all(next).await?.iter().map(|row| row.parsed("id")).collect::<sqlx::Result<_>>()?;
        let mut taken = Vec::new();
        for id in ids {
            let Some(record) = super::claim::give_to_relay(tx, id, &holder, self.now).await? else { continue };
            if self.is_for_peer(tx).await? {
                self.begin(tx, &record).await?;
            }
            taken.push(record);
        }
        Ok(taken)
    }
}

impl TakeRelays {
    async fn is_for_peer(&self, tx: &mut Tx<'_>) -> sqlx::Result<bool> {
        let row = tx.optional(OF_PEER.on(tx.dialect()).bind(self.agent.clone())).await?;
        Ok(row.is_some())
    }

    /// A peer recognises a message that is sent again, so that it makes no difference whether it was sent: the attempt is begun with the taking.
    async fn begin(&self, tx: &mut Tx<'_>, record: &TaskRecord) -> sqlx::Result<()> {
        let (task, attempt, context) = (record.task.id, record.task.attempt, record.task.context_id.clone());
        NoteRemote { task, attempt, context, agent: self.agent.clone(), remote: Remote::default() }.apply(tx).await?;
        BeginRelay { task, attempt, now: self.now }.apply(tx).await
    }
}

/// Notes what an attempt is called at its agent; with nothing, that it is about to be sent.
#[derive(Debug, Clone)]
pub struct NoteRemote {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u64,
    /// The conversation.
    pub context: ContextId,
    /// The agent.
    pub agent: String,
    /// What it is called there.
    pub remote: Remote,
}

impl Write for NoteRemote {
    const NAME: &'static str = "note_remote";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let put = PUT.on(tx.dialect()).bind(self.task.to_string()).bind(to_int(self.attempt)).bind(self.context.0.clone());
        let put = put.bind(self.agent.clone()).bind(self.remote.task.clone()).bind(self.remote.context.clone());
        tx.execute_aside(put).await.map(drop)
    }
}

/// Notes that the message of an attempt was not sent after all.
#[derive(Debug, Clone)]
pub struct ForgetRemote {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u64,
}

impl Write for ForgetRemote {
    const NAME: &'static str = "forget_remote";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let forget = FORGET.on(tx.dialect()).bind(self.task.to_string()).bind(to_int(self.attempt));
        tx.execute_aside(forget).await.map(drop)
    }
}

/// Ends a relayed task as its agent says.
#[derive(Debug, Clone)]
pub struct EndRelay {
    /// The task.
    pub task: TaskId,
    /// The attempt; if it is not the current one any more, nothing happens.
    pub attempt: u64,
    /// A terminal state.
    pub state: TaskState,
    /// The answer.
    pub result: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The stable code of the failure.
    pub code: Option<&'static str>,
    /// Whether a cancel is the agent's word; if not, it may still work.
    pub confirmed: bool,
    /// When.
    pub now: Timestamp,
}

impl Write for EndRelay {
    const NAME: &'static str = "end_relay";
    type Output = ();

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.tasks.push(self.task);
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let Some(record) = tx.task(self.task).await? else { return Ok(()) };
        if !record.held || record.task.attempt != self.attempt {
            return Ok(());
        }
        let end = match self.state {
            TaskState::Canceled if record.cancel_asked_at.is_some() => End::by_cancel(&record, self.confirmed, self.now),
            state => End {
                result: self.result.clone(),
                confirmed: (state == TaskState::Canceled).then_some(self.confirmed),
                ..End::without_result(state, self.error.as_deref(), self.code)
            },
        };
        FinishTask { record: &record, end, now: self.now }.apply(tx).await.map(drop)
    }
}

/// Tells that the agent has begun.
#[derive(Debug, Clone)]
pub struct BeginRelay {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u64,
    /// When.
    pub now: Timestamp,
}

impl Write for BeginRelay {
    const NAME: &'static str = "begin_relay";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let Some(record) = tx.task(self.task).await? else { return Ok(()) };
        if !record.held || record.task.attempt != self.attempt || record.task.started_at.is_some() {
            return Ok(());
        }
        let now = self.now;
        tx.change_attempt(self.task, self.attempt, |attempt| {
            super::attempts::state::STARTED.clone_into(&mut attempt.state);
            attempt.started_at.get_or_insert(now);
        })
        .await?;
        let begun = tx.change_task(self.task, |record| {
            record.task.started_at.get_or_insert(now);
            record.task.updated_at = now;
            record.task.entries += 1;
        });
        let entries = begun.await?.task.entries;
        let worker = record.holder.as_ref().map(ToString::to_string);
        let note = StatusNote { state: "started".to_owned(), worker, ..StatusNote::default() };
        tx.note(self.task, entries, self.attempt, now, EntryKind::Status, &note);
        tx.wake(Wake::Task(self.task));
        Ok(())
    }
}

//! Interactions: permission requests and questions that running tasks put to people.
//!
//! The worker tells of them in its stream: when one is asked, and when it is over. In between one answer is taken here and given to the worker
//! with its pull, again and again until the worker has told what became of it.

use super::row::{Columns as _, to_int, to_json, wrong};
use super::sql::statements;
use super::tasks::TaskRecord;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::{InteractionId, PrincipalId, TaskId, WorkerId};
use muster_protocol::interaction::{Interaction, InteractionState, ReplyInteraction};
use muster_protocol::stream::InteractionNote;
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;
use muster_protocol::worker::InteractionAnswer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// How many answers a pull carries at most; the next one carries the others.
const ANSWERS_A_PULL: i64 = 100;

macro_rules! shown {
    () => {
        "SELECT i.id, i.task_id, i.attempt, i.kind, i.request, i.state, i.reply, i.replied_by, i.created_at, i.deadline, i.closed_at,
            t.title, t.owner, a.worker_id, w.name AS worker_name, w.hostname
            FROM interactions i JOIN tasks t ON t.id = i.task_id
            JOIN attempts a ON a.task_id = i.task_id AND a.attempt = i.attempt LEFT JOIN workers w ON w.id = a.worker_id"
    };
}

statements! {
    OPEN: "INSERT INTO interactions (id, task_id, attempt, kind, request_id, request, state, created_at, deadline)
        VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, $8) ON CONFLICT (id) DO NOTHING";
    CLOSE: "UPDATE interactions SET state = $4, closed_at = $5 WHERE id = $1 AND task_id = $2 AND attempt = $3 AND state IN ('open', 'answered')";
    VOID: "UPDATE interactions SET state = 'void', closed_at = $2 WHERE task_id = $1 AND state IN ('open', 'answered') RETURNING id";
    ANSWER: "UPDATE interactions SET state = 'answered', reply = $2, replied_by = $3 WHERE id = $1 AND state = 'open'";
    PENDING: "SELECT COUNT(*) AS n FROM interactions WHERE task_id = $1 AND state IN ('open', 'answered')";
    ASKED_AT: "UPDATE tasks SET asked_at = $2 WHERE id = $1";
    HOLDER: "SELECT holder FROM tasks WHERE id = $1 AND held = 1";
    ANSWERS: "SELECT i.id, i.task_id, i.attempt, i.reply FROM tasks t JOIN interactions i ON i.task_id = t.id AND i.attempt = t.attempt
        WHERE t.held = 1 AND t.holder = $1 AND i.state = 'answered' ORDER BY i.id LIMIT $2";
    GET: concat!(shown!(), " WHERE i.id = $1");
    OF_TASK: concat!(shown!(), " WHERE i.task_id = $1 ORDER BY i.id");
    LIST_OPEN: concat!(shown!(), " WHERE i.state = 'open' AND ($1 = '' OR t.owner = $1) ORDER BY i.created_at, i.id LIMIT $2");
    LIST: concat!(shown!(), " WHERE ($1 = '' OR t.owner = $1) AND ($3 = '' OR i.state = $3) ORDER BY i.id DESC LIMIT $2");
}

/// What is kept of a request beside its columns.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    title: String,
    directory: Option<String>,
    detail: Value,
}

/// An interaction, and whose task asks.
#[derive(Debug, Clone)]
pub struct InteractionRecord {
    /// The interaction.
    pub interaction: Interaction,
    /// Who submitted the task.
    pub owner: PrincipalId,
}

fn read(row: &AnyRow) -> sqlx::Result<InteractionRecord> {
    let asked: Asked = row.json("request")?;
    let interaction = Interaction {
        id: row.parsed("id")?,
        task_id: row.parsed("task_id")?,
        task_title: row.text("title")?,
        attempt: row.count("attempt")?,
        worker_id: WorkerId(row.text("worker_id")?),
        worker_name: row.maybe_text("worker_name")?,
        hostname: row.maybe_text("hostname")?,
        kind: row.text("kind")?,
        state: row.text("state")?.as_str().into(),
        title: asked.title,
        directory: asked.directory,
        request: asked.detail,
        reply: row.maybe_json("reply")?,
        replied_by: row.maybe_text("replied_by")?.map(PrincipalId),
        created_at: row.time("created_at")?,
        deadline: row.maybe_time("deadline")?,
        closed_at: row.maybe_time("closed_at")?,
    };
    Ok(InteractionRecord { interaction, owner: PrincipalId(row.text("owner")?) })
}

fn read_answer(row: &AnyRow) -> sqlx::Result<InteractionAnswer> {
    Ok(InteractionAnswer {
        interaction_id: row.parsed("id")?,
        task_id: row.parsed("task_id")?,
        attempt: row.count("attempt")?,
        reply: row.maybe_json("reply")?.ok_or_else(|| wrong("reply", "it is answered without an answer".to_owned()))?,
    })
}

impl Store {
    /// An interaction.
    ///
    /// # Errors
    /// Of the database.
    pub async fn interaction(&self, id: InteractionId) -> Result<Option<InteractionRecord>, StoreError> {
        let row = GET.on(self.dialect()).bind(id.to_string()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The interactions of a task, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn interactions_of(&self, task: TaskId) -> Result<Vec<InteractionRecord>, StoreError> {
        let rows = OF_TASK.on(self.dialect()).bind(task.to_string()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// Up to `limit` interactions of everybody's tasks, or of one owner's: the open ones, oldest first; or those in another state or all, newest
    /// first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn interactions(
        &self,
        state: Option<&InteractionState>,
        owner: Option<&PrincipalId>,
        limit: u32,
    ) -> Result<Vec<InteractionRecord>, StoreError> {
        let owner = owner.map(|owner| owner.0.clone()).unwrap_or_default();
        let query = if state == Some(&InteractionState::Open) {
            LIST_OPEN.on(self.dialect()).bind(owner).bind(i64::from(limit))
        } else {
            let state = state.map(|state| state.as_str().to_owned()).unwrap_or_default();
            LIST.on(self.dialect()).bind(owner).bind(i64::from(limit)).bind(state)
        };
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// Whether answers wait for a worker.
    ///
    /// # Errors
    /// Of the database.
    pub async fn has_answers_for(&self, worker: &WorkerId) -> Result<bool, StoreError> {
        let rows = ANSWERS.on(self.dialect()).bind(worker.0.clone()).bind(1_i64).fetch_optional(self.readers()).await?;
        Ok(rows.is_some())
    }
}

/// Takes somebody's answer.
#[derive(Debug, Clone)]
pub struct AnswerInteraction {
    /// Which.
    pub id: InteractionId,
    /// What is answered.
    pub reply: ReplyInteraction,
    /// Who answers.
    pub by: PrincipalId,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone)]
pub enum AnswerOutcome {
    /// There is no such interaction.
    NotFound,
    /// On its way to the worker.
    Taken(Box<Interaction>),
    /// It does not wait for an answer any more.
    TooLate(Box<Interaction>),
}

impl Write for AnswerInteraction {
    const NAME: &'static str = "answer_interaction";
    type Output = AnswerOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<AnswerOutcome> {
        let dialect = tx.dialect();
        let answer = ANSWER.on(dialect).bind(self.id.to_string()).bind(to_json(&self.reply)).bind(self.by.0.clone());
        let taken = tx.execute_aside(answer).await? > 0;
        let Some(row) = tx.optional(GET.on(dialect).bind(self.id.to_string())).await? else { return Ok(AnswerOutcome::NotFound) };
        let interaction = Box::new(read(&row)?.interaction);
        if !taken {
            return Ok(AnswerOutcome::TooLate(interaction));
        }
        let data = json!({ "task_id": interaction.task_id, "title": interaction.title, "reply": self.reply, "by": self.by });
        tx.event(event(kind::INTERACTION_ANSWERED, self.id, self.now, data));
        if let Some(row) = tx.optional(HOLDER.on(dialect).bind(interaction.task_id.to_string())).await?
            && let Some(holder) = row.maybe_text("holder")?
        {
            tx.wake(Wake::Worker(WorkerId(holder)));
        }
        Ok(AnswerOutcome::Taken(interaction))
    }
}

impl Tx<'_> {
    /// Takes in what a worker's stream tells of an interaction, under its current attempt.
    pub(in crate::store) async fn follow_interaction(
        &mut self,
        task: TaskId,
        attempt: u64,
        note: &InteractionNote,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        let Some(id) = note.id else { return Ok(()) };
        let state = InteractionState::from(note.outcome.as_str());
        let (dialect, task_id, number) = (self.dialect(), task.to_string(), to_int(attempt));
        let changed = match state {
            InteractionState::Open => {
                let asked = Asked { title: note.title.clone(), directory: note.directory.clone(), detail: note.detail.clone() };
                let open = OPEN.on(dialect).bind(id.to_string()).bind(task_id.clone()).bind(number);
                let open = open.bind(without_nul(&note.kind)).bind(without_nul(&note.request)).bind(to_json(&asked));
                self.execute_aside(open.bind(now.0).bind(note.deadline.map(|at| at.0))).await? > 0
            }
            InteractionState::Applied | InteractionState::Expired | InteractionState::Void => {
                let close = CLOSE.on(dialect).bind(id.to_string()).bind(task_id.clone()).bind(number);
                self.execute_aside(close.bind(state.as_str()).bind(now.0)).await? > 0
            }
            InteractionState::Answered | InteractionState::Other(_) => false,
        };
        if !changed {
            return Ok(());
        }
        let pending = PENDING.on(dialect).bind(task_id.clone());
        let waits = self.optional(pending).await?.map(|row| row.int("n")).transpose()?.is_some_and(|n| n > 0);
        let shown = if waits { TaskState::InputRequired } else { TaskState::Working };
        self.change_task(task, |record| {
            if record.held && matches!(record.task.state, TaskState::Working | TaskState::InputRequired) {
                record.task.state = shown;
                record.task.updated_at = now;
            }
        })
        .await?;
        self.execute(ASKED_AT.on(dialect).bind(task.to_string()).bind(now.0)).await?;
        let opened = state == InteractionState::Open;
        let kind = if opened { kind::INTERACTION_OPENED } else { kind::INTERACTION_CLOSED };
        let data = json!({ "task_id": task, "attempt": attempt, "kind": note.kind, "title": note.title, "state": state, "reason": note.reason,
            "directory": note.directory, "deadline": note.deadline });
        self.event(event(kind, id, now, data));
        Ok(())
    }

    /// The end of an attempt: nobody waits for its answers any more.
    pub(in crate::store) async fn void_interactions(&mut self, record: &TaskRecord, now: Timestamp) -> sqlx::Result<()> {
        if record.task.state != TaskState::InputRequired {
            return Ok(());
        }
        let rows = self.all(VOID.on(self.dialect()).bind(record.task.id.to_string()).bind(now.0)).await?;
        for row in &rows {
            let data = json!({ "task_id": record.task.id, "attempt": record.task.attempt, "state": InteractionState::Void });
            self.event(event(kind::INTERACTION_CLOSED, row.parsed("id")?, now, data));
        }
        Ok(())
    }

    /// The answers that a worker has not applied yet.
    pub(in crate::store) async fn answers_for(&mut self, worker: &WorkerId) -> sqlx::Result<Vec<InteractionAnswer>> {
        let rows = self.all(ANSWERS.on(self.dialect()).bind(worker.0.clone()).bind(ANSWERS_A_PULL)).await?;
        rows.iter().map(read_answer).collect()
    }
}

fn event(kind: &'static str, id: InteractionId, at: Timestamp, data: Value) -> NewEvent {
    NewEvent { kind, subject: format!("interactions/{id}"), at, data }
}

/// PostgreSQL's TEXT refuses NUL, and nobody can help what a model wrote.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

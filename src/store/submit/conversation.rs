//! Which conversation a task is a turn of. A session belongs to one conversation, which runs one task at a time; so the conversation of a session
//! is found, or begun, in the transaction of the submit.

use super::{NewTask, RUNNING_TURN, Submitted};
use crate::store::Tx;
use crate::store::contexts::Context;
use crate::store::row::Columns as _;
use muster_protocol::ids::{ContextId, SessionId, TaskId, WorkerId};
use muster_protocol::time::Timestamp;

/// What is to be done to the conversation once nothing speaks against the task any more.
pub(super) enum Conversation {
    /// It is as it should be.
    Known,
    /// It is new.
    Begin,
    /// It is there, and from now on has the task's session in the task's codebase.
    Bind(WorkerId, SessionId),
}

/// Finds the conversation of a task and moves the task to where it runs; or refuses.
pub(super) async fn find(tx: &mut Tx<'_>, task: &mut NewTask) -> sqlx::Result<Result<Conversation, Submitted>> {
    // A conversation that is named after the task cannot be there yet.
    let named = if is_named(task) { tx.context(&task.context_id).await? } else { None };
    if named.as_ref().is_some_and(|context| is_foreign(task, context)) {
        return Ok(Err(Submitted::ForeignContext));
    }
    // A session is one only together with the worker that has it.
    let (Some(worker), Some(session)) = (task.worker.clone(), task.session_id.clone()) else { return Ok(turn_of(task, named)) };
    let owner = tx.context_of_session(&worker, &session).await?;
    match (named, owner) {
        (_, Some(owner)) if is_foreign(task, &owner) => Ok(Err(Submitted::SessionTaken { by: None })),
        // One that was begun by hand is its machine's: not for callers who see only what is theirs.
        (_, None) if task.own_only => Ok(Err(Submitted::SessionTaken { by: None })),
        (Some(_), _) if task.fork => Ok(Err(Submitted::ForkIntoContext)),
        (None, _) if task.fork => Ok(Ok(Conversation::Begin)),
        (Some(named), Some(owner)) if named.id != owner.id => Ok(Err(Submitted::SessionTaken { by: Some(owner.id) })),
        (None, Some(owner)) if is_named(task) => Ok(Err(Submitted::SessionTaken { by: Some(owner.id) })),
        (_, Some(owner)) => next_in_session(tx, task, owner, worker, session).await,
        (Some(named), None) if named.session_id.is_none() && named.fork_of.is_none() => match running_turn(tx, &named.id).await? {
            Some(running) => Ok(Err(Submitted::BeginsSession(running))),
            None => Ok(turn_of(task, Some(named)).map(|_| Conversation::Bind(worker, session))),
        },
        (Some(named), None) => Ok(Err(Submitted::OtherSession(Box::new(named)))),
        (None, None) => Ok(turn_of(task, None)),
    }
}

/// The turn of a conversation that a worker has.
async fn running_turn(tx: &mut Tx<'_>, context: &ContextId) -> sqlx::Result<Option<TaskId>> {
    let row = tx.optional(RUNNING_TURN.on(tx.dialect()).bind(context.0.clone())).await?;
    row.map(|row| row.parsed("id")).transpose()
}

/// A turn of the conversation whose session is continued. The conversation follows its session to another codebase.
async fn next_in_session(
    tx: &mut Tx<'_>,
    task: &mut NewTask,
    mut context: Context,
    worker: WorkerId,
    session: SessionId,
) -> sqlx::Result<Result<Conversation, Submitted>> {
    let told = tx.codebase_of_session(&worker, &session).await?;
    if task.target.codebase.is_none() && task.codebase != told {
        // Nobody asked for the codebase that the task was given.
        task.codebase = None;
    }
    let is_gone = match &context.codebase_id {
        Some(codebase) => tx.codebase(codebase).await?.is_none(),
        None => false,
    };
    let moves = task.codebase.is_some() && task.codebase != context.codebase_id && (task.codebase == told || is_gone);
    if moves {
        context.codebase_id.clone_from(&task.codebase);
    }
    task.context_id = context.id.clone();
    let turn = turn_of(task, Some(context));
    Ok(turn.map(|known| if moves { Conversation::Bind(worker, session) } else { known }))
}

/// Whether the caller named the conversation: one that it did not name is named after the task.
fn is_named(task: &NewTask) -> bool {
    task.context_id.0 != task.id.to_string()
}

fn is_foreign(task: &NewTask, context: &Context) -> bool {
    task.own_only && context.owner != task.owner
}

fn turn_of(task: &mut NewTask, context: Option<Context>) -> Result<Conversation, Submitted> {
    match context {
        None => Ok(Conversation::Begin),
        Some(context) if continues(task, &context) => Ok(Conversation::Known),
        Some(context) => Err(Submitted::OtherPlace(Box::new(context))),
    }
}

/// Moves a task to where its conversation runs; false if it asked for another place.
fn continues(task: &mut NewTask, context: &Context) -> bool {
    if let Some(worker) = &context.worker_id {
        if task.worker.as_ref().is_some_and(|asked| asked != worker) {
            return false;
        }
        task.worker = Some(worker.clone());
    }
    if let Some(codebase) = &context.codebase_id {
        if task.codebase.as_ref().is_some_and(|asked| asked != codebase) {
            return false;
        }
        task.codebase = Some(codebase.clone());
    }
    true
}

impl Conversation {
    /// Does it.
    pub(super) async fn enter(self, tx: &mut Tx<'_>, task: &NewTask, now: Timestamp) -> sqlx::Result<()> {
        tx.turn_waits(&task.context_id);
        match self {
            Self::Known => Ok(()),
            Self::Begin => {
                begin(tx, task, now);
                Ok(())
            }
            Self::Bind(worker, session) => match &task.codebase {
                Some(codebase) => tx.bind_context(&task.context_id, &worker, codebase, &session, now).await,
                None => Ok(()),
            },
        }
    }
}

fn begin(tx: &mut Tx<'_>, task: &NewTask, now: Timestamp) {
    let (session_id, fork_of) = if task.fork { (None, task.session_id.clone()) } else { (task.session_id.clone(), None) };
    let context = Context {
        id: task.context_id.clone(),
        owner: task.owner.clone(),
        // Where nobody was asked for, it is bound once a worker has begun its first session.
        worker_id: task.worker.clone(),
        codebase_id: task.codebase.clone(),
        session_id,
        fork_of,
    };
    tx.insert_context(&context, now);
}

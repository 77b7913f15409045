//! The one writer: it commits many writes in one transaction, so that the price of a durable commit is shared.
//!
//! - A write that refuses answers a value and leaves the batch alone.
//! - A statement error rolls the batch back; its writes are then applied one by one, so that only the faulty one fails.
//! - A full disk fails the batch with a retryable refusal. A failed fsync fails the store for good: what the disk holds is unknown,
//!   and only a restart reads it again.
//! - A connection lost while PostgreSQL commits leaves the outcome unknown; the batch's id is looked up before it is tried again.

mod connection;
mod fault;

use super::{ReadAhead, Store, StoreError, Tx, Write};
use crate::clock::{Clock, Ids};
use crate::events::Hub;
use crate::telemetry::metric;
pub(in crate::store) use connection::{ALL, WriterConnection};
use fault::Fault;
use futures_util::future::BoxFuture;
use muster_protocol::ids::EventId;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// How many writes share a transaction at most.
const BATCH: usize = 256;
/// How often a batch is tried again after a conflict or a lost connection.
const TRIES: u32 = 5;

/// The handle of the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Box<dyn Queued>>,
    state: watch::Receiver<State>,
    stop: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Failed(String),
}

impl Writer {
    pub(in crate::store) fn start(
        conn: WriterConnection,
        hub: Arc<Hub>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        queue: usize,
    ) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(queue);
        let (state, states) = watch::channel(State::Open);
        let (stop, stopped) = watch::channel(false);
        let task = WriterTask { conn, hub, clock, ids, waiting, state, stopped };
        // The writer lives as long as its handles and is joined by `close`: it is the one task that outlives the tracker, because whatever the
        // tracked tasks still write must be committed. It has a thread to itself: each statement is handed to the database and back, and among
        // the tasks of many requests it would wait for its turn after each.
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || runtime.block_on(task.run()))?;
        Ok(Self { queue, state: states, stop: Arc::new(stop) })
    }

    pub(super) async fn write<W: Write>(&self, write: W) -> Result<W::Output, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queued = Box::new(Waiting { write, output: None, reply, since: Instant::now() });
        self.queue.try_send(queued).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                metrics::counter!(metric::STORE_REFUSALS).increment(1);
                StoreError::Overloaded
            }
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) async fn failed(&self) -> String {
        let mut state = self.state.clone();
        // An error means that the writer is gone; it says so before it ends, unless it panicked.
        let gone = state.wait_for(|state| matches!(state, State::Failed(_))).await.is_err();
        let last = state.borrow().clone();
        match last {
            State::Failed(reason) => reason,
            State::Open if gone => "the task that writes has ended".to_owned(),
            _ => std::future::pending().await,
        }
    }

    pub(super) async fn close(&self) {
        self.stop.send_replace(true);
        let mut state = self.state.clone();
        // An error means that the writer is gone, which is what is waited for.
        let _ = state.wait_for(|state| *state != State::Open).await;
    }
}

/// A write of any type in the queue.
trait Queued: Send {
    fn name(&self) -> &'static str;
    fn is_after_others(&self) -> bool;
    fn reads(&self, ahead: &mut ReadAhead);
    fn apply<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, sqlx::Result<()>>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Waiting<W: Write> {
    write: W,
    output: Option<W::Output>,
    reply: oneshot::Sender<Result<W::Output, StoreError>>,
    since: Instant,
}

impl<W: Write> Queued for Waiting<W> {
    fn name(&self) -> &'static str {
        W::NAME
    }

    fn is_after_others(&self) -> bool {
        W::AFTER_OTHERS
    }

    fn reads(&self, ahead: &mut ReadAhead) {
        self.write.reads(ahead);
    }

    fn apply<'a>(&'a mut self, tx: &'a mut Tx<'_>) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async move {
            self.output = Some(self.write.apply(tx).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        metrics::histogram!(metric::STORE_WRITE_SECONDS, "write" => W::NAME).record(self.since.elapsed().as_secs_f64());
        let Self { output, reply, .. } = *self;
        // Who asked may have gone; the write stands all the same.
        let _ = reply.send(outcome.and_then(|()| output.ok_or(StoreError::Closed)));
    }
}

struct WriterTask {
    conn: WriterConnection,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    waiting: mpsc::Receiver<Box<dyn Queued>>,
    state: watch::Sender<State>,
    stopped: watch::Receiver<bool>,
}

impl WriterTask {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            if let Err(reason) = self.commit(batch).await {
                tracing::error!(reason, "the database failed; all writes are refused from now on");
                self.state.send_replace(State::Failed(reason));
                self.refuse_all().await;
                return;
            }
        }
        self.conn.close().await;
        self.state.send_replace(State::Closed);
    }

    /// Waits for a write and takes what else is there; `None` when the store is closed and nothing is left.
    async fn next_batch(&mut self) -> Option<Vec<Box<dyn Queued>>> {
        let mut batch = Vec::new();
        let stopped = async { self.stopped.wait_for(|stopped| *stopped).await.map(drop) };
        let taken = tokio::select! {
            biased;
            taken = self.waiting.recv_many(&mut batch, BATCH) => taken,
            _ = stopped => {
                self.waiting.close();
                self.waiting.recv_many(&mut batch, BATCH).await
            }
        };
        batch.sort_by_key(|queued| queued.is_after_others());
        (taken > 0).then_some(batch)
    }

    async fn refuse_all(&mut self) {
        self.waiting.close();
        while let Some(queued) = self.waiting.recv().await {
            queued.answer(Err(StoreError::Closed));
        }
    }

    /// Commits a batch and answers its writes. An error is for good.
    async fn commit(&mut self, mut batch: Vec<Box<dyn Queued>>) -> Result<(), String> {
        metrics::histogram!(metric::STORE_BATCH_WRITES).record(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        metrics::gauge!(metric::STORE_QUEUE).set(f64::from(u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)));
        let outcome = self.try_commit(&mut batch).await;
        metrics::counter!(metric::STORE_BATCHES, "outcome" => if outcome.is_ok() { "committed" } else { "failed" }).increment(1);
        match outcome {
            Ok(()) => answer_all(batch, || Ok(())),
            Err(Fault::Fatal(reason)) => {
                answer_all(batch, || Err(StoreError::Closed));
                return Err(reason);
            }
            Err(Fault::Unknown(reason)) => {
                let error = format!("the connection was lost while committing, and whether the change is stored is not known: {reason}");
                tracing::error!(error, "the fate of a batch of writes is unknown");
                self.hub.wake_all();
                answer_all(batch, || Err(StoreError::Database(sqlx::Error::Io(std::io::Error::other(error.clone())))));
            }
            Err(Fault::Unavailable(reason)) => {
                tracing::warn!(reason, "the database cannot write now");
                self.conn.distrust();
                answer_all(batch, || Err(StoreError::Unavailable(reason.clone())));
            }
            Err(Fault::Statement(error)) if batch.len() == 1 => answer_faulty(batch, error),
            Err(Fault::Statement(_)) => {
                for single in batch {
                    Box::pin(self.commit(vec![single])).await?;
                }
            }
        }
        Ok(())
    }

    /// Tries a batch until it is committed, again after conflicts and lost connections.
    async fn try_commit(&mut self, batch: &mut [Box<dyn Queued>]) -> Result<(), Fault> {
        let now = self.clock.now();
        let batch_id = self.ids.uuid(now).to_string();
        let ids = Arc::clone(&self.ids);
        let mut new_id = move |at| EventId(ids.uuid(at));
        let mut tries = 0;
        self.conn.be_connected().await?;
        loop {
            tries += 1;
            let failed = match self.conn.transact(batch, &batch_id, now, &mut new_id).await {
                Ok((head, wakes)) => {
                    self.hub.committed(head, &wakes);
                    return Ok(());
                }
                Err(failed) => failed,
            };
            if failed.connection_lost() {
                if self.reconnect(&batch_id, failed.at_commit).await? {
                    // Whom to wake went with the connection: everybody waiting looks again.
                    self.hub.wake_all();
                    return Ok(());
                }
            } else if !failed.is_conflict() {
                return Err(failed.into_fault());
            }
            if tries >= TRIES {
                return Err(failed.into_fault());
            }
            tracing::warn!(error = %failed.error, tries, "a batch of writes is tried again");
        }
    }

    /// Connects again and finds out whether the batch is stored, if the connection was lost while committing it.
    async fn reconnect(&mut self, batch_id: &str, while_committing: bool) -> Result<bool, Fault> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.conn.reconnect().await {
                Err(Fault::Unavailable(reason)) if while_committing => return Err(Fault::Unknown(reason)),
                outcome => outcome?,
            }
            if !while_committing {
                return Ok(false);
            }
            match self.conn.has_committed(batch_id).await {
                Ok(stored) => return Ok(stored),
                Err(error) => last = error.to_string(),
            }
        }
        Err(Fault::Unknown(last))
    }
}

fn answer_all(batch: Vec<Box<dyn Queued>>, outcome: impl Fn() -> Result<(), StoreError>) {
    for queued in batch {
        queued.answer(outcome());
    }
}

fn answer_faulty(batch: Vec<Box<dyn Queued>>, error: sqlx::Error) {
    if let Some(queued) = batch.into_iter().next() {
        tracing::error!(write = queued.name(), error = %error, "a write failed");
        queued.answer(Err(StoreError::Database(error)));
    }
}

impl Store {
    /// How many writes wait.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        self.writer.queue.max_capacity() - self.writer.queue.capacity()
    }
}

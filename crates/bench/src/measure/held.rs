//! From the submit of a task to the moment in which a waiting worker has it. Tasks come at a fixed rate, whatever the server does.

use super::{Bench, raw_of};
use crate::database::Kind;
use crate::raw::rows::{CREATE, Copier};
use crate::results::Run;
use crate::server::Server;
use crate::stats::Latencies;
use crate::worker::{Worker, id_in, submit};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

const WORKERS: usize = 8;
const EVERY: Duration = Duration::from_millis(10);

/// When each task was to be sent, and when somebody had it. The one may be known before the other.
#[derive(Default)]
pub(super) struct Book {
    sent: HashMap<Uuid, Instant>,
    held: HashMap<Uuid, Instant>,
    latencies: Latencies,
}

impl Book {
    /// Somebody has a task.
    pub(super) fn is_there(&mut self, task: Uuid, now: Instant) {
        match self.sent.remove(&task) {
            Some(due) => self.latencies.add(now - due),
            None => drop(self.held.insert(task, now)),
        }
    }

    /// What it came to; each that is missing is a failure.
    pub(super) fn done(mut self, missing: &'static str) -> Latencies {
        for _ in &self.sent {
            self.latencies.fail(&anyhow::anyhow!(missing));
        }
        self.latencies
    }
}

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let book = Arc::new(Mutex::new(Book::default()));
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let worker = Worker::register(&server, &format!("worker-{number}"), 1).await?;
        workers.push(tokio::spawn(wait_for_work(worker, server.connect().await?, Arc::clone(&book))));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // What was not compiled, cached or allocated yet does not count.
    submit_for(&server, &book, bench.sampling / 5, EVERY).await?;
    all_there(&book).await;
    *lock(&book) = Book::default();
    submit_for(&server, &book, bench.sampling, EVERY).await?;
    all_there(&book).await;
    for worker in workers {
        if worker.is_finished() {
            worker.await??;
        } else {
            worker.abort();
        }
    }
    let latencies = std::mem::take(&mut *lock(&book)).done("a task was not held half a minute after the last one");
    run.put("held.p50", kind.as_str(), latencies.percentile(0.5));
    run.put("held.p99", kind.as_str(), latencies.percentile(0.99));
    let database = server.stop()?;
    let commits = Copier::new(&database, &CREATE).await?.single_commits(500).await?;
    let trips = bench.bare.round_trips(1_000).await?;
    for (row, part) in [("held.p50", 0.5), ("held.p99", 0.99)] {
        run.put(row, &raw_of(kind, "one commit (two are needed)"), commits.percentile(part));
        run.put(row, "bare axum round trip", trips.percentile(part));
    }
    Ok(())
}

/// Waits until everything that was sent is there: on a busy machine that takes its time, and counts as such.
pub(super) async fn all_there(book: &Mutex<Book>) {
    for _ in 0..3_000 {
        if lock(book).sent.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Submits a task `every` so often, each at its time even if the one before it is not answered yet.
pub(super) async fn submit_for(server: &Server, book: &Arc<Mutex<Book>>, how_long: Duration, every: Duration) -> Result<()> {
    let request = Arc::new(submit(server.address, &json!({ "any": true })));
    let mut idle = vec![server.connect().await?];
    let (back, mut free) = tokio::sync::mpsc::unbounded_channel();
    let (begun, mut at) = (Instant::now(), Duration::ZERO);
    while at < how_long {
        tokio::time::sleep_until((begun + at).into()).await;
        let due = begun + at;
        at += every;
        while let Ok(connection) = free.try_recv() {
            idle.push(connection);
        }
        let mut connection = match idle.pop() {
            Some(connection) => connection,
            None => server.connect().await?,
        };
        let (request, book, back) = (Arc::clone(&request), Arc::clone(book), back.clone());
        tokio::spawn(async move {
            let created = async { id_in(connection.ask(&request).await?.text().context("creating")?) }.await;
            let mut book = lock(&book);
            match created {
                Ok(task) => match book.held.remove(&task) {
                    Some(held) => book.latencies.add(held - due),
                    None => drop(book.sent.insert(task, due)),
                },
                Err(error) => book.latencies.fail(&error),
            }
            drop(book);
            // Nobody takes it after the last one.
            let _ = back.send(connection);
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

async fn wait_for_work(mut worker: Worker, mut connection: crate::http::Connection, book: Arc<Mutex<Book>>) -> Result<()> {
    loop {
        let task = worker.take(&mut connection).await?;
        let now = Instant::now();
        lock(&book).is_there(task, now);
        connection.ask(&worker.complete(task, None)).await?.text().context("finishing")?;
    }
}

pub(super) fn lock(book: &Mutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

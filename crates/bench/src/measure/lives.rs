//! Whole lives of tasks: each client is a caller and a worker of its own.

use super::{Bench, raw_of};
use crate::database::Kind;
use crate::http::Connection;
use crate::load::{CLIENTS, Client, rounds};
use crate::process::Meter;
use crate::raw::rows::{Copier, Table};
use crate::results::Run;
use crate::server::Server;
use crate::worker::{Entries, Worker, id_in, submit};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

/// Entries of a life, as a model's answer comes.
const ENTRIES: u64 = 10;
const TEXT: &str = "The parser took the last comma for the end of the list; ";

/// What a life leaves behind, for the raw limit.
const ROWS: [Table; 4] = [
    Table { name: "contexts", keys: &["id"] },
    Table { name: "tasks", keys: &["id", "context_id"] },
    Table { name: "attempts", keys: &["task_id"] },
    Table { name: "events", keys: &["seq", "id", "origin_seq"] },
];

struct Life {
    connection: Connection,
    worker: Worker,
    submit: Vec<u8>,
    entries: Entries,
}

impl Life {
    async fn new(server: &Server, number: usize) -> Result<Self> {
        let worker = Worker::register(server, &format!("worker-{number}"), 1).await?;
        let submit = submit(server.address, &json!({ "codebase": worker.home }));
        Ok(Self { connection: server.connect().await?, worker, submit, entries: Entries::new(0, ENTRIES, TEXT)? })
    }
}

impl Client for Life {
    async fn step(&mut self) -> Result<()> {
        let task = id_in(self.connection.ask(&self.submit).await?.text().context("creating")?)?;
        let taken = self.worker.take(&mut self.connection).await?;
        ensure!(taken == task, "the worker got {taken} instead of {task}");
        self.connection.ask(&self.worker.append(task, &self.entries)).await?.text().context("appending")?;
        let ended = self.connection.ask(&self.worker.complete(task, Some(&self.entries))).await?;
        ensure!(ended.text().context("finishing")?.contains(r#""verified":true"#), "the output is not what was sent");
        Ok(())
    }
}

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let mut lives = Vec::new();
    for number in 0..CLIENTS {
        lives.push(Life::new(&server, number).await?);
    }
    let rate = rounds(lives, bench.plan, &[server.meter(), Meter::own()]).await?;
    run.put("lives.rate", kind.as_str(), rate);
    let database = server.stop()?;
    // A task, its conversation and attempt, three events and thirteen entries a life.
    let events = std::iter::repeat_n(Table { name: "events", keys: &["seq", "id", "origin_seq"] }, 2);
    let entries = std::iter::repeat_n(Table { name: "stream_entries", keys: &["task_id"] }, 12);
    let rows: Vec<_> = ROWS.into_iter().chain(events).chain(entries).collect();
    let mut copier = Copier::new(&database, &rows).await?;
    run.put("lives.rate", &raw_of(kind, "the rows of a life, 64 lives a commit"), copier.rates(bench.plan).await?);
    if kind == Kind::Sqlite {
        let mut bare = bench.bare.requests(bench.plan, r#"{"prompt":"hello"}"#).await?;
        for value in [Some(&mut bare.value), bare.low.as_mut(), bare.high.as_mut()].into_iter().flatten() {
            *value /= 4.0;
        }
        run.put("lives.rate", "bare axum, four requests", bare);
    }
    Ok(())
}

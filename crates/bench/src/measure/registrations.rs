//! Workers register, each with ten models: new ones, and the same ones again.

use super::{Bench, raw_of};
use crate::database::Kind;
use crate::http::{Connection, request};
use crate::load::{CLIENTS, Client, rounds};
use crate::process::Meter;
use crate::raw::rows::{self, Copier};
use crate::results::Run;
use crate::server::Server;
use crate::worker::registration;
use anyhow::{Context as _, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

/// How many models each worker has.
pub(super) const MODELS: usize = 10;

/// Registers the next worker of a count.
pub(super) struct Newcomers {
    connection: Connection,
    next: Arc<AtomicUsize>,
}

impl Newcomers {
    /// As many as there are clients, which count together.
    pub(super) async fn all(server: &Server) -> Result<Vec<Self>> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut all = Vec::new();
        for _ in 0..CLIENTS {
            all.push(Self { connection: server.connect().await?, next: Arc::clone(&next) });
        }
        Ok(all)
    }

    /// Registers one, and answers its number.
    pub(super) async fn register(&mut self, server: std::net::SocketAddr) -> Result<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let body = registration(&format!("worker-{number}"), Uuid::new_v4(), number, MODELS, 1).to_string();
        self.connection.ask(&request("POST", server, "/v1/opencode/workers/register", &body)).await?.text().context("registering")?;
        Ok(number)
    }
}

/// A newcomer whose bodies are prepared but for the id, which is cheap to put in.
struct Registering {
    newcomer: Newcomers,
    before: String,
    after: String,
    address: std::net::SocketAddr,
    /// The same id each time.
    same: bool,
    id: String,
}

impl Registering {
    fn new(newcomer: Newcomers, number: usize, server: &Server, same: bool) -> Result<Self> {
        let body = registration("WORKER-ID", Uuid::new_v4(), number, MODELS, 1).to_string();
        let (before, after) = body.split_once(r#""worker_id":"WORKER-ID""#).context("a registration without an id")?;
        let (before, after) = (before.to_owned(), after.to_owned());
        Ok(Self { newcomer, before, after, address: server.address, same, id: format!("same-{number}") })
    }
}

impl Client for Registering {
    async fn step(&mut self) -> Result<()> {
        if !self.same {
            self.id = format!("new-{}", self.newcomer.next.fetch_add(1, Ordering::Relaxed));
        }
        let body = format!(r#"{}"worker_id":"{}"{}"#, self.before, self.id, self.after);
        let request = request("POST", self.address, "/v1/opencode/workers/register", &body);
        self.newcomer.connection.ask(&request).await?.text().context("registering").map(drop)
    }
}

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let who = [server.meter(), Meter::own()];
    for (row, same) in [("registrations.new", false), ("registrations.same", true)] {
        let clients = Newcomers::all(&server).await?.into_iter().enumerate();
        let clients = clients.map(|(number, newcomer)| Registering::new(newcomer, number, &server, same)).collect::<Result<Vec<_>>>()?;
        run.put(row, kind.as_str(), rounds(clients, bench.plan, &who).await?);
    }
    let database = server.stop()?;
    let mut copier = Copier::new(&database, &rows::registration()).await?;
    run.put("registrations.new", &raw_of(kind, "the same rows, 64 a commit"), copier.rates(bench.plan).await?);
    if kind == Kind::Sqlite {
        let body = registration("worker", Uuid::new_v4(), 0, MODELS, 1).to_string();
        run.put("registrations.new", "bare axum, the same bodies", bench.bare.requests(bench.plan, &body).await?);
    }
    Ok(())
}

//! Tasks are submitted by many clients at once; each answer comes after the commit.

use super::{Bench, raw_of};
use crate::database::Kind;
use crate::http::Connection;
use crate::load::{CLIENTS, Client, rounds};
use crate::process::Meter;
use crate::raw::rows::{CREATE, Copier};
use crate::results::Run;
use crate::server::Server;
use crate::worker::{id_in, submit};
use anyhow::{Context as _, Result};
use serde_json::json;

/// Submits tasks that any worker may take.
pub(super) struct Creator {
    connection: Connection,
    request: Vec<u8>,
}

impl Creator {
    /// As many as there are clients.
    pub(super) async fn all(server: &Server) -> Result<Vec<Self>> {
        let request = submit(server.address, &json!({ "any": true }));
        let mut all = Vec::new();
        for _ in 0..CLIENTS {
            all.push(Self { connection: server.connect().await?, request: request.clone() });
        }
        Ok(all)
    }
}

impl Client for Creator {
    async fn step(&mut self) -> Result<()> {
        let answer = self.connection.ask(&self.request).await?;
        id_in(answer.text().context("creating")?).map(drop)
    }
}

pub(super) async fn run(bench: &Bench, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let rate = rounds(Creator::all(&server).await?, bench.plan, &[server.meter(), Meter::own()]).await?;
    run.put("creates.rate", kind.as_str(), rate);
    let database = server.stop()?;
    let mut copier = Copier::new(&database, &CREATE).await?;
    run.put("creates.rate", &raw_of(kind, "the same rows, 64 a commit"), copier.rates(bench.plan).await?);
    Ok(())
}

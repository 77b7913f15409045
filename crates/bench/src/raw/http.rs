//! A bare axum handler in a process of its own: it reads the body and answers as much as a task has, and does nothing else.

use crate::http::{Connection, request};
use crate::load::{CLIENTS, Client, Plan, rounds};
use crate::process::{Meter, Process};
use crate::stats::{Latencies, Reading};
use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// As long as a task is shown.
const ANSWER: usize = 900;

/// Serves until the process is ended: what the subcommand `bare` does.
///
/// # Errors
/// If the address cannot be listened on.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let answer = Bytes::from("x".repeat(ANSWER));
    let handler = move |body: Bytes| async move {
        drop(body);
        ([(CONTENT_TYPE, "application/json")], answer)
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, Router::new().route("/", post(handler))).await?;
    Ok(())
}

/// A running bare server.
pub(crate) struct Bare {
    process: Process,
    address: SocketAddr,
}

impl Bare {
    /// Starts one.
    ///
    /// # Errors
    /// If it does not answer within 10 s.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", &address.to_string()]);
        let process = Process::start(command, &dir.join("bare.log"))?;
        let begun = Instant::now();
        while Connection::open(address).await.is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(10), "the bare server does not start");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Self { process, address })
    }

    /// Requests a second by all clients, with bodies as long as `body`.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn requests(&self, plan: Plan, body: &str) -> Result<Reading> {
        let request = request("POST", self.address, "/", body);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Caller { connection: Connection::open(self.address).await?, request: request.clone() });
        }
        rounds(clients, plan, &[self.process.meter("server"), Meter::own()]).await
    }

    /// How long one request after the other takes.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn round_trips(&self, times: u32) -> Result<Latencies> {
        let mut caller = Caller { connection: Connection::open(self.address).await?, request: request("POST", self.address, "/", "{}") };
        let mut latencies = Latencies::default();
        for _ in 0..times {
            let begun = Instant::now();
            caller.step().await.context("the bare server")?;
            latencies.add(begun.elapsed());
        }
        Ok(latencies)
    }
}

struct Caller {
    connection: Connection,
    request: Vec<u8>,
}

impl Client for Caller {
    async fn step(&mut self) -> Result<()> {
        self.connection.ask(&self.request).await?.text().map(drop)
    }
}

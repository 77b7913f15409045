//! Commands that go on for ever end when nobody reads them any more.

use crate::support::{Cx, Server, cases, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::task::SubmitTask;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

cases! {
    [] =>
        following_the_events_ends_when_its_reader_is_gone,
        following_a_task_that_waits_ends_when_its_reader_is_gone;
}

const LIMIT: Duration = Duration::from_secs(20);

fn follow(server: &Server, args: &[&str]) -> Result<Child> {
    Ok(server.muster(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
}

async fn ensure_ends(mut child: Child) -> Result<()> {
    let status = wait_for("the command to end", LIMIT, async || Ok(child.try_wait()?)).await;
    if status.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let code = status?.code();
    ensure!(code == Some(141), "it ended with {code:?}");
    Ok(())
}

async fn following_the_events_ends_when_its_reader_is_gone(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let mut child = follow(&server, &["events", "--follow"])?;
    let out = child.stdout.take().context("there is no output")?;
    let first = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        // Dropped with its end: as `head -1`.
        BufReader::new(out).read_line(&mut line).map(|_| line)
    });
    let first = first.await??;
    ensure!(first.contains("server.started"), "the first event is {first:?}");
    ensure_ends(child).await
}

async fn following_a_task_that_waits_ends_when_its_reader_is_gone(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let task = server.client().submit(&SubmitTask { prompt: "nobody does it".to_owned(), ..SubmitTask::default() }, None).await?;
    let mut child = follow(&server, &["task", &task.id.to_string(), "--follow"])?;
    drop(child.stdout.take());
    ensure_ends(child).await
}

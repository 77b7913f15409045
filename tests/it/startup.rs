//! What is wrong at the start of a server or a worker is told in one line that says what to do.

use crate::support::{Cx, Postgres, Process, Server, Worker, cases, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::codebase::CodebaseStatus;
use std::fs;
use std::time::Duration;

cases! {
    [] =>
        a_port_in_use_is_told,
        an_unwritable_data_directory_is_told,
        a_data_directory_in_use_is_told_with_its_holder,
        a_database_url_of_an_unknown_kind_is_told,
        a_database_that_cannot_be_reached_is_told_without_its_password,
        a_server_ends_well_on_sigterm,
        a_worker_waits_for_its_server,
        a_missing_codebase_is_told_and_comes_when_it_is_there;
    [Postgres] => a_database_in_use_by_another_server_is_told;
}

const LIMIT: Duration = Duration::from_secs(30);

/// It must end without success, without a panic, and say all of `words` in at most a few lines.
async fn ensure_refused(mut process: Process, words: &[&str]) -> Result<()> {
    let status = process.wait(LIMIT).await?;
    let log = process.log();
    ensure!(!status.success() && status.code().is_some_and(|code| code != 101), "it ended with {status}: {log}");
    for word in words {
        ensure!(log.contains(word), "it does not say {word:?}: {log}");
    }
    ensure!(!log.contains("panicked") && !log.contains("RUST_BACKTRACE"), "it panicked: {log}");
    Ok(())
}

async fn a_port_in_use_is_told(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "second")?;
    let _first = std::net::TcpListener::bind(("127.0.0.1", server.port()))?;
    ensure_refused(server.spawn()?, &[&server.port().to_string(), "in use"]).await
}

async fn an_unwritable_data_directory_is_told(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?;
    // A file where the directory should be: that stops root too.
    fs::write(server.data_dir(), "")?;
    ensure_refused(server.spawn()?, &["server-data"]).await
}

async fn a_data_directory_in_use_is_told_with_its_holder(cx: &Cx) -> Result<()> {
    let first = Server::new(cx.dir(), "first")?.launch().await?;
    let second = Server::new(cx.dir(), "second")?.with_data_dir(first.data_dir().to_owned());
    ensure_refused(second.spawn()?, &["first-data", &first.process_id()?.to_string()]).await
}

async fn a_database_url_of_an_unknown_kind_is_told(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url", "mysql://localhost/muster"]);
    ensure_refused(server.spawn()?, &["postgres://"]).await
}

async fn a_database_that_cannot_be_reached_is_told_without_its_password(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url", "postgres://me:hunter2@127.0.0.1:1/muster"]);
    let process = server.spawn()?;
    ensure_refused(process, &["cannot open the database", "check the database URL"]).await?;
    let log = fs::read_to_string(cx.dir().join("server.log"))?;
    ensure!(!log.contains("hunter2"), "the password is shown: {log}");
    Ok(())
}

async fn a_database_in_use_by_another_server_is_told(cx: &Cx) -> Result<()> {
    let database = Postgres::fresh_database().await?;
    let _first = Server::new(cx.dir(), "first")?.with_args(["--database-url", &database, "--name", "Server-A"]).launch().await?;
    let second = Server::new(cx.dir(), "second")?.with_args(["--database-url", &database, "--name", "Server-B"]);
    ensure_refused(second.spawn()?, &["database", "Server-A"]).await
}

async fn a_server_ends_well_on_sigterm(cx: &Cx) -> Result<()> {
    let mut server = Server::start(cx).await?;
    let status = server.stop().await?;
    ensure!(status.success(), "it ended with {status}");
    // Its data is free again.
    server.restart().await
}

async fn a_worker_waits_for_its_server(cx: &Cx) -> Result<()> {
    let mut server = Server::new(cx.dir(), "late")?;
    let worker = Worker::new(cx.dir(), "early", &server)?.with_opencode(&cx.dir().join("no-opencode"));
    let mut process = worker.spawn()?;
    wait_for("the worker to say that it has no server", LIMIT, async || Ok(process.log().contains(&server.url()).then_some(()))).await?;
    server.restart().await?;
    wait_for("the worker to register", LIMIT, async || worker.info().await).await?;
    ensure!(process.exit_status()?.is_none(), "the worker has ended: {}", process.log());
    Ok(())
}

async fn a_missing_codebase_is_told_and_comes_when_it_is_there(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let path = cx.dir().join("later");
    let worker = Worker::new(cx.dir(), "worker", &server)?.with_opencode(&cx.dir().join("no-opencode")).with_codebase("later", &path);
    let worker = worker.launch().await?;
    let shown =
        async || Ok::<_, anyhow::Error>(server.client().codebases(&[]).await?.into_iter().find(|codebase| codebase.name == "later"));
    let missing = shown().await?.context("the codebase is not shown at all")?;
    ensure!(missing.status == CodebaseStatus::Offline, "it is {} without its directory", missing.status);
    ensure!(missing.problem.is_some(), "nothing says what is wrong with it");
    ensure!(worker.log().contains("later"), "the worker's log does not name it: {}", worker.log());
    fs::create_dir(&path)?;
    let there = async || Ok(shown().await?.filter(|codebase| codebase.status == CodebaseStatus::Active));
    wait_for("the codebase to be there", LIMIT, there).await?;
    Ok(())
}

//! Connections that break and disks that are full: what was acknowledged is there, once.

use super::bench::{Bench, sqlite_url};
use super::group_commit::log_is_whole;
use crate::support::{Cx, SmallDisk, cases, wait_for};
use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use muster::store::StoreError;
use muster::store::submit::{NewTask, SubmitTask, Submitted};
use muster_protocol::ids::TaskId;
use sqlx::{Connection, PgConnection, Row};
use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

cases! {
    [Postgres] => writes_survive_a_connection_that_is_killed_again_and_again,
        a_commit_whose_answer_is_lost_is_made_once,
        a_database_that_is_away_refuses_and_takes_writes_again_when_it_is_back;
    [Mount] => a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room;
}

/// Submits tasks, 16 at a time, counting those that were acknowledged, until they are `enough`.
async fn submit_until(bench: &Bench, count: &Cell<usize>, enough: impl Fn() -> bool) -> Result<Vec<TaskId>> {
    let mut acknowledged = Vec::new();
    while !enough() {
        for outcome in join_all((0..16).map(|n| bench.submit(bench.task(&n.to_string())))).await {
            acknowledged.push(outcome?.id);
        }
        count.set(acknowledged.len());
    }
    Ok(acknowledged)
}

async fn all_are_there_once(bench: &Bench, acknowledged: &[TaskId]) -> Result<()> {
    ensure!(acknowledged.iter().collect::<HashSet<_>>().len() == acknowledged.len(), "a task was acknowledged twice");
    for id in acknowledged {
        bench.record(*id).await?;
    }
    let log = log_is_whole(bench).await?;
    let subjects: HashSet<_> = log.iter().map(|event| &event.subject).collect();
    ensure!(subjects.len() == log.len(), "a task was submitted twice");
    for id in acknowledged {
        ensure!(subjects.contains(&format!("tasks/{id}")), "the event of {id} is missing");
    }
    Ok(())
}

/// Ends the backend that holds the server's lock.
async fn kill_writer(connection: &mut PgConnection) -> Result<bool> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS n FROM (SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) t",
    )
    .fetch_one(connection)
    .await?;
    Ok(row.try_get::<i64, _>("n")? > 0)
}

async fn writes_survive_a_connection_that_is_killed_again_and_again(cx: &Cx) -> Result<()> {
    let bench = Bench::postgres(cx).await?;
    let mut connection = PgConnection::connect(&bench.url).await?;
    let (count, kills) = (Cell::new(0), Cell::new(0));
    let killer = async {
        for kill in 1..=12 {
            // In the middle of the writes, each time after some have come through.
            wait_for("more writes", Duration::from_secs(30), async || Ok((count.get() >= kill * 20).then_some(()))).await?;
            kills.set(kills.get() + usize::from(kill_writer(&mut connection).await?));
        }
        anyhow::Ok(())
    };
    let ((), acknowledged) = futures_util::try_join!(killer, submit_until(&bench, &count, || count.get() >= 300))?;
    ensure!(kills.get() >= 6, "only {} connections were killed", kills.get());
    all_are_there_once(&bench, &acknowledged).await?;
    ensure!(bench.store.count_tasks().await?["submitted"] == acknowledged.len() as u64, "there are other tasks than were acknowledged");
    Ok(())
}

async fn a_commit_whose_answer_is_lost_is_made_once(cx: &Cx) -> Result<()> {
    let bench = Bench::postgres(cx).await?;
    let mut connection = PgConnection::connect(&bench.url).await?;
    let proxied = CommitCutter::start(&bench.url).await?;
    bench.store.close().await;
    let through = Bench::at(proxied.url.clone(), 64).await?;
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        proxied.cut_after_commit.store(true, std::sync::atomic::Ordering::SeqCst);
        acknowledged.push(through.submit(through.task(&format!("round {round}"))).await?.id);
        ensure!(!proxied.cut_after_commit.load(std::sync::atomic::Ordering::SeqCst), "no answer was lost in round {round}");
    }
    all_are_there_once(&through, &acknowledged).await?;
    let row = sqlx::query("SELECT COUNT(*) AS n FROM batches").fetch_one(&mut connection).await?;
    ensure!(row.try_get::<i64, _>("n")? == 6, "the batches are not as many as the commits");
    Ok(())
}

/// A proxy that loses the answer to a commit after PostgreSQL has made it.
struct CommitCutter {
    url: String,
    cut_after_commit: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl CommitCutter {
    async fn start(url: &str) -> Result<Self> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut url: url::Url = url.parse()?;
        let target = (url.host_str().context("no host")?.to_owned(), url.port().unwrap_or(5432));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let _ = url.set_host(Some("127.0.0.1"));
        let _ = url.set_port(Some(listener.local_addr()?.port()));
        url.set_query(Some("sslmode=disable"));
        let cut = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let armed = cut.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, armed) = (target.clone(), armed.clone());
                tokio::spawn(async move {
                    let Ok(server) = tokio::net::TcpStream::connect(target).await else { return };
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
                    let forth = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
                    let back = async {
                        let mut buffer = vec![0; 64 * 1024];
                        loop {
                            let n = from_server.read(&mut buffer).await?;
                            let is_commit = buffer[..n].windows(7).any(|window| window == b"COMMIT\0");
                            if n == 0 || (is_commit && armed.swap(false, std::sync::atomic::Ordering::SeqCst)) {
                                return std::io::Result::Ok(());
                            }
                            to_client.write_all(&buffer[..n]).await?;
                        }
                    };
                    // Whichever ends first takes the connection with it.
                    tokio::select! { _ = forth => (), _ = back => () }
                });
            }
        });
        Ok(Self { url: url.into(), cut_after_commit: cut })
    }
}

async fn a_database_that_is_away_refuses_and_takes_writes_again_when_it_is_back(cx: &Cx) -> Result<()> {
    let bench = Bench::postgres(cx).await?;
    bench.submit(bench.task("before")).await?;
    let mut admin: url::Url = bench.url.parse()?;
    let name = admin.path().trim_start_matches('/').to_owned();
    admin.set_path("/postgres");
    let mut connection = PgConnection::connect(admin.as_str()).await?;
    let allow = |yes: bool| sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {yes}"));
    sqlx::raw_sql(allow(false)).execute(&mut connection).await?;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(end)).execute(&mut connection).await?;
    let refused =
        bench.store.write(SubmitTask { task: bench.task("away"), key: None, answer: None, message: None, now: bench.now() }).await;
    ensure!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    sqlx::raw_sql(allow(true)).execute(&mut connection).await?;
    bench.submit(bench.task("after")).await?;
    let log = log_is_whole(&bench).await?;
    ensure!(log.len() == 2, "{} events", log.len());
    Ok(())
}

async fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room(cx: &Cx) -> Result<()> {
    let dir = cx.make_dir("small")?;
    let disk = SmallDisk::mount(&dir, "2m")?;
    let bench = Bench::at(sqlite_url(&dir), 64).await?;
    let filler = dir.join("filler");
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        // Fill what is left, to the last byte: writing fails at the end.
        let _ = std::fs::write(&filler, vec![b'x'; 2 << 20]);
        let mut refused = 0;
        for n in 0..40 {
            let task = NewTask { prompt: "x".repeat(20_000), ..bench.task(&format!("{round}/{n}")) };
            let id = task.id;
            match bench.store.write(SubmitTask { task, key: None, answer: None, message: None, now: bench.now() }).await {
                Ok(Submitted::Accepted(_)) => acknowledged.push(id),
                Err(StoreError::Unavailable(_)) => refused += 1,
                other => anyhow::bail!("round {round}, write {n}: {other:?}"),
            }
        }
        ensure!(refused > 0, "round {round}: the disk did not get full");
        for id in &acknowledged {
            bench.record(*id).await?;
        }
        std::fs::remove_file(&filler)?;
        let small = async || {
            let task = bench.task("small");
            let id = task.id;
            let written = bench.store.write(SubmitTask { task, key: None, answer: None, message: None, now: bench.now() }).await;
            Ok(written.is_ok().then_some(id))
        };
        acknowledged.push(wait_for("the disk with room to be written to", Duration::from_secs(20), small).await?);
    }
    let log = log_is_whole(&bench).await?;
    ensure!(log.len() == acknowledged.len(), "{} events of {} writes", log.len(), acknowledged.len());
    bench.store.close().await;
    drop(disk);
    Ok(())
}

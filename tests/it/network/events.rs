//! Events on every server: once, with their origin, in its order.

use super::net::{LIMIT, all_up, count_of, happen, id, joining, log, named, same_everywhere, star};
use crate::support::{CutProxy, Cx, Postgres, cases, wait_for};
use anyhow::{Result, ensure};
use muster_protocol::event::kind;
use muster_protocol::peer::AddPeer;
use std::fs;

cases! {
    [] =>
        events_are_on_every_server_once_and_in_order,
        only_what_is_shared_is_told,
        a_large_event_is_told_whole,
        what_is_missing_at_one_is_taken_from_another;
    [Postgres] => servers_on_postgresql_know_the_same;
}

async fn events_are_on_every_server_once_and_in_order(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B", "C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    tokio::try_join!(happen(a, 150), happen(b, 150), happen(c, 150))?;
    let lines = same_everywhere(&[a, b, c]).await?;
    for server in [a, b, c] {
        let id = id(server).await?;
        ensure!(count_of(&lines, id) >= 150, "{} has {} events", server.name(), count_of(&lines, id));
        // The same fact, word for word, but for its place in the log.
        for other in [a, b, c] {
            let told: Vec<_> = log(other).await?.into_iter().filter(|event| event.origin == id && event.originseq.is_some()).collect();
            let own: Vec<_> = log(server).await?.into_iter().filter(|event| event.originseq.is_some() && event.origin == id).collect();
            let is_same = told.iter().zip(&own).all(|(told, own)| {
                (&told.kind, &told.subject, told.time, &told.data, &told.source)
                    == (&own.kind, &own.subject, own.time, &own.data, &own.source)
            });
            ensure!(is_same && told.len() == own.len(), "{} tells the events of {} differently", other.name(), server.name());
        }
    }
    Ok(())
}

async fn only_what_is_shared_is_told(cx: &Cx) -> Result<()> {
    let config = cx.dir().join("few.toml");
    fs::write(&config, "[network]\nshare = [\"server.*\", \"task.canceled\"]\n")?;
    let a = named(cx, "A")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    let b = joining(cx, "B", &[&a])?.launch().await?;
    all_up(&[&a, &b]).await?;
    happen(&a, 3).await?;
    let task = a.client().tasks(&[]).await?.into_iter().next().map(|task| task.id);
    let task = task.ok_or_else(|| anyhow::anyhow!("there is no task"))?;
    a.client().cancel(task).await?;
    let lines = same_everywhere(&[&a, &b]).await?;
    let a_id = id(&a).await?;
    ensure!(count_of(&lines, a_id) == 2, "A shares {} events", count_of(&lines, a_id));
    let told: Vec<_> = log(&b).await?.into_iter().filter(|event| event.origin == a_id).map(|event| event.kind).collect();
    ensure!(told == [kind::SERVER_STARTED, kind::TASK_CANCELED], "B was told {told:?}");
    ensure!(
        log(&a).await?.iter().any(|event| event.kind == kind::TASK_SUBMITTED && event.originseq.is_none()),
        "a hidden event has a number"
    );
    Ok(())
}

/// What a worker says of itself may be long.
async fn a_large_event_is_told_whole(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B"]).await?;
    let [a, b] = servers.as_slice() else { unreachable!() };
    let labels: serde_json::Map<_, _> = (0..60).map(|n| (format!("label{n}"), "x".repeat(200).into())).collect();
    for n in 0..40 {
        let more = serde_json::json!({ "labels": labels });
        crate::support::Puller::register(a.client(), &format!("wide{n}"), more).await?;
    }
    same_everywhere(&[a, b]).await?;
    let b_knows = wait_for("the machines to be listed", LIMIT, async || {
        let agents = b.get("/v1/agents").await?;
        Ok(agents.as_array().filter(|all| all.iter().filter(|agent| agent["kind"] == "peer").count() >= 40).map(Vec::len))
    });
    b_knows.await.map(drop)
}

/// C follows A and B, and loses A: what A did meanwhile comes from B.
async fn what_is_missing_at_one_is_taken_from_another(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?;
    let to_a = CutProxy::start(a.port()).await?;
    // Everybody reaches A through the proxy; B does so by another one, which is never cut.
    let steady = CutProxy::start(a.port()).await?;
    let a = a.with_args(["--public-url".to_owned(), to_a.url(), "--insecure".to_owned()]).launch().await?;
    let b = named(cx, "B")?.with_args(["--connect".to_owned(), steady.url()]).launch().await?;
    all_up(&[&a, &b]).await?;
    let c = joining(cx, "C", &[&b])?.launch().await?;
    all_up(&[&a, &b, &c]).await?;
    for round in 0..3 {
        to_a.refuse(true);
        happen(&a, 40).await?;
        if round == 1 {
            b.client().add_peer(&AddPeer { url: steady.url() }).await?;
        }
        same_everywhere(&[&a, &b, &c]).await?;
        to_a.refuse(false);
        happen(&a, 40).await?;
    }
    all_up(&[&a, &b, &c]).await?;
    same_everywhere(&[&a, &b, &c]).await.map(drop)
}

async fn servers_on_postgresql_know_the_same(cx: &Cx) -> Result<()> {
    let on_postgres = async |server: crate::support::Server| -> Result<_> {
        Ok(server.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]))
    };
    let mut a = on_postgres(named(cx, "A")?).await?.launch().await?;
    let b = on_postgres(joining(cx, "B", &[&a])?).await?.launch().await?;
    let c = joining(cx, "C", &[&b])?.launch().await?;
    all_up(&[&a, &b, &c]).await?;
    tokio::try_join!(happen(&a, 60), happen(&b, 60), happen(&c, 60))?;
    same_everywhere(&[&a, &b, &c]).await?;
    a.kill().await?;
    happen(&c, 60).await?;
    a.restart().await?;
    all_up(&[&a, &b, &c]).await?;
    happen(&a, 20).await?;
    same_everywhere(&[&a, &b, &c]).await.map(drop)
}

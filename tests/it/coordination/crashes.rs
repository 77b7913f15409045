//! A server that is killed in each phase of a coordination: answered once, no part lost and none twice.

use super::{begin, ended, events, parts, unstarted, words};
use crate::support::{Cx, Postgres, Puller, Server, cases, wait_for};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        a_server_that_is_killed_right_after_the_plan_begins_each_part_once,
        a_server_that_is_killed_with_a_part_done_does_not_repeat_it,
        a_server_that_is_killed_while_it_cancels_cancels_all_the_same,
        a_deadline_that_passes_while_the_server_is_away_counts;
    [Postgres] => a_server_that_is_killed_on_postgresql_begins_each_part_once;
}

async fn restart(server: &mut Server) -> Result<()> {
    server.kill().await?;
    server.restart().await
}

/// That it was answered once, and each part was begun once.
async fn ensure_once(server: &Server, id: &str, count: usize) -> Result<Value> {
    let (whole, data) = ended(server, id).await?;
    let parts = parts(server, id).await?;
    ensure!(parts.len() == count, "{} parts: {parts:?}", parts.len());
    let complete = events(server, "coordination.complete").await?;
    let of_it = complete.iter().filter(|event| event["subject"] == format!("tasks/{id}")).count();
    ensure!(of_it == 1, "it is complete {of_it} times");
    let mut told: Vec<_> = words(&data["parts"], "task_id");
    told.sort();
    let mut there: Vec<_> = parts.iter().filter_map(|part| part["id"].as_str()).collect();
    there.sort_unstable();
    ensure!(told == there, "told are {told:?}, there are {there:?}: {whole}");
    Ok(data)
}

async fn a_server_that_is_killed_right_after_the_plan_begins_each_part_once(cx: &Cx) -> Result<()> {
    killed_after_the_plan(unstarted(cx, "")?.launch().await?).await
}

async fn a_server_that_is_killed_on_postgresql_begins_each_part_once(cx: &Cx) -> Result<()> {
    let url = Postgres::fresh_database().await?;
    killed_after_the_plan(Server::new(cx.dir(), "server")?.with_args(["--name", "Server-A", "--database-url", &url]).launch().await?).await
}

/// The kill falls before, among and after the commits that begin the parts.
async fn killed_after_the_plan(mut server: Server) -> Result<()> {
    let said = format!("coordinate\n{}", "monitor: status\nanalytics: 1 2\n".repeat(20));
    for delay in [0, 1, 2, 4, 8, 16] {
        let id = begin(&server, &said, json!({})).await?;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        restart(&mut server).await?;
        let data = ensure_once(&server, &id, 40).await?;
        ensure!(words(&data["parts"], "state").iter().all(|state| state == "completed"), "{data}");
    }
    Ok(())
}

async fn a_server_that_is_killed_with_a_part_done_does_not_repeat_it(cx: &Cx) -> Result<()> {
    let mut server = unstarted(cx, "")?.launch().await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let bob = Puller::register(server.client(), "bob", json!({})).await?;
    let id = begin(&server, "coordinate\nalice: one\nbob: two\nmonitor: status", json!({})).await?;
    let (of_alice, of_bob) = (alice.take().await?, bob.take().await?);
    alice.run(&of_alice, &["one is done"]).await?;
    bob.start(&of_bob, "ses_b").await?;
    restart(&mut server).await?;
    bob.append(&of_bob, 0, &["two is done"]).await?;
    restart(&mut server).await?;
    bob.report(&of_bob, muster_protocol::task::ReportedStatus::Completed, json!({ "result": "two is done" })).await?;
    let data = ensure_once(&server, &id, 3).await?;
    ensure!(data["parts"][0]["result"] == "one is done" && data["parts"][1]["result"] == "two is done", "{data}");
    Ok(())
}

async fn a_server_that_is_killed_while_it_cancels_cancels_all_the_same(cx: &Cx) -> Result<()> {
    let mut server = unstarted(cx, "")?.launch().await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let id = begin(&server, "coordinate\nalice: for ever", json!({})).await?;
    let given = alice.take().await?;
    alice.start(&given, "ses_a").await?;
    server.post(&format!("/v1/opencode/tasks/{id}/cancel"), &json!({})).await?;
    restart(&mut server).await?;
    wait_for("the part to be asked", Duration::from_secs(20), async || {
        let running = [crate::support::running(given.task.id, given.attempt)];
        Ok((!alice.pull(&running, Duration::from_secs(1)).await?.cancel.is_empty()).then_some(()))
    })
    .await?;
    alice.report(&given, muster_protocol::task::ReportedStatus::Cancelled, json!({})).await?;
    let data = ensure_once(&server, &id, 1).await?;
    ensure!(words(&data["parts"], "state") == ["canceled"], "{data}");
    Ok(())
}

async fn a_deadline_that_passes_while_the_server_is_away_counts(cx: &Cx) -> Result<()> {
    let mut server = unstarted(cx, "")?.launch().await?;
    let alice = Puller::register(server.client(), "alice", json!({})).await?;
    let id = begin(&server, "coordinate\nalice: for ever\nmonitor: status", json!({ "deadline_s": 1 })).await?;
    let given = alice.take().await?;
    alice.start(&given, "ses_a").await?;
    restart(&mut server).await?;
    let data = ensure_once(&server, &id, 2).await?;
    ensure!(words(&data["parts"], "state") == ["missing", "completed"], "{data}");
    Ok(())
}

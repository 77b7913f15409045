//! Servers that are killed in each phase of a coordination over two of them: answered once, and no part is done twice.

use super::trio::{all_up, coordinate, ended, ensure_once, pair, parts_told, tasks, until_listed};
use crate::support::{Cx, Puller, cases};
use anyhow::{Result, ensure};
use serde_json::json;
use std::time::Duration;

cases! {
    [] =>
        a_coordinator_that_is_killed_after_the_plan_begins_each_part_once,
        a_coordinator_that_is_killed_while_parts_run_does_none_twice,
        a_peer_that_is_killed_while_its_part_runs_ends_it_once;
}

async fn a_coordinator_that_is_killed_after_the_plan_begins_each_part_once(cx: &Cx) -> Result<()> {
    let (mut a, b) = pair(cx).await?;
    until_listed(&a, "Worker-A-Server-B").await?;
    let mut count = 0;
    for delay in [0, 4, 16, 40] {
        let said = format!("coordinate\n{}", "Worker-A-Server-B: 1 2\nWorker-A-Server-A: 3\n".repeat(5));
        let id = coordinate(&a, &said, json!({})).await?;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        a.kill().await?;
        a.restart().await?;
        let whole = ended(&a, &id).await?;
        ensure!(whole["state"] == "completed" && whole["result"].to_string().contains("10 parts, 10 completed"), "{whole}");
        ensure_once(&a, &id, 10).await?;
        count += 5;
        let there = tasks(&b).await?;
        ensure!(there.len() == count, "{} tasks at B, not {count}", there.len());
    }
    Ok(())
}

async fn a_coordinator_that_is_killed_while_parts_run_does_none_twice(cx: &Cx) -> Result<()> {
    let (mut a, b) = pair(cx).await?;
    let one = Puller::register(b.client(), "one", json!({})).await?;
    let two = Puller::register(b.client(), "two", json!({})).await?;
    for name in ["one", "two"] {
        until_listed(&a, name).await?;
    }
    let id = coordinate(&a, "coordinate\none: first\ntwo: second", json!({})).await?;
    let (of_one, of_two) = (one.take().await?, two.take().await?);
    one.run(&of_one, &["first is done"]).await?;
    two.start(&of_two, "ses_2").await?;
    a.kill().await?;
    two.append(&of_two, 0, &["second "]).await?;
    a.restart().await?;
    two.append(&of_two, 1, &["is done"]).await?;
    two.report(&of_two, muster_protocol::task::ReportedStatus::Completed, json!({ "result": "second is done" })).await?;
    ended(&a, &id).await?;
    let parts = parts_told(&a, &id).await?;
    ensure!(parts[0]["result"] == "first is done" && parts[1]["result"] == "second is done", "{parts:?}");
    ensure_once(&a, &id, 2).await?;
    ensure!(tasks(&b).await?.len() == 2, "a part was done twice");
    Ok(())
}

async fn a_peer_that_is_killed_while_its_part_runs_ends_it_once(cx: &Cx) -> Result<()> {
    let (a, mut b) = pair(cx).await?;
    let one = Puller::register(b.client(), "one", json!({})).await?;
    until_listed(&a, "one").await?;
    let id = coordinate(&a, "coordinate\none: first\nWorker-A-Server-A: 1 2", json!({})).await?;
    let given = one.take().await?;
    one.start(&given, "ses_1").await?;
    b.kill().await?;
    b.restart().await?;
    one.append(&given, 0, &["first is done"]).await?;
    one.report(&given, muster_protocol::task::ReportedStatus::Completed, json!({ "result": "first is done" })).await?;
    let whole = ended(&a, &id).await?;
    let parts = parts_told(&a, &id).await?;
    ensure!(parts.len() == 2 && parts[0]["result"] == "first is done", "{whole}");
    ensure_once(&a, &id, 2).await?;
    ensure!(tasks(&b).await?.len() == 1, "it was done twice");
    all_up(&[&a, &b]).await
}

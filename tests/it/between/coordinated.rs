//! Coordinations over servers: on real machines of peers, with one that dies, over several hops, and with an agent that is no server of ours.

use super::trio::{LIMIT, coordinate, ended, ensure_once, joined, parts_told, shared, until_listed, written};
use crate::support::{Cx, FakeLlm, Worker, cases, text, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

cases! {
    [Opencode, Python] =>
        machines_of_two_peers_write_two_files_by_one_plan,
        a_machine_of_a_peer_that_is_killed_midway_is_the_part_that_is_missing;
    [] => a_coordinator_is_asked_to_coordinate;
    [A2aSdk] => an_agent_of_the_official_sdk_takes_part_by_name;
}

fn states(parts: &[Value]) -> Vec<&str> {
    parts.iter().map(|part| part["state"].as_str().unwrap_or("-")).collect()
}

async fn machines_of_two_peers_write_two_files_by_one_plan(cx: &Cx) -> Result<()> {
    let trio = shared(cx).await?;
    let id =
        coordinate(&trio.a, "coordinate\nbee:\n!write at-b.txt from the second\ncee:\n!write at-c.txt from the third", json!({})).await?;
    let whole = ended(&trio.a, &id).await?;
    let parts = parts_told(&trio.a, &id).await?;
    ensure!(states(&parts) == ["completed", "completed"], "{whole}");
    ensure!(written(&trio.bee, "at-b.txt").await? == "from the second", "another file at B");
    ensure!(written(&trio.cee, "at-c.txt").await? == "from the third", "another file at C");
    let said = text(&whole, "result")?;
    ensure!(said.contains("- bee (Server-B): completed") && said.contains("- cee (Server-C): completed"), "{said}");
    ensure_once(&trio.a, &id, 2).await
}

async fn a_machine_of_a_peer_that_is_killed_midway_is_the_part_that_is_missing(cx: &Cx) -> Result<()> {
    let trio = shared(cx).await?;
    let mut doomed = Worker::start(cx, "doomed", &trio.b, &FakeLlm::start(cx).await?).await?;
    until_listed(&trio.a, "doomed").await?;
    let said = "coordinate\ndoomed:\n!slow 621 100\ncee:\n!write survived.txt all the same";
    let id = coordinate(&trio.a, said, json!({ "deadline_s": 12 })).await?;
    wait_for("the machine to work", LIMIT, async || {
        let tasks = super::trio::tasks(&trio.b).await?;
        let runs = |task: &&Value| task["prompt"].as_str().is_some_and(|said| said.contains("!slow 621")) && task["session_id"].is_string();
        Ok(tasks.iter().find(runs).map(|_| ()))
    })
    .await?;
    doomed.kill().await?;
    let whole = ended(&trio.a, &id).await?;
    let parts = parts_told(&trio.a, &id).await?;
    ensure!(states(&parts) == ["missing", "completed"], "{whole}");
    let said = text(&whole, "result")?;
    ensure!(said.contains("1 completed, 1 missing") && said.contains("- doomed (Server-B): missing"), "{said}");
    ensure!(written(&trio.cee, "survived.txt").await? == "all the same", "the other part was not done");
    ensure_once(&trio.a, &id, 2).await
}

async fn a_coordinator_is_asked_to_coordinate(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B", "Server-C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    for (server, other) in [(a, "Coordinator-Server-B"), (b, "Coordinator-Server-C"), (b, "Worker-A-Server-A")] {
        until_listed(server, other).await?;
    }
    let id = coordinate(a, "coordinate\nCoordinator-Server-B: coordinate 1 2 3\nWorker-A-Server-A: 4 5", json!({})).await?;
    let whole = ended(a, &id).await?;
    let parts = parts_told(a, &id).await?;
    ensure!(states(&parts) == ["completed", "completed"], "{whole}");
    let said = text(&parts[0], "result")?;
    ensure!(said.starts_with("6 parts, 6 completed") && said.contains("Worker-B-Server-C (Server-C): completed"), "{said}");
    // Each that was asked knows of it once.
    let of_c = super::trio::tasks(c).await?;
    ensure!(of_c.len() == 2, "{of_c:?}");
    let hops: Vec<_> = of_c.iter().map(|task| task["metadata"]["hops"].as_u64()).collect();
    ensure!(hops == [Some(2), Some(2)], "{of_c:?}");
    Ok(())
}

async fn an_agent_of_the_official_sdk_takes_part_by_name(cx: &Cx) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut agent = Command::new(root.join("build/a2a/v1/bin/python"));
    agent.arg(root.join("tests/support/a2a_agent_v1.py")).arg("JSONRPC");
    let mut running = agent.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(running.stdout.take().context("no output")?).lines();
    let port = lines.next_line().await?.context("it does not say its port")?;
    let servers = joined(cx.dir(), &["Server-A", "Server-B"]).await?;
    let [a, b] = servers.as_slice() else { unreachable!() };
    b.post("/v1/agents", &json!({ "url": format!("http://127.0.0.1:{port}") })).await?;
    // Where it was added, and at the peer through that.
    for server in [b, a] {
        until_listed(server, "Official").await?;
        let id = coordinate(server, "coordinate\nOfficial: say one two\nWorker-A-Server-A: 4 5", json!({})).await?;
        let whole = ended(server, &id).await?;
        let parts = parts_told(server, &id).await?;
        ensure!(states(&parts) == ["completed", "completed"], "{whole}");
        ensure!(parts[0]["agent"] == "Official" && parts[0]["result"] == "one two ", "{parts:?}");
    }
    Ok(())
}

//! Tasks that no machine of a server can take go to a machine of a peer that can.

use super::trio::{LIMIT, at, ended, joined, shared, task, tasks, until_agent, until_listed};
use crate::a2a::caller::Binding;
use crate::support::{Cx, Http, Puller, Server, cases, text, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        what_fits_only_a_machine_of_a_peer_goes_there,
        the_machine_with_the_most_free_slots_is_first,
        a_forwarded_task_is_canceled_and_retried,
        the_next_turn_goes_where_the_conversation_is,
        a_waiting_task_goes_to_a_machine_that_appears,
        forwarded_work_is_not_forwarded_again;
    [Opencode, Python] => an_opencode_of_a_peer_works_on_a_forwarded_task;
}

async fn submit(server: &Server, body: Value) -> Result<Value> {
    Http::new(server).post("/v1/opencode/tasks", &body).await?.ok()
}

fn id(task: &Value) -> Result<&str> {
    text(task, "id")
}

fn explained(server: &Server, task: &Value) -> Result<String> {
    let output = server.muster(["explain", id(task)?]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn what_fits_only_a_machine_of_a_peer_goes_there(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B"]).await?;
    let [a, b] = servers.as_slice() else { unreachable!() };
    Puller::register(a.client(), "near", json!({})).await?;
    let model = json!([{ "id": "big/one", "name": "One", "provider": "Big", "provider_id": "big" }]);
    let more = json!({ "capabilities": ["opencode", "gpu"], "labels": { "zone": "far" }, "models": model,
        "codebases": [{ "name": "shop", "path": "/srv/shop" }] });
    let far = Puller::register(b.client(), "far", more).await?;
    until_agent(a, "far", |agent| agent["machine"]["codebases"].to_string().contains("shop")).await?;
    let wanted = [
        (json!({ "prompt": "by model", "model": "big/one" }), "there is no model `big/one`"),
        (json!({ "prompt": "by capability", "capabilities": ["gpu"] }), "no worker of this server can take it"),
        (json!({ "prompt": "by label", "labels": { "zone": "far" } }), "no worker of this server can take it"),
        (json!({ "prompt": "by codebase", "target": { "codebase": "shop" } }), "there is no codebase `shop`"),
    ];
    for (body, why) in wanted {
        let begun = submit(a, body.clone()).await?;
        ensure!(begun["metadata"]["forwarded"]["agent"] == "far" && begun["metadata"]["forwarded"]["server"] == "Server-B", "{begun}");
        let given = far.take().await?;
        ensure!(given.task.prompt == body["prompt"], "{:?}", given.task);
        let said = explained(a, &begun)?;
        ensure!(said.contains("forwarded to far of Server-B") && said.contains(why), "{said}");
        far.run(&given, &["one ", "two"]).await?;
        let done = ended(a, id(&begun)?).await?;
        ensure!(done["state"] == "completed" && done["result"] == "one two", "{done}");
        let shown = a.muster(["task", id(&begun)?]).output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        ensure!(shown.contains("far") && shown.contains("Server-B"), "`muster task` says {shown}");
    }
    let told = a.get("/v1/events?type=task.forwarded").await?;
    ensure!(told.as_array().is_some_and(|all| all.len() == 4), "{told}");
    // What nobody has waits here, and what is nowhere is refused as before.
    let nobody = submit(a, json!({ "prompt": "x", "labels": { "zone": "moon" } })).await?;
    let said = explained(a, &nobody)?;
    ensure!(nobody["status"] == "pending" && said.contains("lacks the label `zone=moon`") && !said.contains("forwarded"), "{said}");
    Http::new(a).post("/v1/opencode/tasks", &json!({ "prompt": "x", "target": { "codebase": "none" } })).await?.refused(422, "invalid")?;
    Ok(())
}

async fn the_machine_with_the_most_free_slots_is_first(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B", "Server-C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    let able = |slots: u32| json!({ "slots": slots, "capabilities": ["opencode", "gpu"] });
    let few = Puller::register(b.client(), "few", able(1)).await?;
    let many = Puller::register(c.client(), "many", able(2)).await?;
    for name in ["few", "many"] {
        until_listed(a, name).await?;
    }
    let mut went = Vec::new();
    for (n, free) in [(0, 1), (1, 0), (2, 0)] {
        let begun = submit(a, json!({ "prompt": format!("number {n}"), "capabilities": ["gpu"] })).await?;
        let to = text(&begun["metadata"]["forwarded"], "agent")?.to_owned();
        let machine = if to == "many" { &many } else { &few };
        let given = machine.take().await?;
        machine.start(&given, &format!("ses_{n}")).await?;
        if to == "many" {
            until_agent(a, "many", |agent| agent["machine"]["free"] == free).await?;
        }
        went.push(to);
    }
    ensure!(went[0] == "many" && went.contains(&"few".to_owned()), "{went:?}");
    Ok(())
}

async fn a_forwarded_task_is_canceled_and_retried(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B"]).await?;
    let [a, b] = servers.as_slice() else { unreachable!() };
    let far = Puller::register(b.client(), "far", json!({ "capabilities": ["opencode", "gpu"] })).await?;
    until_listed(a, "far").await?;
    let begun = submit(a, json!({ "prompt": "for ever", "capabilities": ["gpu"] })).await?;
    let given = far.take().await?;
    far.start(&given, "ses_1").await?;
    far.append(&given, 0, &["on "]).await?;
    wait_for("its word", LIMIT, async || Ok((task(a, id(&begun)?).await?["status"] == "running").then_some(()))).await?;
    a.post(&format!("/v1/opencode/tasks/{}/cancel", id(&begun)?), &json!({})).await?;
    wait_for("the cancel", LIMIT, async || {
        let running = [crate::support::running(given.task.id, given.attempt)];
        Ok((!far.pull(&running, Duration::from_secs(1)).await?.cancel.is_empty()).then_some(()))
    })
    .await?;
    far.report(&given, muster_protocol::task::ReportedStatus::Cancelled, json!({})).await?;
    let canceled = ended(a, id(&begun)?).await?;
    ensure!(canceled["state"] == "canceled" && canceled["confirmed"] == true, "{canceled}");
    let again = a.post(&format!("/v1/opencode/tasks/{}/retry", id(&begun)?), &json!({})).await?;
    let again = if again["task"].is_object() { again["task"].clone() } else { again };
    let given = far.take().await?;
    far.run(&given, &["done"]).await?;
    let done = ended(a, id(&again)?).await?;
    ensure!(done["result"] == "done" && done["retry_of"] == begun["id"], "{done}");
    Ok(())
}

async fn the_next_turn_goes_where_the_conversation_is(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B"]).await?;
    let [a, b] = servers.as_slice() else { unreachable!() };
    // One that was forwarded at once, and one that waited before.
    let waiting = submit(a, json!({ "prompt": "later", "capabilities": ["gpu"] })).await?;
    let queued = submit(a, json!({ "prompt": "later still", "capabilities": ["gpu"], "context_id": waiting["context_id"] })).await?;
    let far = Puller::register(b.client(), "far", json!({ "capabilities": ["opencode", "gpu"] })).await?;
    until_listed(a, "far").await?;
    let first = far.take().await?;
    ensure!(first.task.prompt == "later", "{:?}", first.task);
    let near = Puller::register(a.client(), "near", json!({})).await?;
    far.run(&first, &["done"]).await?;
    ended(a, id(&waiting)?).await?;
    let second = far.take().await?;
    ensure!(second.task.prompt == "later still" && second.task.context_id == first.task.context_id, "{:?}", second.task);
    far.run(&second, &["done"]).await?;
    ended(a, id(&queued)?).await?;
    for (n, context) in [(1, waiting["context_id"].clone()), (2, submit_and_run(a, &far).await?)] {
        let output = a.muster(["run", "--detach", "--continue", context.as_str().context("no context")?, &format!("turn {n}")]).output()?;
        ensure!(output.status.success(), "{output:?}");
        let given = far.take().await?;
        ensure!(given.task.prompt == format!("turn {n}"), "{:?}", given.task);
        far.run(&given, &["done"]).await?;
        let before = tasks(b).await?;
        let same = before.iter().filter(|task| task["context_id"] == given.task.context_id.as_str()).count();
        ensure!(same > 1, "it is another conversation there: {before:?}");
    }
    ensure!(near.pull(&[], Duration::from_millis(100)).await?.assign.is_empty(), "a turn went elsewhere");
    Ok(())
}

async fn submit_and_run(a: &Server, far: &Puller) -> Result<Value> {
    let begun = submit(a, json!({ "prompt": "now", "capabilities": ["gpu"] })).await?;
    let given = far.take().await?;
    far.run(&given, &["done"]).await?;
    ended(a, id(&begun)?).await?;
    Ok(begun["context_id"].clone())
}

async fn a_waiting_task_goes_to_a_machine_that_appears(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B"]).await?;
    let [a, b] = servers.as_slice() else { unreachable!() };
    let begun = submit(a, json!({ "prompt": "wait", "capabilities": ["gpu"] })).await?;
    ensure!(begun["status"] == "pending" && explained(a, &begun)?.contains("no worker has registered"), "{begun}");
    let far = Puller::register(b.client(), "far", json!({ "capabilities": ["opencode", "gpu"] })).await?;
    let given = far.take().await?;
    let said = explained(a, &begun)?;
    ensure!(said.contains("forwarded to far of Server-B: no worker of this server can take it"), "{said}");
    far.run(&given, &["done"]).await?;
    let done = ended(a, id(&begun)?).await?;
    ensure!(done["result"] == "done" && done["metadata"]["forwarded"]["agent"] == "far", "{done}");
    Ok(())
}

async fn forwarded_work_is_not_forwarded_again(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B", "Server-C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    let able = json!({ "slots": 4, "capabilities": ["opencode", "gpu"] });
    let far = Puller::register(b.client(), "far", able).await?;
    until_listed(a, "far").await?;
    let begun = submit(a, json!({ "prompt": "for far alone", "capabilities": ["gpu"] })).await?;
    ensure!(begun["metadata"]["forwarded"]["agent"] == "far", "{begun}");
    let other = Puller::register(c.client(), "other", json!({ "slots": 8, "capabilities": ["opencode", "gpu"] })).await?;
    until_listed(b, "other").await?;
    let given = far.take().await?;
    ensure!(other.pull(&[], Duration::from_millis(100)).await?.assign.is_empty() && tasks(c).await?.is_empty(), "it went on to C");
    far.run(&given, &["done"]).await?;
    ensure!(ended(a, id(&begun)?).await?["result"] == "done", "it did not end");
    Ok(())
}

async fn an_opencode_of_a_peer_works_on_a_forwarded_task(cx: &Cx) -> Result<()> {
    let trio = shared(cx).await?;
    let run = tokio::process::Command::from(trio.a.muster(["run", "!slow 5 50", "--codebase", "web"])).output().await?;
    ensure!(run.status.success() && !run.stdout.is_empty(), "{run:?}");
    let of_a = tasks(&trio.a).await?;
    let begun = of_a.iter().find(|task| task["prompt"] == "!slow 5 50").context("no task")?;
    ensure!(begun["metadata"]["forwarded"]["agent"] == "bee", "{begun}");
    let context = text(begun, "context_id")?;
    let next = tokio::process::Command::from(trio.a.muster(["run", "--continue", context, "--codebase", "web", "the second turn of web"]))
        .output()
        .await?;
    ensure!(next.status.success(), "{next:?}");
    let asked = trio.llm.requests_with("the second turn of web")?;
    ensure!(!asked.is_empty() && asked.iter().all(|request| request.says("user", "!slow 5 50")), "it is another session");
    at(&trio.a, Binding::Rpc, "bee").map(drop)
}

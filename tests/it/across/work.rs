//! Work that no worker of a server can take: it goes to a machine of a peer that can.

use super::{until_agent, wait_for};
use crate::network::net::{LIMIT, star};
use crate::support::{Cx, Puller, Server, cases, items};
use anyhow::{Result, ensure};
use muster_protocol::ids::TaskId;
use muster_protocol::task::{ReportedStatus, SubmitTask, Target, Task, TaskState};
use serde_json::{Value, json};

cases! {
    [] =>
        work_goes_to_the_machine_that_can_do_it_of_the_peer_with_the_most_room,
        a_waiting_task_goes_to_a_machine_that_comes_to_a_peer,
        what_nobody_has_is_refused_or_waits_as_without_peers;
}

/// A machine that has one more model than those of the others.
async fn machine(server: &Server, name: &str, slots: u32, more: Value) -> Result<Puller> {
    let model = json!({ "id": "rare/model", "name": "Rare", "provider": "Rare", "provider_id": "rare" });
    let mut body = json!({ "slots": slots, "models": [model], "codebases": [{ "name": "web", "path": format!("/srv/{name}") }] });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    Puller::register(server.client(), name, body).await
}

async fn submit(server: &Server, wanted: SubmitTask) -> Result<Task> {
    Ok(server.client().submit(&wanted, None).await?)
}

async fn ended(server: &Server, id: TaskId) -> Result<Task> {
    wait_for("the end of the task", LIMIT, async || {
        let task = server.client().task(id).await?;
        Ok(task.state.is_terminal().then_some(task))
    })
    .await
}

async fn work_goes_to_the_machine_that_can_do_it_of_the_peer_with_the_most_room(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B", "C"]).await?;
    let (here, small, large) = (
        Puller::register(servers[0].client(), "here", json!({})).await?,
        machine(&servers[1], "small", 1, json!({})).await?,
        machine(&servers[2], "large", 4, json!({})).await?,
    );
    until_agent(&servers[0], "small").await?;
    until_agent(&servers[0], "large").await?;
    let model = SubmitTask { prompt: "with a rare model".to_owned(), model: Some("rare/model".to_owned()), ..SubmitTask::default() };
    let task = submit(&servers[0], model).await?;
    let given = large.take().await?;
    ensure!(given.task.prompt == "with a rare model" && given.task.model.as_deref() == Some("rare/model"), "{given:?}");
    let shown = servers[0].client().task(task.id).await?;
    ensure!(shown.metadata["forwarded"]["agent"] == "large" && shown.metadata["forwarded"]["server"] == "C", "{shown:?}");
    let explained = servers[0].client().explain(task.id).await?;
    ensure!(explained.summary.contains("forwarded to large of C: there is no model `rare/model`"), "{}", explained.summary);
    large.run(&given, &["it ", "did"]).await?;
    let done = ended(&servers[0], task.id).await?;
    ensure!(done.state == TaskState::Completed && done.result.as_deref() == Some("it did"), "{done:?}");
    let events = servers[0].get("/v1/events?type=task.forwarded").await?;
    ensure!(items(&events)?.len() == 1, "{events}");
    // Its conversation goes on where it is, though others could take it.
    let next = SubmitTask { prompt: "and then".to_owned(), context_id: Some(task.context_id.clone()), ..SubmitTask::default() };
    submit(&servers[0], next).await?;
    let given = large.take().await?;
    ensure!(given.task.prompt == "and then" && given.session_id.is_some(), "{given:?}");
    large.run(&given, &["more"]).await?;
    // A codebase that is there only, and what is here stays here.
    let target = Some(Target { codebase: Some("web".to_owned()), ..Target::default() });
    let web = submit(&servers[0], SubmitTask { prompt: "in web".to_owned(), target, ..SubmitTask::default() }).await?;
    let given = large.take().await?;
    ensure!(given.codebase.as_ref().is_some_and(|codebase| codebase.name == "web"), "{given:?}");
    // What was forwarded can be canceled.
    let cancel = servers[0].client().cancel(web.id);
    let stop = async { Ok(large.report(&given, ReportedStatus::Cancelled, json!({})).await?) };
    let (_, _) = (cancel.await?, stop.await.map_err(|error: anyhow::Error| error).ok());
    ensure!(ended(&servers[0], web.id).await?.state == TaskState::Canceled, "it is not canceled");
    let local = submit(&servers[0], SubmitTask { prompt: "anywhere".to_owned(), ..SubmitTask::default() }).await?;
    ensure!(here.take().await?.task.id == local.id, "it did not stay here");
    ensure!(small.pull(&[], std::time::Duration::ZERO).await?.assign.is_empty(), "the small one got something");
    Ok(())
}

async fn a_waiting_task_goes_to_a_machine_that_comes_to_a_peer(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B"]).await?;
    Puller::register(servers[0].client(), "here", json!({})).await?;
    let labels = std::collections::BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]);
    let task = submit(&servers[0], SubmitTask { prompt: "on a gpu".to_owned(), labels, ..SubmitTask::default() }).await?;
    let explained = servers[0].client().explain(task.id).await?;
    ensure!(explained.summary.contains("lacks the label `gpu=yes`"), "{}", explained.summary);
    let gpu = machine(&servers[1], "gpu-box", 1, json!({ "labels": { "gpu": "yes" } })).await?;
    let given = gpu.take().await?;
    ensure!(given.task.prompt == "on a gpu", "{given:?}");
    gpu.run(&given, &["fast"]).await?;
    ensure!(ended(&servers[0], task.id).await?.result.as_deref() == Some("fast"), "another answer");
    Ok(())
}

async fn what_nobody_has_is_refused_or_waits_as_without_peers(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B"]).await?;
    Puller::register(servers[0].client(), "here", json!({})).await?;
    machine(&servers[1], "there", 1, json!({})).await?;
    until_agent(&servers[0], "there").await?;
    let nowhere = SubmitTask { prompt: "p".to_owned(), model: Some("no/where".to_owned()), ..SubmitTask::default() };
    let refused = servers[0].client().submit(&nowhere, None).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("there is no model `no/where`")), "it was accepted");
    let waits = SubmitTask { prompt: "p".to_owned(), capabilities: vec!["flying".to_owned()], ..SubmitTask::default() };
    let task = submit(&servers[0], waits).await?;
    ensure!(servers[0].client().explain(task.id).await?.summary.contains("lacks the capability `flying`"), "it says something else");
    Ok(())
}

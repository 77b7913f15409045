//! Listing tasks, and whose they are: on each binding, on both databases.

use super::caller::{BINDINGS, Binding, Caller, OF_JSON, message, state, texts};
use crate::support::{Cx, Http, Postgres, Puller, Server, Shared, cases, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        tasks_are_listed_page_by_page_the_newest_status_first,
        an_agents_address_shows_its_own_tasks_alone,
        nobody_sees_the_tasks_of_others;
    [Postgres] => tasks_are_listed_page_by_page_on_postgresql;
}

static SERVER: Shared = Shared::embedded("a2a-tasks", "name = \"Server-A\"\n");
static MACHINE: Shared = Shared::embedded("a2a-tasks-machine", "name = \"Server-A\"\n");

async fn tasks_are_listed_page_by_page_the_newest_status_first(cx: &Cx) -> Result<()> {
    list(&Server::new(cx.dir(), "server")?.launch().await?).await
}

async fn tasks_are_listed_page_by_page_on_postgresql(cx: &Cx) -> Result<()> {
    let url = Postgres::fresh_database().await?;
    list(&Server::new(cx.dir(), "server")?.with_args(["--database-url", &url]).launch().await?).await
}

async fn pages(caller: &Caller, filter: Value) -> Result<(Vec<Value>, u64)> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let mut request = filter.clone();
        request["pageToken"] = json!(token);
        let page = caller.call("ListTasks", request).await?;
        all.extend(page["tasks"].as_array().context("no tasks")?.iter().cloned());
        text(&page, "nextPageToken")?.clone_into(&mut token);
        if token.is_empty() {
            return Ok((all, page["totalSize"].as_u64().context("no total")?));
        }
    }
}

fn ids(tasks: &[Value]) -> Vec<&str> {
    tasks.iter().filter_map(|task| task["id"].as_str()).collect()
}

async fn list(server: &Server) -> Result<()> {
    let worker = Puller::register(server.client(), "machine", json!({})).await?;
    for binding in BINDINGS {
        let caller = Caller::new(&Http::new(server), binding)?;
        let before = pages(&caller, json!({ "pageSize": 100 })).await?.0.len();
        let context = format!("ctx-{binding:?}");
        let send = json!({ "message": message("runs", json!({ "metadata": { "agent": "machine" } })), "configuration": { "returnImmediately": true } });
        let runs = caller.call("SendMessage", send).await?["task"].clone();
        let mut made = vec![runs["id"].as_str().context("no id")?.to_owned()];
        for n in 0..5 {
            let task = caller
                .say(&format!("number {n}"), json!({ "contextId": (n < 2).then_some(&context), "metadata": { "agent": "monitor" } }))
                .await?;
            made.push(text(&task, "id")?.to_owned());
        }
        // What ended last has the newest status.
        worker.run(&worker.take().await?, &["done"]).await?;
        made.rotate_left(1);
        made.reverse();
        let (all, total) = pages(&caller, json!({ "pageSize": 2 })).await?;
        ensure!(ids(&all)[..6] == made && total == all.len() as u64 && all.len() == before + 6, "{:?} not {made:?}", ids(&all));
        let times: Vec<_> = all.iter().filter_map(|task| task["status"]["timestamp"].as_str()).collect();
        ensure!(times.len() == all.len() && times.is_sorted_by(|a, b| a >= b), "{times:?}");
        ensure!(all.iter().all(|task| task.get("artifacts").is_none() && task["history"].is_array()), "{}", all[0]);
        let whole = caller.call("ListTasks", json!({ "includeArtifacts": true, "historyLength": 0, "pageSize": 1 })).await?;
        ensure!(texts(&whole["tasks"][0]) == "done" && whole["tasks"][0].get("history").is_none() && whole["pageSize"] == 1, "{whole}");

        let (some, total) = pages(&caller, json!({ "contextId": context })).await?;
        ensure!(ids(&some) == made[4..] && total == 2, "{some:?}");
        let (ended, _) = pages(&caller, json!({ "status": "TASK_STATE_COMPLETED" })).await?;
        ensure!(ended.len() == all.len() && ended.iter().all(|task| state(task) == "TASK_STATE_COMPLETED"), "{ended:?}");
        let (none, total) = pages(&caller, json!({ "status": "TASK_STATE_REJECTED" })).await?;
        ensure!(none.is_empty() && total == 0, "{none:?}");
        // From that time on, and at it.
        let (since, _) = pages(&caller, json!({ "statusTimestampAfter": times[2], "pageSize": 1 })).await?;
        ensure!(since.len() >= 3 && since.iter().all(|task| task["status"]["timestamp"].as_str() >= Some(times[2])), "{since:?}");
        let (later, _) = pages(&caller, json!({ "statusTimestampAfter": "2999-01-01T00:00:00Z" })).await?;
        ensure!(later.is_empty(), "{later:?}");
        let page = caller.call("ListTasks", json!({})).await?;
        ensure!(page["pageSize"] == 50 && page["nextPageToken"] == "", "{page}");
    }
    Ok(())
}

async fn an_agents_address_shows_its_own_tasks_alone(cx: &Cx) -> Result<()> {
    Puller::register(MACHINE.get(cx).await?.client(), "its own", json!({ "worker_id": "w-1" })).await?;
    for binding in BINDINGS {
        let server = Caller::new(&MACHINE.http(cx).await?, binding)?;
        let machine = server.at("its-own");
        let send = json!({ "message": message("x", json!({})), "configuration": { "returnImmediately": true } });
        let task = machine.call("SendMessage", send).await?["task"].clone();
        ensure!(task["metadata"]["agent"] == "its-own", "{task}");
        let status = server.at("monitor").say("anything", json!({})).await?;
        ensure!(texts(&status).starts_with("Status of Server-A"), "{status}");
        let listed = machine.call("ListTasks", json!({})).await?;
        ensure!(listed["tasks"].as_array().is_some_and(|all| all.iter().all(|task| task["metadata"]["agent"] == "its-own")), "{listed}");
        let listed = server.at("Monitor-Server-A").call("ListTasks", json!({})).await?;
        ensure!(
            listed["tasks"][0]["id"] == status["id"]
                && listed["totalSize"].as_u64() == listed["tasks"].as_array().map(|all| all.len() as u64),
            "{listed}"
        );
        for (caller, id) in [(&machine, &status["id"]), (&server.at("monitor"), &task["id"])] {
            let refused = caller.fault("GetTask", json!({ "id": id })).await?;
            ensure!(refused.reason == "TASK_NOT_FOUND", "{refused:?}");
        }
        ensure!(server.call("GetTask", json!({ "id": task["id"] })).await?["id"] == task["id"], "the server does not know it");
        server.call("CancelTask", json!({ "id": task["id"] })).await?;
    }
    Ok(())
}

async fn nobody_sees_the_tasks_of_others(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let token = async |name: &str, scope: &str| -> Result<Http> {
        let made = http.post("/v1/tokens", &json!({ "name": name, "scope": scope })).await?.ok()?;
        http.clone().with_token(text(&made, "secret")?)
    };
    for binding in BINDINGS {
        let one = Caller::new(&token("one", "agent").await?, binding)?;
        let task = one.say("mine", json!({})).await?;
        let listed = one.call("ListTasks", json!({})).await?;
        ensure!(listed["totalSize"] == 1 && listed["tasks"][0]["id"] == task["id"], "{listed}");
        let unknown = one.fault("GetTask", json!({ "id": uuid::Uuid::now_v7() })).await?;
        for other in [
            Caller::new(&token("other", "agent").await?, binding)?,
            Caller::new(&token("op", "operator").await?, binding)?,
            Caller::new(&http, binding)?,
        ] {
            for operation in ["GetTask", "CancelTask", "SubscribeToTask"] {
                let refused = other.fault(operation, json!({ "id": task["id"] })).await?;
                ensure!(refused.code == unknown.code && refused.reason == unknown.reason, "{operation}: {refused:?}");
            }
            let reply = json!({ "message": message("x", json!({ "taskId": task["id"] })) });
            ensure!(other.fault("SendMessage", reply).await?.reason == "TASK_NOT_FOUND", "it may answer");
            let listed = other.call("ListTasks", json!({ "pageSize": 100 })).await?;
            ensure!(listed["tasks"].as_array().is_some_and(|all| all.iter().all(|seen| seen["id"] != task["id"])), "{listed}");
            // Naming the agent (in gRPC as the tenant) chooses it and opens nothing.
            let there = other.at(text(&task["metadata"], "agent")?);
            ensure!(there.fault("GetTask", json!({ "id": task["id"] })).await?.reason == "TASK_NOT_FOUND", "the tenant opens it");
        }
        let stranger = Caller::new(&token("stranger", "agent").await?, binding)?;
        let into = json!({ "message": message("x", json!({ "contextId": task["contextId"] })) });
        ensure!(stranger.fault("SendMessage", into).await?.reason == "INVALID_PARAMS", "it may enter the conversation");
    }
    // Who has no token, or none that may, is told so by HTTP.
    for binding in OF_JSON {
        let nobody = Caller::new(&http.clone().with_header("host", "muster.example")?, binding)?;
        let answer = nobody.http.send(nobody.request("ListTasks", &json!({}))).await?;
        ensure!(answer.status == 401 && answer.header("www-authenticate").is_some(), "{answer:?}");
        let viewer = Caller::new(&token("viewer", "viewer").await?, binding)?;
        let answer = viewer.http.send(viewer.request("ListTasks", &json!({}))).await?;
        ensure!(answer.status == 403, "{answer:?}");
        if binding == Binding::Rest {
            let error = &answer.json()?["error"];
            ensure!(error["code"] == 403 && error["status"] == "PERMISSION_DENIED", "{error}");
        }
    }
    Ok(())
}

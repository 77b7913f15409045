//! Send, get, cancel, webhooks: on each binding.

use super::caller::{BINDINGS, Binding, Caller, message, state, texts};
use crate::support::{Cx, Http, Puller, Server, Shared, cases, running, text, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::interaction::Reply;
use muster_protocol::stream::EntryKind;
use muster_protocol::task::ReportedStatus;
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        a_message_is_answered_with_its_task,
        files_and_data_reach_the_agent,
        a_message_waits_for_the_end_unless_told_not_to,
        who_answers_follows_the_machines_that_come_and_leave,
        a_context_is_continued_with_and_without_a_task,
        what_a_task_asks_is_answered_by_a_message,
        a_cancel_waits_for_the_word_of_the_machine,
        webhooks_are_kept_read_and_forgotten,
        what_is_kept_survives_a_restart;
}

const SETTINGS: &str = "name = \"Server-A\"\n[a2a]\npush_notifications = true\n";
/// With machines; messages go to their addresses.
static SERVER: Shared = Shared::embedded("a2a-operations", SETTINGS);
/// Without, so that its agents answer by themselves.
static ALONE: Shared = Shared::embedded("a2a-alone", SETTINGS);

async fn a_message_is_answered_with_its_task(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let caller = Caller::new(&ALONE.http(cx).await?, binding)?;
        let task = caller.say("Hello there", json!({ "messageId": "hello-1", "metadata": { "k": 1 } })).await?;
        ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task).contains("2 words"), "{task}");
        ensure!(task["metadata"]["agent"] == "Worker-A-Server-A", "{task}");
        let first = &task["history"][0];
        ensure!(
            first["messageId"] == "hello-1" && first["role"] == "ROLE_USER" && first["parts"] == json!([{ "text": "Hello there" }]),
            "{task}"
        );
        ensure!(first["taskId"] == task["id"] && first["contextId"] == task["contextId"] && first["metadata"]["k"] == 1, "{task}");
        let at = text(&task["status"], "timestamp")?;
        ensure!(at.len() == 24 && at.ends_with('Z'), "the time is {at}");
        ensure!(caller.call("GetTask", json!({ "id": task["id"] })).await? == task, "it is read otherwise than it was answered");
        let bare = caller.call("GetTask", json!({ "id": task["id"], "historyLength": 0 })).await?;
        ensure!(bare.get("history").is_none() && bare["artifacts"] == task["artifacts"], "{bare}");
        // The same id again is another message.
        let other = caller.say("Hello there", json!({ "messageId": "hello-1" })).await?;
        ensure!(other["id"] != task["id"] && other["contextId"] != task["contextId"], "{other}");
        // The same task, as the rest of the server has it.
        let known = caller.http.get(&format!("/v1/opencode/tasks/{}", text(&task, "id")?)).await?.ok()?;
        ensure!(known["result"] == texts(&task) && known["context_id"] == task["contextId"], "{known}");
    }
    Ok(())
}

async fn files_and_data_reach_the_agent(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let caller = Caller::new(&ALONE.http(cx).await?, binding)?;
        let parts = json!([{ "raw": "MSAyIDM=", "filename": "n.txt", "mediaType": "text/plain" }, { "data": { "a": [1, null] } }]);
        let task = caller.say("", json!({ "parts": parts })).await?;
        let said = texts(&task);
        ensure!(said.contains("sum 6") && said.contains("an object with 1 keys (a)"), "it says {said}");
        ensure!(task["history"][0]["parts"] == parts, "{task}");
    }
    Ok(())
}

async fn a_message_waits_for_the_end_unless_told_not_to(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let name = format!("waits-{binding:?}");
        let worker = Puller::register(SERVER.get(cx).await?.client(), &name, json!({})).await?;
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at(&name);
        let at_once = json!({ "message": message("soon", json!({})), "configuration": { "returnImmediately": true, "historyLength": 0 } });
        let task = caller.call("SendMessage", at_once).await?["task"].clone();
        ensure!(state(&task) == "TASK_STATE_SUBMITTED" && task.get("artifacts").is_none() && task.get("history").is_none(), "{task}");
        worker.run(&worker.take().await?, &["it ", "is ", "done"]).await?;
        let ended = caller.call("GetTask", json!({ "id": task["id"] })).await?;
        ensure!(state(&ended) == "TASK_STATE_COMPLETED" && texts(&ended) == "it is done", "{ended}");
        ensure!(ended["metadata"]["worker"] == name && ended["artifacts"][0]["artifactId"] == "p1", "{ended}");

        let (task, ()) = tokio::try_join!(caller.say("wait", json!({})), async {
            let given = worker.take().await?;
            ensure!(given.task.prompt == "wait", "it is given {:?}", given.task);
            worker.run(&given, &["waited"]).await.map(drop)
        })?;
        ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task) == "waited", "{task}");

        let (task, ()) = tokio::try_join!(caller.say("fail", json!({})), async {
            let given = worker.take().await?;
            let end = json!({ "error": "out of luck", "error_code": "no_luck" });
            Ok(worker.report(&given, ReportedStatus::Failed, end).await.map(drop)?)
        })?;
        ensure!(state(&task) == "TASK_STATE_FAILED" && task["status"]["message"]["parts"][0]["text"] == "out of luck", "{task}");
        ensure!(task["status"]["message"]["role"] == "ROLE_AGENT" && task["metadata"]["code"] == "no_luck", "{task}");
    }
    Ok(())
}

async fn who_answers_follows_the_machines_that_come_and_leave(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.launch().await?;
    let caller = Caller::new(&Http::new(&server), Binding::Rpc)?;
    let send = async || {
        let at_once = json!({ "message": message("Hello", json!({})), "configuration": { "returnImmediately": true } });
        anyhow::Ok(state(&caller.call("SendMessage", at_once).await?["task"]).to_owned())
    };
    for _ in 0..2 {
        for _ in 0..2 {
            ensure!(send().await? == "TASK_STATE_COMPLETED", "the server does not answer without a machine");
        }
        let other = Puller::register(server.client(), "cannot", json!({ "capabilities": [] })).await?;
        ensure!(send().await? == "TASK_STATE_COMPLETED", "a machine without OpenCode is given the message");
        let worker = Puller::register(server.client(), "comes", json!({})).await?;
        for _ in 0..2 {
            ensure!(send().await? == "TASK_STATE_SUBMITTED", "the machine is not given the message");
        }
        for id in [worker.id(), other.id()] {
            server.client().unregister(id).await?;
        }
    }
    Ok(())
}

async fn a_context_is_continued_with_and_without_a_task(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let name = format!("goes-on-{binding:?}");
        let worker = Puller::register(SERVER.get(cx).await?.client(), &name, json!({})).await?;
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at(&name);
        let begin = json!({ "message": message("one", json!({})), "configuration": { "returnImmediately": true } });
        let first = caller.call("SendMessage", begin).await?["task"].clone();
        let given = worker.take().await?;
        // A message to a task that runs is the next turn of its conversation.
        let next = json!({ "message": message("two", json!({ "taskId": first["id"] })), "configuration": { "returnImmediately": true } });
        let second = caller.call("SendMessage", next).await?["task"].clone();
        ensure!(second["id"] != first["id"] && second["contextId"] == first["contextId"], "{second}");
        worker.run(&given, &["1"]).await?;
        let given = worker.take().await?;
        ensure!(given.task.prompt == "two" && given.session_id.is_some(), "it is given {given:?}");
        worker.run(&given, &["2"]).await?;
        let (third, ()) = tokio::try_join!(caller.say("three", json!({ "contextId": first["contextId"] })), async {
            let given = worker.take().await?;
            ensure!(given.session_id.is_some(), "the session is lost");
            worker.run(&given, &["3"]).await.map(drop)
        })?;
        ensure!(third["contextId"] == first["contextId"] && texts(&third) == "3", "{third}");
        let listed = caller.call("ListTasks", json!({ "contextId": first["contextId"] })).await?;
        ensure!(listed["totalSize"] == 3, "{listed}");
        // One that the caller chooses is kept.
        let chosen = Caller::new(&ALONE.http(cx).await?, binding)?.say("x", json!({ "contextId": format!("mine-{binding:?}") })).await?;
        ensure!(chosen["contextId"] == format!("mine-{binding:?}"), "{chosen}");
    }
    Ok(())
}

async fn what_a_task_asks_is_answered_by_a_message(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let name = format!("asks-{binding:?}");
        let worker = Puller::register(SERVER.get(cx).await?.client(), &name, json!({})).await?;
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at(&name);
        let id = uuid::Uuid::now_v7();
        let note = |outcome: &str| json!({ "id": id, "request": "r", "kind": "permission", "title": "bash: rm x", "outcome": outcome, "directory": "/w", "detail": {} });
        let (asked, given) = tokio::try_join!(caller.say("remove x", json!({})), async {
            let given = worker.take().await?;
            worker.start(&given, "ses_asks").await?;
            worker.tell(&given, 0, EntryKind::Interaction, &note("open")).await?;
            Ok(given)
        })?;
        ensure!(state(&asked) == "TASK_STATE_INPUT_REQUIRED", "{asked}");
        let question = &asked["status"]["message"];
        ensure!(question["role"] == "ROLE_AGENT" && question["parts"][1]["data"]["interaction"] == json!(id), "{asked}");
        ensure!(text(&question["parts"][0], "text")?.contains("rm x"), "{asked}");
        let reply = |text: &str| json!({ "message": message(text, json!({ "taskId": asked["id"] })) });
        let unclear = caller.fault("SendMessage", reply("perhaps")).await?;
        ensure!(unclear.reason == "INVALID_PARAMS" && unclear.message.contains("always"), "{unclear:?}");
        let (ended, ()) = tokio::try_join!(caller.call("SendMessage", reply("yes")), async {
            let pulled = worker.pull(&[running(given.task.id, given.attempt)], Duration::from_secs(5)).await?;
            let answer = pulled.answers.first().context("it is not told")?;
            ensure!(answer.reply.reply == Some(Reply::Once), "it is told {answer:?}");
            let now = caller.call("GetTask", json!({ "id": asked["id"] })).await?;
            ensure!(state(&now) == "TASK_STATE_WORKING", "what is answered is asked again: {now}");
            worker.tell(&given, 1, EntryKind::Interaction, &note("applied")).await?;
            worker.report(&given, ReportedStatus::Completed, json!({ "result": "gone" })).await?;
            Ok(())
        })?;
        let ended = &ended["task"];
        ensure!(ended["id"] == asked["id"] && state(ended) == "TASK_STATE_COMPLETED", "{ended}");
        let said: Vec<_> =
            ended["history"].as_array().context("no history")?.iter().map(|m| (&m["role"], &m["parts"][0]["text"])).collect();
        ensure!(said.len() == 3 && *said[1].0 == "ROLE_AGENT" && *said[2].1 == "yes", "{said:?}");
        let newest = caller.call("GetTask", json!({ "id": asked["id"], "historyLength": 2 })).await?;
        ensure!(newest["history"].as_array().is_some_and(|all| all.len() == 2 && all[1] == ended["history"][2]), "{newest}");
    }
    Ok(())
}

async fn a_cancel_waits_for_the_word_of_the_machine(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let name = format!("stops-{binding:?}");
        let worker = Puller::register(SERVER.get(cx).await?.client(), &name, json!({})).await?;
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at(&name);
        let begin = async || -> Result<Value> {
            let send = json!({ "message": message("x", json!({})), "configuration": { "returnImmediately": true } });
            Ok(caller.call("SendMessage", send).await?["task"]["id"].clone())
        };
        let queued = begin().await?;
        let canceled = caller.call("CancelTask", json!({ "id": queued })).await?;
        ensure!(state(&canceled) == "TASK_STATE_CANCELED", "{canceled}");

        let started = begin().await?;
        let given = worker.take().await?;
        worker.start(&given, "ses_stops").await?;
        let (canceled, ()) = tokio::try_join!(caller.call("CancelTask", json!({ "id": started })), async {
            let asked = wait_for("the cancel", Duration::from_secs(10), async || {
                let pulled = worker.pull(&[running(given.task.id, given.attempt)], Duration::from_secs(5)).await?;
                Ok(pulled.cancel.into_iter().next())
            });
            asked.await?;
            Ok(worker.report(&given, ReportedStatus::Cancelled, json!({})).await.map(drop)?)
        })?;
        ensure!(state(&canceled) == "TASK_STATE_CANCELED" && canceled["metadata"]["confirmed"] == true, "{canceled}");

        // Who is first counts.
        let faster = begin().await?;
        let given = worker.take().await?;
        worker.start(&given, "ses_stops").await?;
        let (refused, ()) = tokio::try_join!(caller.fault("CancelTask", json!({ "id": faster })), async {
            Ok(worker.report(&given, ReportedStatus::Completed, json!({ "result": "done" })).await.map(drop)?)
        })?;
        ensure!(refused.reason == "TASK_NOT_CANCELABLE", "{refused:?}");
    }
    Ok(())
}

async fn webhooks_are_kept_read_and_forgotten(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let caller = Caller::new(&ALONE.http(cx).await?, binding)?;
        let webhook =
            json!({ "url": "https://hooks.invalid/hook", "token": "t", "authentication": { "scheme": "Bearer", "credentials": "c" } });
        let send = json!({ "message": message("x", json!({})), "configuration": { "taskPushNotificationConfig": webhook } });
        let task = caller.call("SendMessage", send).await?["task"]["id"].clone();
        let listed = caller.call("ListTaskPushNotificationConfigs", json!({ "taskId": task })).await?;
        let first = &listed["configs"][0];
        ensure!(
            first["url"] == webhook["url"] && first["authentication"] == webhook["authentication"] && first["taskId"] == task,
            "{listed}"
        );
        ensure!(first["id"].as_str().is_some_and(|id| !id.is_empty()), "{listed}");

        let own = json!({ "taskId": task, "id": "own", "url": "http://hooks.invalid/1" });
        ensure!(caller.call("CreateTaskPushNotificationConfig", own.clone()).await? == own, "it is answered otherwise than it was sent");
        let changed = json!({ "taskId": task, "id": "own", "url": "http://hooks.invalid/2" });
        caller.call("CreateTaskPushNotificationConfig", changed.clone()).await?;
        let read = caller.call("GetTaskPushNotificationConfig", json!({ "taskId": task, "id": "own" })).await?;
        ensure!(read == changed, "{read}");
        let page = caller.call("ListTaskPushNotificationConfigs", json!({ "taskId": task, "pageSize": 1 })).await?;
        let token = text(&page, "nextPageToken")?;
        let rest = caller.call("ListTaskPushNotificationConfigs", json!({ "taskId": task, "pageToken": token })).await?;
        ensure!(rest["configs"].as_array().is_some_and(|all| all.len() == 1) && rest.get("nextPageToken").is_none(), "{rest}");
        for _ in 0..2 {
            let gone = caller.call("DeleteTaskPushNotificationConfig", json!({ "taskId": task, "id": "own" })).await?;
            ensure!(gone == json!({}), "{gone}");
        }
        let refused = caller.fault("GetTaskPushNotificationConfig", json!({ "taskId": task, "id": "own" })).await?;
        ensure!(refused.reason == "TASK_NOT_FOUND", "{refused:?}");
        for wrong in [
            json!({ "url": "ftp://x" }),
            json!({ "url": "" }),
            json!({ "url": "http://x", "id": "a b" }),
            json!({ "url": "http://u:p@x" }),
            json!({}),
        ] {
            let mut config = wrong.clone();
            config["taskId"] = task.clone();
            if !caller.can_say("CreateTaskPushNotificationConfig", &config).await {
                continue;
            }
            let refused = caller.fault("CreateTaskPushNotificationConfig", config).await?;
            ensure!(refused.reason == "INVALID_PARAMS", "{wrong}: {refused:?}");
        }
        for n in 0..31 {
            let one = json!({ "taskId": task, "id": format!("n{n}"), "url": "https://hooks.invalid" });
            caller.call("CreateTaskPushNotificationConfig", one).await?;
        }
        let refused = caller.fault("CreateTaskPushNotificationConfig", own).await?;
        ensure!(refused.reason == "INVALID_PARAMS" && refused.message.contains("32"), "{refused:?}");
    }
    Ok(())
}

async fn what_is_kept_survives_a_restart(cx: &Cx) -> Result<()> {
    let config = cx.dir().join("server.toml");
    std::fs::write(&config, "[a2a]\npush_notifications = true\n")?;
    let mut server = Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    let caller = Caller::new(&Http::new(&server), Binding::Rpc)?;
    let task = caller.say("remember", json!({})).await?;
    let webhook = json!({ "taskId": task["id"], "id": "w", "url": "https://hooks.invalid" });
    caller.call("CreateTaskPushNotificationConfig", webhook.clone()).await?;
    server.kill().await?;
    server.restart().await?;
    ensure!(caller.call("GetTask", json!({ "id": task["id"] })).await? == task, "it is another task now");
    let read = caller.call("GetTaskPushNotificationConfig", json!({ "taskId": task["id"], "id": "w" })).await?;
    ensure!(read == webhook, "{read}");
    Ok(())
}

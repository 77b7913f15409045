//! A real OpenCode behind an agent: a stock A2A client sends, streams, subscribes, cancels, goes on, and answers what is asked.

use super::caller::{BINDINGS, Binding, Caller, message, state, texts};
use crate::support::{Cx, Fleet, Http, cases, items, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

cases! {
    [Opencode, Python] =>
        a_message_is_answered_by_the_model,
        a_stream_tells_the_words_of_the_model_and_the_files_it_changed within 240,
        a_run_is_followed_and_canceled within 240,
        a_conversation_remembers_what_was_said within 240,
        a_permission_is_given_by_a_message;
}

fn at_worker(fleet: &Fleet, binding: Binding) -> Result<Caller> {
    Ok(Caller::new(&Http::new(&fleet.server), binding)?.at(fleet.worker()))
}

async fn a_message_is_answered_by_the_model(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    for binding in BINDINGS {
        let task = at_worker(fleet, binding)?.say("hello from A2A", json!({})).await?;
        ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task) == "echo: hello from A2A", "{task}");
        ensure!(text(&task["metadata"], "session")?.starts_with("ses_") && task["metadata"]["usage"].is_object(), "{task}");
    }
    Ok(())
}

async fn a_stream_tells_the_words_of_the_model_and_the_files_it_changed(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    for binding in BINDINGS {
        let place = fleet.place()?;
        let chosen = json!({ "metadata": { "codebase": place.name, "model": "fake/echo", "mode": "build" } });
        let send = json!({ "message": message("!write made.txt by-a2a", chosen) });
        let events = at_worker(fleet, binding)?.stream("SendStreamingMessage", send, None).await?.rest().await?;
        let written = std::fs::read_to_string(place.path.join("made.txt")).context("it wrote nothing")?;
        ensure!(written.contains("by-a2a"), "it wrote {written}");
        let of = |kind: &str| events.iter().map(|(_, event)| event[kind].clone()).filter(Value::is_object).collect::<Vec<_>>();
        let updates = of("statusUpdate");
        ensure!(updates.iter().any(|update| update["metadata"]["tool"]["tool"] == "write"), "no tool is told: {updates:?}");
        ensure!(updates.last().is_some_and(|last| state(last) == "TASK_STATE_COMPLETED"), "{updates:?}");
        let artifacts = of("artifactUpdate");
        let said: String = artifacts.iter().filter_map(|a| a["artifact"]["parts"][0]["text"].as_str()).collect();
        ensure!(said.contains("tool said:"), "it says {said}");
        let file = artifacts.iter().find(|a| a["artifact"]["name"] == "made.txt").context("the file is not told")?;
        ensure!(file["artifact"]["parts"][0]["filename"] == "made.txt", "{file}");
        // What was streamed is what is read.
        let id = &of("task")[0]["id"];
        let task = at_worker(fleet, binding)?.call("GetTask", json!({ "id": id })).await?;
        ensure!(texts(&task) == said, "{task}");
        ensure!(task["metadata"]["codebase"].is_string() && task["metadata"]["model"] == "fake/echo", "{task}");
    }
    Ok(())
}

async fn a_run_is_followed_and_canceled(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    for binding in BINDINGS {
        let caller = at_worker(fleet, binding)?;
        let send = json!({ "message": message("!slow 603 100", json!({})), "configuration": { "returnImmediately": true } });
        let task = caller.call("SendMessage", send).await?["task"].clone();
        let mut follower = caller.stream("SubscribeToTask", json!({ "id": task["id"] }), None).await?;
        let mut pieces = 0;
        while pieces < 3 {
            pieces += usize::from(follower.expect().await?.1["artifactUpdate"].is_object());
        }
        let canceled = caller.call("CancelTask", json!({ "id": task["id"] })).await?;
        ensure!(state(&canceled) == "TASK_STATE_CANCELED" && canceled["metadata"]["confirmed"] == true, "{canceled}");
        let told = follower.rest().await?;
        ensure!(told.last().is_some_and(|(_, last)| state(&last["statusUpdate"]) == "TASK_STATE_CANCELED"), "{told:?}");
    }
    Ok(())
}

async fn a_conversation_remembers_what_was_said(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    for (binding, word) in [(Binding::Rpc, "persimmon"), (Binding::Rest, "medlar"), (Binding::Grpc, "quince")] {
        let caller = at_worker(fleet, binding)?;
        let first = caller.say(&format!("the word is {word}"), json!({})).await?;
        let asks = format!("what was said of {word}");
        let second = caller.say(&asks, json!({ "contextId": first["contextId"] })).await?;
        ensure!(second["metadata"]["session"] == first["metadata"]["session"] && second["id"] != first["id"], "{second}");
        let requests = fleet.llm.requests_with(&asks)?;
        let remembered = requests.iter().all(|request| request.says("user", &format!("the word is {word}")));
        ensure!(!requests.is_empty() && remembered, "the first turn is forgotten");
        // The third turn asks something, and the answer is a message to its task.
        let third = caller.say(&format!("!bash ask-me {word} || echo went-on"), json!({ "contextId": first["contextId"] })).await?;
        ensure!(state(&third) == "TASK_STATE_INPUT_REQUIRED" && third["contextId"] == first["contextId"], "{third}");
        let ended = caller.say("yes", json!({ "taskId": third["id"], "contextId": first["contextId"] })).await?;
        ensure!(ended["id"] == third["id"] && state(&ended) == "TASK_STATE_COMPLETED" && texts(&ended).contains("went-on"), "{ended}");
        ensure!(ended["metadata"]["session"] == first["metadata"]["session"], "{ended}");
        let listed = caller.call("ListTasks", json!({ "contextId": first["contextId"] })).await?;
        ensure!(listed["totalSize"] == 3, "{listed}");
    }
    Ok(())
}

async fn a_permission_is_given_by_a_message(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    for binding in BINDINGS {
        let caller = at_worker(fleet, binding)?;
        let asked = caller.say(&format!("!bash ask-me {binding:?} || echo permitted-it"), json!({})).await?;
        ensure!(state(&asked) == "TASK_STATE_INPUT_REQUIRED", "{asked}");
        let question = text(&asked["status"]["message"]["parts"][0], "text")?;
        ensure!(question.contains("ask-me") && question.contains("always or no"), "it asks {question}");
        let ended = caller.say("yes", json!({ "taskId": asked["id"] })).await?;
        ensure!(ended["id"] == asked["id"] && state(&ended) == "TASK_STATE_COMPLETED", "{ended}");
        ensure!(texts(&ended).contains("permitted-it"), "{ended}");
        let roles: Vec<&Value> = items(&ended["history"])?.iter().map(|message| &message["role"]).collect();
        ensure!(roles == ["ROLE_USER", "ROLE_AGENT", "ROLE_USER"], "{roles:?}");
    }
    Ok(())
}

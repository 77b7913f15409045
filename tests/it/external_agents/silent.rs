//! Agents that take messages and answer none, and messages that cannot be delivered yet.

use super::cards::CardServer;
use super::relayed::{Pair, task_when};
use super::{LIMIT, add, near_as};
use crate::a2a::caller::{Binding, Caller, message, state, texts};
use crate::support::{Cx, Http, Server, cases, text, wait_for};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        a_cancel_of_what_its_agent_has_not_named_ends_unconfirmed_after_a_lease,
        a_cancel_is_told_to_an_agent_that_says_nothing_to_an_answer,
        an_agent_that_says_nothing_is_given_up_in_the_end,
        a_server_that_stops_does_not_wait_for_an_agent_that_says_nothing,
        a_message_that_could_not_be_delivered_is_sent_after_a_restart;
}

/// A server and a silent agent of it, one that streams or does not. A lease is of three seconds.
async fn with_silent(cx: &Cx, name: &str, streams: bool, answer: &str) -> Result<(Server, CardServer, Caller)> {
    let config = cx.dir().join(format!("{name}.toml"));
    let settings = format!("[leases]\nlease = \"3s\"\nwait = \"1s\"\n[a2a]\nagent_answer = \"{answer}\"\n");
    std::fs::write(&config, format!("name = \"Near\"\n{settings}"))?;
    let (near, cards) = (near_as(cx, name, config, |server| server).await?, CardServer::start().await?);
    let mut card = cards.card("Silent", "JSONRPC", "1.0");
    card["capabilities"]["streaming"] = json!(streams);
    cards.put(card);
    add(&near, json!({ "url": cards.url() })).await?;
    cards.fall_silent();
    let caller = Caller::new(&Http::new(&near), Binding::Rpc)?.at("Silent");
    Ok((near, cards, caller))
}

/// A task that the agent has taken without a word.
async fn begin(caller: &Caller, cards: &CardServer) -> Result<Value> {
    let send = json!({ "message": message("x", json!({})), "configuration": { "returnImmediately": true } });
    let task = caller.call("SendMessage", send).await?["task"].clone();
    waiting(cards, 1).await?;
    Ok(task)
}

async fn waiting(cards: &CardServer, callers: usize) -> Result<()> {
    wait_for("the agent to keep callers waiting", LIMIT, async || Ok((cards.keeps_waiting() == callers).then_some(()))).await
}

async fn a_cancel_of_what_its_agent_has_not_named_ends_unconfirmed_after_a_lease(cx: &Cx) -> Result<()> {
    for streams in [false, true] {
        let (_near, cards, caller) = with_silent(cx, &format!("near-{streams}"), streams, "30m").await?;
        let task = begin(&caller, &cards).await?;
        caller.call("CancelTask", json!({ "id": task["id"] })).await?;
        let ended = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_CANCELED").await?;
        ensure!(ended["metadata"]["confirmed"] == false, "{ended}");
        waiting(&cards, 0).await?;
    }
    Ok(())
}

async fn a_cancel_is_told_to_an_agent_that_says_nothing_to_an_answer(cx: &Cx) -> Result<()> {
    let (_near, cards, caller) = with_silent(cx, "near", false, "30m").await?;
    cards.ask();
    let asks = caller.say("x", json!({})).await?;
    ensure!(state(&asks) == "TASK_STATE_INPUT_REQUIRED", "{asks}");
    let answer = json!({ "message": message("blue", json!({ "taskId": asks["id"] })), "configuration": { "returnImmediately": true } });
    caller.call("SendMessage", answer).await?;
    waiting(&cards, 1).await?;
    caller.call("CancelTask", json!({ "id": asks["id"] })).await?;
    let ended = task_when(&caller, &asks["id"], "the end", |task| state(task) == "TASK_STATE_CANCELED").await?;
    ensure!(ended["metadata"]["confirmed"] == true, "{ended}");
    waiting(&cards, 0).await
}

async fn an_agent_that_says_nothing_is_given_up_in_the_end(cx: &Cx) -> Result<()> {
    for streams in [false, true] {
        let (_near, cards, caller) = with_silent(cx, &format!("near-{streams}"), streams, "4s").await?;
        let task = begin(&caller, &cards).await?;
        let ended = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_FAILED").await?;
        ensure!(ended["metadata"]["code"] == "agent_lost" && cards.asked() == 1, "{ended}");
        ensure!(text(&ended["status"]["message"]["parts"][0], "text")?.contains("not known"), "{ended}");
        waiting(&cards, 0).await?;
    }
    Ok(())
}

async fn a_server_that_stops_does_not_wait_for_an_agent_that_says_nothing(cx: &Cx) -> Result<()> {
    for (streams, cancels) in [(false, false), (true, false), (false, true)] {
        let (mut near, cards, caller) = with_silent(cx, &format!("near-{streams}-{cancels}"), streams, "30m").await?;
        let task = begin(&caller, &cards).await?;
        if cancels {
            Http::new(&near).post(&format!("/v1/opencode/tasks/{}/cancel", text(&task, "id")?), &json!({})).await?.ok()?;
        }
        ensure!(near.stop().await?.success() && !near.log().contains("did not end within"), "it waits: {}", near.log());
        near.restart().await?;
        let caller = Caller::new(&Http::new(&near), Binding::Rpc)?.at("Silent");
        let wanted = if cancels { "TASK_STATE_CANCELED" } else { "TASK_STATE_FAILED" };
        let ended = task_when(&caller, &task["id"], "the end", |task| state(task) == wanted).await?;
        if cancels {
            ensure!(ended["metadata"]["confirmed"] == false, "{ended}");
        } else {
            ensure!(ended["metadata"]["code"] == "agent_lost", "{ended}");
        }
        ensure!(cards.asked() == 1, "it was sent {} times", cards.asked());
    }
    Ok(())
}

async fn a_message_that_could_not_be_delivered_is_sent_after_a_restart(cx: &Cx) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    let caller = pair.caller(Binding::Rpc)?;
    pair.far.stop().await?;
    let send = json!({ "message": message("late", json!({})), "configuration": { "returnImmediately": true } });
    let task = caller.call("SendMessage", send).await?["task"].clone();
    task_when(&caller, &task["id"], "it to be taken", |task| state(task) == "TASK_STATE_WORKING").await?;
    pair.near.stop().await?;
    pair.near.restart().await?;
    let shown = caller.call("GetTask", json!({ "id": task["id"] })).await?;
    ensure!(state(&shown) == "TASK_STATE_WORKING", "{shown}");
    pair.far.restart().await?;
    let given = pair.machine.take().await?;
    pair.machine.start(&given, "ses_late").await?;
    pair.machine.append(&given, 0, &["at last"]).await?;
    pair.end(&given, "at last").await?;
    let ended = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_COMPLETED").await?;
    ensure!(texts(&ended) == "at last", "{ended}");
    let read = pair.near.get(&format!("/v1/opencode/tasks/{}", text(&task, "id")?)).await?;
    ensure!(read["attempt"] == 1, "{read}");
    Ok(())
}

//! Agents made with the official SDKs, as servers: the whole round goes through this server to them.

use super::relayed::task_when;
use super::{add, near};
use crate::a2a::caller::{Binding, Caller, message, state, texts};
use crate::support::{Cx, Http, cases};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

cases! {
    [A2aSdk] =>
        an_agent_of_the_official_sdk_of_1_0_is_spoken_to_in_json_rpc,
        an_agent_of_the_official_sdk_of_1_0_is_spoken_to_in_http_json,
        an_agent_of_the_official_sdk_of_0_3_is_spoken_to,
        an_agent_of_the_official_sdk_of_1_0_that_does_not_stream_is_asked,
        an_agent_of_the_official_sdk_of_0_3_that_does_not_stream_is_asked;
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// An agent of an SDK's, and its port.
async fn agent(version: &str, about: &[&str]) -> Result<(Child, u16)> {
    let mut agent = Command::new(Path::new(ROOT).join(format!("build/a2a/{version}/bin/python")));
    agent.arg(Path::new(ROOT).join(format!("tests/support/a2a_agent_{version}.py"))).args(about);
    let mut running = agent.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut said = BufReader::new(running.stdout.take().context("no output")?).lines();
    let port = said.next_line().await?.context("it does not say its port")?.parse()?;
    Ok((running, port))
}

async fn the_whole_round(cx: &Cx, version: &str, about: &[&str], speaks: &str) -> Result<()> {
    let (near, (_running, port)) = (near(cx).await?, agent(version, about).await?);
    let added = add(&near, json!({ "url": format!("http://127.0.0.1:{port}") })).await?;
    ensure!(added["speaks"] == speaks && added["name"] == "Official", "{added}");
    let caller = Caller::new(&Http::new(&near), Binding::Rpc)?.at("Official");
    let card = caller.call("GetExtendedAgentCard", json!({})).await?;
    ensure!(card["description"] == "Says more to those who are known", "{card}");

    let said = caller.stream("SendStreamingMessage", json!({ "message": message("say one two three", json!({})) }), None).await?;
    let events: Vec<Value> = said.rest().await?.into_iter().map(|(_, event)| event).collect();
    let pieces = events.iter().filter_map(|event| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str());
    ensure!(pieces.collect::<String>() == "one two three ", "{events:#?}");
    let last = &events.last().context("it says nothing")?["statusUpdate"];
    ensure!(state(last) == "TASK_STATE_COMPLETED", "{events:#?}");

    let sent = caller.say("say it again", json!({})).await?;
    ensure!(state(&sent) == "TASK_STATE_COMPLETED" && texts(&sent) == "it again ", "{sent}");

    let asks = caller.say("ask", json!({})).await?;
    ensure!(state(&asks) == "TASK_STATE_INPUT_REQUIRED", "{asks}");
    ensure!(asks["status"]["message"]["parts"][0]["text"].as_str().is_some_and(|said| said.contains("Which one?")), "{asks}");
    let answered = caller.say("blue", json!({ "taskId": asks["id"], "contextId": asks["contextId"] })).await?;
    ensure!(state(&answered) == "TASK_STATE_COMPLETED" && texts(&answered) == "you chose blue", "{answered}");

    let open = json!({ "message": message("wait", json!({})), "configuration": { "returnImmediately": true } });
    let waits = caller.call("SendMessage", open).await?["task"].clone();
    // Canceled before or after the agent has named its task: it is told as soon as it has.
    caller.call("CancelTask", json!({ "id": waits["id"] })).await?;
    let ended = task_when(&caller, &waits["id"], "the end", |task| state(task) == "TASK_STATE_CANCELED").await?;
    ensure!(ended["metadata"]["confirmed"] == true, "{ended}");
    Ok(())
}

async fn an_agent_of_the_official_sdk_of_1_0_is_spoken_to_in_json_rpc(cx: &Cx) -> Result<()> {
    the_whole_round(cx, "v1", &["JSONRPC"], "JSONRPC 1.0").await
}

async fn an_agent_of_the_official_sdk_of_1_0_is_spoken_to_in_http_json(cx: &Cx) -> Result<()> {
    the_whole_round(cx, "v1", &["HTTP+JSON"], "HTTP+JSON 1.0").await
}

async fn an_agent_of_the_official_sdk_of_0_3_is_spoken_to(cx: &Cx) -> Result<()> {
    the_whole_round(cx, "v03", &["JSONRPC"], "JSONRPC 0.3").await
}

async fn an_agent_of_the_official_sdk_of_1_0_that_does_not_stream_is_asked(cx: &Cx) -> Result<()> {
    the_whole_round(cx, "v1", &["JSONRPC", "silent"], "JSONRPC 1.0").await
}

async fn an_agent_of_the_official_sdk_of_0_3_that_does_not_stream_is_asked(cx: &Cx) -> Result<()> {
    the_whole_round(cx, "v03", &["JSONRPC", "silent"], "JSONRPC 0.3").await
}

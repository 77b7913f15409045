//! Messages that go in circles end.

use super::trio::{at, begin, ended, pair, until_listed};
use crate::a2a::caller::{Binding, Caller, message};
use crate::support::{Cx, Http, Server, cases, text};
use anyhow::{Result, ensure};
use serde_json::json;

cases! {
    [] =>
        a_message_that_came_through_too_many_servers_is_refused,
        agents_that_point_at_each_other_end;
}

async fn a_message_that_came_through_too_many_servers_is_refused(cx: &Cx) -> Result<()> {
    let (a, _b) = pair(cx).await?;
    until_listed(&a, "Worker-A-Server-B").await?;
    let caller = Caller::new(&Http::new(&a), Binding::Rpc)?;
    let fault = caller.fault("SendMessage", json!({ "message": message("hello", json!({ "metadata": { "hops": 9 } })) })).await?;
    ensure!(format!("{fault:?}").contains("more than 8 servers"), "{fault:?}");
    // The next one refuses what this one still takes.
    let task = begin(&at(&a, Binding::Rpc, "Worker-A-Server-B")?, "hello", json!({ "metadata": { "hops": 8 } })).await?;
    let failed = ended(&a, text(&task, "id")?).await?;
    ensure!(failed["state"] == "failed" && text(&failed, "error")?.contains("more than 8 servers"), "{failed}");
    Ok(())
}

async fn agents_that_point_at_each_other_end(cx: &Cx) -> Result<()> {
    let start = async |name: &str| Server::new(cx.dir(), name)?.with_args(["--name", name]).launch().await;
    let (a, b) = (start("Server-A").await?, start("Server-B").await?);
    // Each has an agent that is the other one's agent of the same name.
    a.post("/v1/agents", &json!({ "url": b.path_url("/agents/monitor"), "name": "echo" })).await?;
    b.post("/v1/agents", &json!({ "url": a.path_url("/agents/echo"), "name": "echo" })).await?;
    a.spoil("UPDATE agents SET card = replace(card, '/agents/Monitor-Server-B', '/agents/echo')").await?;
    let task = begin(&at(&a, Binding::Rpc, "echo")?, "is there anybody", json!({})).await?;
    let failed = ended(&a, text(&task, "id")?).await?;
    ensure!(failed["state"] == "failed" && text(&failed, "error")?.contains("more than 8 servers"), "{failed}");
    let rounds = super::trio::tasks(&a).await?.len() + super::trio::tasks(&b).await?.len();
    ensure!(rounds == 9, "it went round {rounds} times");
    Ok(())
}

//! The agents of all servers in the directory of each.

use super::net::{DOWN, LIMIT, SLACK, star};
use crate::support::{Cx, Puller, Server, cases, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        each_directory_has_the_agents_of_all_servers,
        agents_of_a_dead_server_are_marked_and_not_dropped;
}

async fn entry(server: &Server, is_it: impl Fn(&Value) -> bool) -> Result<Option<Value>> {
    let agents = server.get("/v1/agents").await?;
    Ok(agents.as_array().context("a list")?.iter().find(|agent| is_it(agent)).cloned())
}

async fn until_entry(server: &Server, what: &str, limit: Duration, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
    let waited = wait_for(what, limit, async || entry(server, &is_it).await).await;
    match waited {
        Ok(found) => Ok(found),
        Err(error) => Err(error.context(format!("{} lists {:#}", server.name(), server.get("/v1/agents").await?))),
    }
}

async fn each_directory_has_the_agents_of_all_servers(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B", "C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    for server in [a, b, c] {
        for of in [a, b, c] {
            let name = format!("Coordinator-{}", of.name());
            let found = until_entry(server, &name, LIMIT, |agent| agent["name"] == name.as_str()).await?;
            ensure!(found["home"] == of.name() && found["health"]["state"] == "up", "{} lists {found}", server.name());
        }
    }
    let more = json!({ "slots": 3, "capabilities": ["opencode", "gpu"] });
    let machine = Puller::register(b.client(), "builder", more).await?;
    let is_builder = |agent: &Value| agent["name"].as_str().is_some_and(|name| name.contains("builder"));
    let found = until_entry(c, "the machine of B", LIMIT, is_builder).await?;
    ensure!(found["home"] == "B" && found["machine"]["models"] == json!(["fake/echo"]), "{found}");
    ensure!(found["machine"]["slots"] == 3 && found["machine"]["free"] == 3, "{found}");
    ensure!(found["machine"]["capabilities"].as_array().is_some_and(|all| all.contains(&json!("gpu"))), "{found}");
    // What it does is seen elsewhere too.
    let task = crate::support::on_worker("builder", "something");
    b.client().submit(&task, None).await?;
    let assignment = machine.take().await?;
    machine.start(&assignment, "ses_1").await?;
    until_entry(c, "a slot to be taken", LIMIT, |agent| is_builder(agent) && agent["machine"]["free"] == 2).await?;
    let peers = c.client().peers().await?;
    ensure!(peers.iter().any(|peer| peer.name == "B" && peer.free_slots == 2), "{peers:?}");
    Ok(())
}

async fn agents_of_a_dead_server_are_marked_and_not_dropped(cx: &Cx) -> Result<()> {
    let mut servers = star(cx, &["A", "B"]).await?;
    let (mut b, a) = (servers.pop().context("two")?, servers.pop().context("one")?);
    let is_it = |agent: &Value, state: &str| agent["name"] == "Coordinator-B" && agent["health"]["state"] == state;
    until_entry(&a, "an agent of B", LIMIT, |agent| is_it(agent, "up")).await?;
    b.kill().await?;
    let down = until_entry(&a, "it to be marked", DOWN + SLACK, |agent| is_it(agent, "down")).await?;
    ensure!(down["health"]["reason"].is_string(), "no reason: {down}");
    b.restart().await?;
    until_entry(&a, "it to be there again", LIMIT, |agent| is_it(agent, "up")).await.map(drop)
}

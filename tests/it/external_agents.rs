//! Agents of others: added by their cards, looked at, listed, and given messages; another server of Muster's and small servers play them.

mod cards;
mod extended;
mod relayed;
mod sdk;
mod silent;
mod tls;

use crate::a2a::caller::{BINDINGS, Binding, Caller, state, texts};
use crate::support::{Case, Cx, Http, Puller, Server, cases, text, wait_for};
use anyhow::{Context, Result, ensure};
use cards::{CardServer, card_at};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) fn all() -> Vec<Case> {
    cases()
        .into_iter()
        .chain(relayed::cases())
        .chain(extended::cases())
        .chain(silent::cases())
        .chain(tls::cases())
        .chain(sdk::cases())
        .collect()
}

cases! {
    [] =>
        an_agent_that_was_added_is_listed_and_answers_until_it_is_removed,
        a_card_that_lies_is_refused_with_everything_that_is_wrong,
        an_agent_that_goes_away_is_shown_so_and_comes_back,
        a_card_that_becomes_another_ones_is_not_believed,
        names_are_made_to_fit_and_told_apart,
        agents_that_are_added_at_once_get_names_of_their_own,
        the_proxy_of_the_environment_is_for_other_machines,
        a_credential_is_kept_sent_and_never_shown,
        the_command_line_adds_lists_and_removes_agents,
        only_operators_add_and_remove_agents;
}

const LIMIT: Duration = Duration::from_secs(30);

/// A server that looks at agents often.
async fn near(cx: &Cx) -> Result<Server> {
    near_with(cx, |server| server).await
}

/// The same, with something of its own.
async fn near_with(cx: &Cx, change: impl FnOnce(Server) -> Server) -> Result<Server> {
    let config = cx.dir().join("near.toml");
    std::fs::write(&config, "name = \"Near\"\n[a2a]\nagent_check = \"1s\"\n")?;
    near_as(cx, "near", config, change).await
}

async fn near_as(cx: &Cx, name: &str, config: PathBuf, change: impl FnOnce(Server) -> Server) -> Result<Server> {
    change(Server::new(cx.dir(), name)?.with_args(["--config".into(), config.into_os_string()])).launch().await
}

/// A server that plays the agent of somebody else.
async fn far(cx: &Cx, settings: &str) -> Result<Server> {
    let config = cx.dir().join("far.toml");
    std::fs::write(&config, format!("name = \"Far\"\n{settings}"))?;
    Server::new(cx.dir(), "far")?.with_args(["--config".into(), config.into_os_string()]).launch().await
}

async fn add(near: &Server, body: Value) -> Result<Value> {
    Http::new(near).post("/v1/agents", &body).await?.ok()
}

/// An agent as the directory lists it.
async fn listed(near: &Server, name: &str) -> Result<Option<Value>> {
    let agents = near.get("/v1/agents").await?;
    Ok(agents.as_array().context("no list")?.iter().find(|agent| agent["name"] == name).cloned())
}

async fn wait_for_health(near: &Server, name: &str, wanted: &str) -> Result<Value> {
    wait_for(&format!("{name} to be {wanted}"), LIMIT, async || {
        let agent = listed(near, name).await?.context("it is not listed any more")?;
        Ok((agent["health"]["state"] == wanted).then(|| agent["health"].clone()))
    })
    .await
}

async fn an_agent_that_was_added_is_listed_and_answers_until_it_is_removed(cx: &Cx) -> Result<()> {
    let (near, far) = (near(cx).await?, far(cx, "").await?);
    let added = add(&near, json!({ "url": far.path_url("/agents/Worker-A-Far") })).await?;
    ensure!(added["name"] == "Worker-A-Far" && added["kind"] == "external" && added["speaks"] == "JSONRPC 1.0", "{added}");
    ensure!(added["card"]["name"] == "Worker-A-Far" && added["health"]["state"] == "up", "{added}");
    // The same again is the same agent.
    add(&near, json!({ "url": far.path_url("/agents/Worker-A-Far") })).await?;
    let agents = near.get("/v1/agents").await?;
    let names: Vec<_> = agents.as_array().context("no list")?.iter().filter_map(|agent| agent["name"].as_str()).collect();
    ensure!(names == ["Coordinator-Near", "Worker-A-Near", "Worker-B-Near", "Monitor-Near", "Worker-A-Far"], "{names:?}");
    let card = near.get("/agents/Worker-A-Far/.well-known/agent-card.json").await?;
    ensure!(text(&card, "url")?.starts_with(&near.url()) && card["skills"][0]["name"] == "Worker-A-Far", "{card}");
    for binding in BINDINGS {
        let caller = Caller::new(&Http::new(&near), binding)?.at("Worker-A-Far");
        let task = caller.say("1 2 3", json!({})).await?;
        ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task).contains("sum 6"), "{task}");
        ensure!(task["metadata"]["worker"] == "agents/Worker-A-Far", "{task}");
        ensure!(caller.call("ListTasks", json!({})).await?["totalSize"].as_u64() > Some(0), "its tasks are not listed");
    }
    // The earlier form of a message, and 0.3, go there too.
    let old = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": { "parts": [{ "type": "text", "content": "4 5" }],
        "metadata": { "agent": "Worker-A-Far" } } } });
    let answer = near.post("/", &old).await?;
    ensure!(answer.to_string().contains("sum 9"), "{answer}");
    let http = Http::new(&near);
    http.delete("/v1/agents/Worker-A-Far").await?.ok()?;
    http.delete("/v1/agents/Worker-A-Far").await?.refused(404, "not_found")?;
    http.get("/agents/Worker-A-Far/.well-known/agent-card.json").await?.refused(404, "not_found")?;
    let events = near.get("/v1/events").await?.to_string();
    ensure!(events.contains("agent.added") && events.contains("agent.removed"), "{events}");
    Ok(())
}

async fn a_card_that_lies_is_refused_with_everything_that_is_wrong(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    let http = Http::new(&near);
    let refusal = async |url: String| -> Result<String> {
        let refused = http.post("/v1/agents", &json!({ "url": url })).await?.refused(422, "invalid")?;
        Ok(refused["message"].as_str().unwrap_or_default().to_owned())
    };
    let fits = |said: &str, what: &str| -> Result<()> {
        ensure!(said.contains(what), "`{what}` is not said: {said}");
        Ok(())
    };
    fits(&refusal(cards.url()).await?, "there is no agent card at")?;
    let good = cards.card("Liar", "JSONRPC", "1.0");
    let mut wrong = good.clone();
    wrong["name"] = json!("");
    wrong["skills"] = json!("many");
    cards.put(wrong);
    let said = refusal(cards.url()).await?;
    fits(&said, "`name` is empty")?;
    fits(&said, "`skills` must be a list")?;
    let mut elsewhere = good.clone();
    elsewhere["supportedInterfaces"][0]["url"] = json!("http://192.0.2.1/");
    cards.put(elsewhere.clone());
    fits(&refusal(cards.url()).await?, "another place (http://192.0.2.1)")?;
    http.post("/v1/agents", &json!({ "url": cards.url(), "name": "elsewhere", "other_host": true })).await?.ok()?;
    http.delete("/v1/agents/elsewhere").await?.ok()?;
    cards.put(cards.card("Liar", "GRPC", "1.0"));
    fits(&refusal(cards.url()).await?, "it offers GRPC 1.0")?;
    cards.put(cards.card("Liar", "JSONRPC", "9.9"));
    fits(&refusal(cards.url()).await?, "it offers JSONRPC 9.9")?;
    cards.put(json!([1]));
    fits(&refusal(cards.url()).await?, "no object")?;
    cards.put(json!({ "name": "x".repeat(600 << 10) }));
    fits(&refusal(cards.url()).await?, "more than 512 KiB")?;
    cards.redirect("http://192.0.2.1/card");
    fits(&refusal(cards.url()).await?, "redirects to http://192.0.2.1/card, which is not followed")?;
    fits(&refusal("ftp://x".to_owned()).await?, "must begin with http")?;
    fits(&refusal("http://u:p@localhost/".to_owned()).await?, "must not hold a credential")?;
    Ok(())
}

async fn an_agent_that_goes_away_is_shown_so_and_comes_back(cx: &Cx) -> Result<()> {
    let (near, mut far) = (near(cx).await?, far(cx, "").await?);
    add(&near, json!({ "url": far.url(), "name": "far" })).await?;
    far.stop().await?;
    // A look that was under way may have been cut short, for another reason.
    let down = wait_for("it to be out of reach", LIMIT, async || {
        let health = wait_for_health(&near, "far", "down").await?;
        Ok(text(&health, "reason")?.contains("cannot reach the agent").then_some(health))
    })
    .await?;
    ensure!(down["since"].is_string(), "{down}");
    far.restart().await?;
    let up = wait_for_health(&near, "far", "up").await?;
    ensure!(up["reason"].is_null() && up["since"] != down["since"], "{up}");
    let events = near.get("/v1/events").await?.to_string();
    ensure!(events.contains("agent.down") && events.contains("agent.up"), "{events}");
    Ok(())
}

async fn a_card_that_becomes_another_ones_is_not_believed(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    cards.put(cards.card("Planner", "JSONRPC", "0.3"));
    add(&near, json!({ "url": cards.url() })).await?;
    // A newer version of the same agent is taken in.
    let mut newer = cards.card("Planner", "JSONRPC", "0.3");
    newer["description"] = json!("Plans better");
    cards.put(newer);
    wait_for("the newer card", LIMIT, async || {
        let agent = listed(&near, "Planner").await?.context("it is not listed")?;
        Ok((agent["description"] == "Plans better").then_some(()))
    })
    .await?;
    cards.put(cards.card("Impostor", "JSONRPC", "0.3"));
    let down = wait_for_health(&near, "Planner", "down").await?;
    ensure!(text(&down, "reason")?.contains("`Impostor`, and was that of `Planner`; add it again"), "{down}");
    let asked_before = cards.asked();
    let task = Caller::new(&Http::new(&near), Binding::Rpc)?.at("Planner").say("secret plans", json!({})).await?;
    ensure!(state(&task) == "TASK_STATE_FAILED" && task["metadata"]["code"] == "agent_changed", "{task}");
    ensure!(cards.asked() == asked_before, "the impostor was given the message");
    // Whoever means it adds it again.
    let again = add(&near, json!({ "url": cards.url() })).await?;
    ensure!(again["name"] == "Planner" && again["card"]["name"] == "Impostor" && again["health"]["state"] == "up", "{again}");
    Ok(())
}

async fn names_are_made_to_fit_and_told_apart(cx: &Cx) -> Result<()> {
    let near = near(cx).await?;
    let (one, other) = (CardServer::start().await?, CardServer::start().await?);
    for cards in [&one, &other] {
        cards.put(cards.card("Jo's planner", "JSONRPC", "1.0"));
    }
    let names = [add(&near, json!({ "url": one.url() })).await?, add(&near, json!({ "url": other.url() })).await?];
    ensure!(names[0]["name"] == "Jo-s-planner" && names[1]["name"] == "Jo-s-planner-2", "{names:?}");
    let http = Http::new(&near);
    http.post("/v1/agents", &json!({ "url": one.url(), "name": "other" })).await?.refused(409, "conflict")?;
    let third = CardServer::start().await?;
    third.put(third.card("x", "JSONRPC", "1.0"));
    for taken in ["monitor", "Monitor-Near", "Jo-s-planner"] {
        http.post("/v1/agents", &json!({ "url": third.url(), "name": taken })).await?.refused(409, "conflict")?;
    }
    http.post("/v1/agents", &json!({ "url": third.url(), "name": "a/b" })).await?.refused(422, "invalid")?;
    // A machine that comes later gets another name.
    Puller::register(near.client(), "Jo-s-planner", json!({})).await?;
    let agents = near.get("/v1/agents").await?.to_string();
    ensure!(agents.contains("Jo-s-planner-3"), "{agents}");
    Ok(())
}

async fn agents_that_are_added_at_once_get_names_of_their_own(cx: &Cx) -> Result<()> {
    let near = near(cx).await?;
    let mut all = Vec::new();
    for _ in 0..8 {
        let cards = CardServer::start().await?;
        cards.put(cards.card("Planner", "JSONRPC", "1.0"));
        all.push(cards);
    }
    let added = futures_util::future::try_join_all(all.iter().map(|cards| add(&near, json!({ "url": cards.url() })))).await?;
    let mut names: Vec<_> = added.iter().filter_map(|agent| agent["name"].as_str()).collect();
    names.sort_unstable();
    ensure!(names.iter().zip(&names[1..]).all(|(one, next)| one != next) && names.len() == 8, "{names:?}");
    for (agent, cards) in added.iter().zip(&all) {
        let read = near.get(&format!("/v1/agents/{}", text(agent, "name")?)).await?;
        ensure!(text(&read, "home")?.starts_with(&cards.url()), "another has its name: {read}");
    }
    // Of those that want one name, one gets it; and one that is added twice at once is one.
    let (others, http) = ((CardServer::start().await?, CardServer::start().await?), Http::new(&near));
    for cards in [&others.0, &others.1] {
        cards.put(cards.card("Other", "JSONRPC", "1.0"));
    }
    let (first, second) = (json!({ "url": others.0.url(), "name": "wanted" }), json!({ "url": others.1.url(), "name": "wanted" }));
    let (one, other) = tokio::join!(http.post("/v1/agents", &first), http.post("/v1/agents", &second));
    let mut told = [one?.status, other?.status];
    told.sort_unstable();
    ensure!(told == [200, 409], "{told:?}");
    let third = CardServer::start().await?;
    third.put(third.card("Twice", "JSONRPC", "1.0"));
    let twice = json!({ "url": third.url() });
    let (one, other) = tokio::try_join!(add(&near, twice.clone()), add(&near, twice))?;
    ensure!(one["name"] == "Twice" && other["name"] == "Twice", "{one} {other}");
    Ok(())
}

async fn the_proxy_of_the_environment_is_for_other_machines(cx: &Cx) -> Result<()> {
    // A proxy is asked for whole addresses: this one answers as if it were each of them.
    let (proxy, here) = (CardServer::start().await?, CardServer::start().await?);
    proxy.put(card_at("http://planner.example", "Far", "JSONRPC", "1.0"));
    here.put(here.card("Here", "JSONRPC", "1.0"));
    let near = near_with(cx, |server| server.with_env("HTTP_PROXY", proxy.url())).await?;
    for (url, name) in [("http://planner.example".to_owned(), "Far"), (here.url(), "Here")] {
        add(&near, json!({ "url": url })).await?;
        let task = Caller::new(&Http::new(&near), Binding::Rpc)?.at(name).say("hello", json!({})).await?;
        ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task) == "you said: hello", "{task}");
    }
    ensure!((proxy.asked(), here.asked()) == (1, 1), "{} and {} were asked", proxy.asked(), here.asked());
    Ok(())
}

async fn a_credential_is_kept_sent_and_never_shown(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    cards.put(cards.card("Guarded", "JSONRPC", "1.0"));
    cards.demand("swordfish-secret");
    let http = Http::new(&near);
    let refused = http.post("/v1/agents", &json!({ "url": cards.url() })).await?.refused(422, "invalid")?;
    ensure!(refused["message"].as_str().is_some_and(|said| said.contains("401")), "{refused}");
    let added = add(&near, json!({ "url": cards.url(), "token": "swordfish-secret" })).await?;
    ensure!(added["has_token"] == true, "{added}");
    let task = Caller::new(&http, Binding::Rpc)?.at("Guarded").say("let me in", json!({})).await?;
    ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task) == "you said: let me in", "{task}");
    // Adding it again without a token keeps the one that is known.
    add(&near, json!({ "url": cards.url() })).await?;
    let all = [near.get("/v1/agents").await?, near.get("/v1/agents/Guarded").await?, near.get("/v1/events").await?, added];
    ensure!(all.iter().all(|shown| !shown.to_string().contains("swordfish")), "the token is shown: {all:?}");
    ensure!(!near.log().contains("swordfish"), "the token is in the log");
    cards.demand("another-secret");
    let task = Caller::new(&http, Binding::Rpc)?.at("Guarded").say("let me in", json!({})).await?;
    ensure!(state(&task) == "TASK_STATE_FAILED" && task["metadata"]["code"] == "agent_auth", "{task}");
    Ok(())
}

async fn the_command_line_adds_lists_and_removes_agents(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    cards.put(cards.card("Planner", "HTTP+JSON", "1.0"));
    let run = async |args: &[&str]| -> Result<String> {
        let output = tokio::process::Command::from(near.muster(args)).output().await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    };
    let added = run(&["agents", "add", &cards.url()]).await?;
    ensure!(added == format!("added Planner (HTTP+JSON 1.0), reached at {}/agents/Planner\n", near.url()), "{added}");
    let list = run(&["agents"]).await?;
    ensure!(list.contains("Monitor-Near") && list.contains("Planner") && list.contains("external"), "{list}");
    ensure!(run(&["agents", "remove", "Planner"]).await? == "removed Planner\n", "it was not removed");
    ensure!(!run(&["agents", "list"]).await?.contains("Planner"), "it is still listed");
    Ok(())
}

async fn only_operators_add_and_remove_agents(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    cards.put(cards.card("Planner", "JSONRPC", "1.0"));
    add(&near, json!({ "url": cards.url() })).await?;
    for scope in ["viewer", "agent", "worker"] {
        let made = near.post("/v1/tokens", &json!({ "scope": scope })).await?;
        let http = Http::new(&near).with_token(text(&made, "secret")?)?;
        http.post("/v1/agents", &json!({ "url": cards.url() })).await?.refused(403, "forbidden")?;
        http.delete("/v1/agents/Planner").await?.refused(403, "forbidden")?;
    }
    Ok(())
}

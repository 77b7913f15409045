//! Agent cards: the server's, and one for each agent.

use super::caller::{BINDINGS, Caller};
use crate::support::{Cx, Http, Puller, Server, Shared, cases, items, text};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

cases! {
    [] =>
        the_servers_card_names_its_addresses_and_agents,
        a_card_is_spelled_in_the_version_that_is_asked_for,
        a_card_is_sent_again_only_where_it_changed,
        every_machine_has_a_card_as_long_as_it_is_registered,
        the_extended_card_has_the_machines_too,
        behind_a_proxy_the_card_has_the_public_address;
}

static SERVER: Shared = Shared::embedded("a2a-cards", "name = \"Server-A\"\n");
const CARD: &str = "/.well-known/agent-card.json";

async fn card_of(http: &Http, agent: &str) -> Result<Value> {
    http.get(&format!("/agents/{agent}{CARD}")).await?.ok()
}

fn addresses(card: &Value) -> Result<Vec<(String, String, String)>> {
    let interface = |one: &Value| {
        let of = |name: &str| text(one, name).map(str::to_owned);
        Ok((of("url")?, of("protocolBinding")?, of("protocolVersion")?))
    };
    items(&card["supportedInterfaces"])?.iter().map(interface).collect()
}

async fn the_servers_card_names_its_addresses_and_agents(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let card = http.get(CARD).await?.ok()?;
    ensure!(card["name"] == "Server-A" && card["capabilities"]["streaming"] == true, "{card}");
    ensure!(card["capabilities"]["pushNotifications"] == true, "{card}");
    let url = server.url();
    let host = url.trim_start_matches("http://").to_owned();
    let wanted = [
        (format!("{url}/"), "JSONRPC", "1.0"),
        (url.clone(), "HTTP+JSON", "1.0"),
        (host.clone(), "GRPC", "1.0"),
        (format!("{url}/"), "JSONRPC", "0.3"),
    ];
    let there = addresses(&card)?;
    ensure!(there.iter().map(|(a, b, c)| (a.clone(), b.as_str(), c.as_str())).eq(wanted), "{there:?}");
    let skills: Vec<_> = items(&card["skills"])?.iter().filter_map(|skill| skill["id"].as_str()).collect();
    ensure!(skills == ["Coordinator-Server-A", "Worker-A-Server-A", "Worker-B-Server-A", "Monitor-Server-A"], "{skills:?}");
    // Every agent has an address, and there it is.
    for name in skills {
        let own = card_of(&http, name).await?;
        ensure!(own["name"] == name && own["skills"].as_array().map(Vec::len) == Some(1), "{own}");
        ensure!(addresses(&own)?[0].0 == format!("{url}/agents/{name}"), "{own}");
        let grpc = &own["supportedInterfaces"][2];
        ensure!(grpc["url"] == host && grpc["tenant"] == name, "{own}");
    }
    ensure!(card_of(&http, "monitor").await?["name"] == "Monitor-Server-A", "its short name is not known");
    http.get(&format!("/agents/nobody{CARD}")).await?.refused(404, "not_found")?;
    Ok(())
}

async fn a_card_is_spelled_in_the_version_that_is_asked_for(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let of = async |version: &str| http.send(http.request(Method::GET, CARD).header("a2a-version", version)).await?.ok();
    let both = http.get(CARD).await?.ok()?;
    let (new, old) = (of("1.0").await?, of("0.3").await?);
    ensure!(new["supportedInterfaces"].is_array() && new.get("url").is_none(), "{new}");
    ensure!(old["url"].is_string() && old["protocolVersion"] == "0.3.0" && old.get("supportedInterfaces").is_none(), "{old}");
    ensure!(old["supportsAuthenticatedExtendedCard"] == true, "{old}");
    // Whoever comes from this machine needs no token, so that none is declared.
    ensure!(both.get("securitySchemes").is_none() && both.get("security").is_none(), "{both}");
    for (one, name) in [(&new, "new"), (&old, "old")] {
        for (key, value) in one.as_object().context("no card")? {
            let is_other = key == "capabilities" || key == "skills";
            ensure!(is_other || both[key] == *value, "{name} {key}: {} and {value}", both[key]);
        }
    }
    ensure!(of("99.0").await? == new, "who speaks another version does not find out which are spoken");
    let plain = Server::new(cx.dir(), "server")?;
    let config = cx.dir().join("server.toml");
    std::fs::write(&config, "[a2a]\ncard = \"1.0\"\n")?;
    let plain = plain.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    ensure!(Http::new(&plain).get(CARD).await?.ok()?.get("url").is_none(), "the setting does nothing");
    Ok(())
}

async fn a_card_is_sent_again_only_where_it_changed(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    Puller::register(server.client(), "changes", json!({})).await?;
    let path = format!("/agents/changes{CARD}");
    let first = http.get(&path).await?;
    let (tag, time) = (first.header("etag").context("no tag")?, first.header("last-modified").context("no time")?);
    ensure!(first.header("vary").is_some_and(|vary| vary.contains("A2A-Version")), "{:?}", first.headers);
    let again = async |name: &str, value: &str| http.send(http.request(Method::GET, &path).header(name, value)).await;
    for (name, value) in [("if-none-match", tag), ("if-none-match", "\"x\", *"), ("if-modified-since", time)] {
        let answer = again(name, value).await?;
        ensure!(answer.status == 304 && answer.text.is_empty() && answer.header("etag") == Some(tag), "{name}: {answer:?}");
    }
    ensure!(again("if-none-match", "\"other\"").await?.status == 200, "another tag");
    ensure!(again("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT").await?.status == 200, "an old time");
    ensure!(again("if-modified-since", "nonsense").await?.status == 200, "no time");
    let models = json!([{ "id": "fake/other", "name": "O", "provider": "F", "provider_id": "fake" }]);
    Puller::register(server.client(), "changes", json!({ "models": models })).await?;
    let answer = again("if-none-match", tag).await?;
    ensure!(answer.status == 200 && answer.header("etag") != Some(tag) && answer.text.contains("fake/other"), "{answer:?}");
    Ok(())
}

async fn every_machine_has_a_card_as_long_as_it_is_registered(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let codebases = json!([{ "name": "shop", "path": "/srv/shop", "description": "The shop" }, { "name": "tools", "path": "/srv/tools" }]);
    let worker = Puller::register(server.client(), "Jo's laptop", json!({ "worker_id": "jo-1", "codebases": codebases })).await?;
    let twin = Puller::register(server.client(), "Jo's laptop", json!({ "worker_id": "jo-2" })).await?;
    let card = card_of(&http, "Jo-s-laptop").await?;
    ensure!(card["name"] == "Jo-s-laptop" && text(&card, "description")?.contains("fake/echo"), "{card}");
    let skills: Vec<_> = items(&card["skills"])?.iter().map(|skill| (skill["name"].as_str(), skill["description"].as_str())).collect();
    ensure!(skills.contains(&(Some("shop"), Some("The shop"))) && skills.iter().any(|(name, _)| *name == Some("global")), "{skills:?}");
    ensure!(card_of(&http, "Jo-s-laptop-2").await?["name"] == "Jo-s-laptop-2", "the second of a name has none of its own");
    ensure!(card_of(&http, "jo-2").await?["name"] == "Jo-s-laptop-2", "it is not found by its id");
    for one in [&worker, &twin] {
        http.post(&format!("/v1/opencode/workers/{}/unregister", one.id()), &json!({})).await?.ok()?;
    }
    http.get(&format!("/agents/Jo-s-laptop{CARD}")).await?.refused(404, "not_found")?;
    http.post("/agents/Jo-s-laptop", &json!({})).await?.refused(404, "not_found")?;
    Ok(())
}

async fn the_extended_card_has_the_machines_too(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    Puller::register(server.client(), "extended", json!({})).await?;
    let public = http.get(CARD).await?.ok()?;
    ensure!(!public["skills"].to_string().contains("extended"), "machines are shown to everybody: {public}");
    for binding in BINDINGS {
        let caller = Caller::new(&http, binding)?;
        let card = caller.call("GetExtendedAgentCard", json!({})).await?;
        ensure!(items(&card["skills"])?.iter().any(|skill| skill["id"] == "extended"), "{card}");
        ensure!(card["supportedInterfaces"] == public["supportedInterfaces"], "{card}");
        let own = caller.at("extended").call("GetExtendedAgentCard", json!({})).await?;
        ensure!(own["name"] == "extended", "{own}");
    }
    Ok(())
}

async fn behind_a_proxy_the_card_has_the_public_address(cx: &Cx) -> Result<()> {
    let config = cx.dir().join("server.toml");
    std::fs::write(&config, "public_url = \"https://muster.example/team/\"\n")?;
    let server = Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
    let proxied = Http::new(&server).with_header("x-forwarded-host", "evil.example")?.with_header("host", "inner:80")?;
    let card = proxied.get(CARD).await?.ok()?;
    let there = addresses(&card)?;
    ensure!(there[0].0 == "https://muster.example/team/" && there[1].0 == "https://muster.example/team", "{there:?}");
    ensure!(there.iter().all(|(_, binding, _)| binding != "GRPC"), "gRPC has no path, and the server is below one: {there:?}");
    ensure!(items(&card["securityRequirements"])?[0]["schemes"]["token"].is_object(), "it says nothing of tokens: {card}");
    let scheme = &card["securitySchemes"]["token"];
    ensure!(scheme["type"] == "http" && scheme["httpAuthSecurityScheme"]["scheme"] == "Bearer", "{card}");
    let old = proxied.clone().with_header("a2a-version", "0.3")?.get(CARD).await?.ok()?;
    ensure!(old["security"][0]["token"].is_array() && old["securitySchemes"]["token"]["type"] == "http", "{old}");
    ensure!(proxied.get(&format!("/agents/monitor{CARD}")).await?.status == 401, "everybody may see the cards of agents");
    // Without one, the address by which it was asked.
    let named = SERVER.http(cx).await?.with_header("host", "localhost:99")?;
    ensure!(addresses(&named.get(CARD).await?.ok()?)?[1].0 == "http://localhost:99", "another address than the caller's");
    Ok(())
}

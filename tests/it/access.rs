//! Who may ask what: every route with every scope, the loopback rule, and what the log must not show.

use crate::support::{Cx, Document, Http, Route, Server, Shared, cases, text, wait_for};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

cases! {
    [] =>
        every_route_is_for_the_scopes_that_are_written_down,
        without_a_good_token_every_route_refuses,
        a_token_of_one_worker_is_good_for_it_alone,
        an_agents_token_shows_its_own_tasks_only,
        what_is_not_local_needs_a_token,
        a_page_of_another_site_is_refused,
        what_is_logged_holds_no_token,
        beyond_loopback_a_server_without_a_token_does_not_start,
        the_document_of_the_api_is_sound;
}

static SERVER: Shared = Shared::embedded("access", "");

const SCOPES: [&str; 6] = ["admin", "operator", "viewer", "worker", "peer", "agent"];
const NOBODY: &str = "0193a0c0-0000-7000-8000-00000000dead";

/// Which scopes each route is for, beside `admin`; `-` for none, `*` for everybody without a token.
const TABLE: &[(&str, &str)] = &[
    ("GET /healthz", "*"),
    ("GET /health", "*"),
    ("GET /readyz", "*"),
    ("GET /openapi.json", "*"),
    ("GET /metrics", "operator viewer"),
    ("GET /v1/opencode/status", "operator viewer"),
    ("GET /v1/events", "operator viewer"),
    ("POST /v1/tokens", "-"),
    ("GET /v1/tokens", "-"),
    ("DELETE /v1/tokens/{id}", "-"),
    ("POST /v1/opencode/workers/register", "worker"),
    ("GET /v1/opencode/workers", "operator viewer worker"),
    ("GET /v1/opencode/workers/{id}", "operator viewer worker"),
    ("POST /v1/opencode/workers/{id}/heartbeat", "worker"),
    ("POST /v1/opencode/workers/{id}/unregister", "operator worker"),
    ("POST /v1/opencode/workers/{id}/pull", "worker"),
    ("POST /v1/opencode/workers/{id}/drain", "operator worker"),
    ("POST /v1/opencode/workers/{id}/resume", "operator worker"),
    ("GET /v1/opencode/models", "operator viewer"),
    ("POST /v1/opencode/codebases", "operator worker"),
    ("GET /v1/opencode/codebases", "operator viewer worker"),
    ("GET /v1/opencode/codebases/list", "operator viewer worker"),
    ("GET /v1/opencode/codebases/{id}", "operator viewer worker"),
    ("DELETE /v1/opencode/codebases/{id}", "operator"),
    ("POST /v1/opencode/codebases/{id}/trigger", "operator"),
    ("GET /v1/opencode/codebases/{id}/events", "operator viewer"),
    ("POST /v1/opencode/tasks", "operator agent"),
    ("GET /v1/opencode/tasks", "operator viewer worker agent"),
    ("POST /v1/opencode/codebases/{id}/tasks", "operator"),
    ("GET /v1/opencode/codebases/{id}/tasks", "operator viewer worker"),
    ("GET /v1/opencode/tasks/{id}", "operator viewer worker agent"),
    ("PUT /v1/opencode/tasks/{id}/status", "worker"),
    ("POST /v1/opencode/tasks/{id}/cancel", "operator agent"),
    ("GET /v1/opencode/tasks/{id}/explain", "operator viewer agent"),
    ("POST /v1/opencode/tasks/{id}/retry", "operator agent"),
    ("POST /v1/opencode/tasks/{id}/message", "operator agent"),
    ("POST /v1/opencode/tasks/{id}/stream", "worker"),
    ("GET /v1/opencode/tasks/{id}/stream", "operator viewer agent"),
    ("GET /v1/opencode/tasks/{id}/output", "operator viewer agent"),
    ("POST /v1/opencode/tasks/{id}/output", "worker"),
    ("GET /v1/opencode/tasks/{id}/output/stream", "operator viewer agent"),
    ("GET /v1/interactions", "operator viewer agent"),
    ("GET /v1/opencode/tasks/{id}/interactions", "operator viewer agent"),
    ("POST /v1/interactions/{id}/reply", "operator agent"),
    ("POST /v1/opencode/codebases/{id}/sessions/sync", "worker"),
    ("POST /v1/opencode/codebases/{id}/sessions/{sid}/messages/sync", "worker"),
    ("GET /v1/opencode/sessions", "operator viewer worker"),
    ("GET /v1/opencode/codebases/{id}/sessions", "operator viewer worker"),
    ("GET /v1/opencode/codebases/{id}/sessions/{sid}", "operator viewer worker"),
    ("GET /v1/opencode/codebases/{id}/sessions/{sid}/messages", "operator viewer worker"),
    ("POST /v1/opencode/codebases/{id}/sessions/{sid}/resume", "operator"),
    ("POST /", "operator peer agent"),
    ("POST /v1/a2a", "operator peer agent"),
    ("POST /agents/{name}", "operator peer agent"),
    ("GET /.well-known/agent-card.json", "*"),
    ("GET /agents/{name}/.well-known/agent-card.json", "operator viewer peer agent"),
    ("GET /agents", "operator viewer agent"),
    ("GET /v1/peers", "operator viewer"),
    ("POST /v1/peers", "-"),
    ("DELETE /v1/peers/{id}", "-"),
    ("POST /v1/network/hello", "*"),
    ("POST /v1/network/callback", "*"),
    ("GET /v1/network/feed", "peer"),
    ("POST /v1/network/push", "peer"),
    ("GET /v1/network/events", "peer"),
    ("GET /v1/agents", "operator viewer agent"),
    ("GET /v1/agents/{name}", "operator viewer agent"),
    ("POST /v1/agents", "operator"),
    ("DELETE /v1/agents/{name}", "operator"),
    ("GET /v1/monitor/agents", "operator viewer"),
    ("GET /v1/monitor/messages", "operator viewer"),
    ("GET /v1/monitor/messages/search", "operator viewer"),
    ("GET /v1/monitor/messages/count", "operator viewer"),
    ("GET /v1/monitor/stats", "operator viewer"),
    ("GET /v1/monitor/stream", "operator viewer"),
    ("GET /v1/monitor/export/json", "operator viewer"),
    ("GET /v1/monitor/export/csv", "operator viewer"),
    ("POST /v1/monitor/intervene", "operator"),
];

async fn token(http: &Http, body: Value) -> Result<String> {
    let made = http.post("/v1/tokens", &body).await?.ok()?;
    Ok(text(&made, "secret")?.to_owned())
}

fn key(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// Asks a route for something that is not there: the guard comes first.
async fn knock(http: &Http, route: &Route) -> Result<crate::support::Answer> {
    http.send(http.request(route.method.clone(), &route.at(NOBODY))).await
}

async fn every_route_is_for_the_scopes_that_are_written_down(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let document = Document::of(&http).await?;
    let table: BTreeMap<&str, &str> = TABLE.iter().copied().collect();
    let routes = document.routes()?;
    let there: BTreeSet<String> = routes.iter().map(key).collect();
    let written: BTreeSet<String> = table.keys().map(|key| (*key).to_owned()).collect();
    ensure!(
        there == written,
        "the table has not the routes that there are: {:?}",
        there.symmetric_difference(&written).collect::<Vec<_>>()
    );
    for scope in SCOPES {
        let caller = http.clone().with_token(&token(&http, json!({ "scope": scope })).await?)?;
        for route in &routes {
            let written = table[key(route).as_str()];
            let allowed = scope == "admin" || written == "*" || written.split(' ').any(|word| word == scope);
            let answer = knock(&caller, route).await?;
            ensure!(answer.status != 401, "{} by {scope}: {}", answer.asked, answer.text);
            ensure!((answer.status != 403) == allowed, "{} by {scope}: {} {}", answer.asked, answer.status, answer.text);
            if !allowed {
                let error = answer.refused(403, "forbidden")?;
                let wanted = written.split(' ').next().filter(|word| *word != "-").unwrap_or("admin");
                ensure!(text(&error, "message")?.contains(wanted), "the refusal does not say who may: {error}");
            }
            // The document says the same.
            let said = route.operation["description"].as_str().unwrap_or_default();
            ensure!(written == "*" || said.contains("Scope: admin"), "{} is described as {said:?}", key(route));
        }
    }
    Ok(())
}

async fn without_a_good_token_every_route_refuses(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let routes = Document::of(&http).await?.routes()?;
    let revoked = http.post("/v1/tokens", &json!({ "scope": "admin" })).await?.ok()?;
    http.delete(&format!("/v1/tokens/{}", text(&revoked["token"], "id")?)).await?.ok()?;
    let short = http.clone().with_token(&token(&http, json!({ "scope": "admin", "ttl_s": 1 })).await?)?;
    let limit = Duration::from_secs(10);
    wait_for("the token to expire", limit, async || Ok((short.get("/v1/tokens").await?.status == 401).then_some(()))).await?;
    let elsewhere = || http.clone().with_header("host", "muster.example");
    let unknown = format!("muster_admin_{}", "A".repeat(43));
    let callers = [
        ("no token", elsewhere()?),
        ("an unknown token", http.clone().with_token(&unknown)?),
        ("no token of Muster", http.clone().with_token("hunter2")?),
        ("another scheme", elsewhere()?.with_header("authorization", "Basic dXNlcjpwYXNz")?),
        ("an empty token", elsewhere()?.with_header("authorization", "Bearer ")?),
        ("a revoked token", http.clone().with_token(text(&revoked, "secret")?)?),
        ("an expired token", short),
    ];
    let table: BTreeMap<&str, &str> = TABLE.iter().copied().collect();
    for (what, caller) in &callers {
        for route in &routes {
            let answer = knock(caller, route).await?;
            if table[key(route).as_str()] == "*" {
                // What wants a body finds none.
                let wanted = if route.method == "POST" { 400 } else { 200 };
                ensure!(answer.status == wanted, "{} with {what}: {}", answer.asked, answer.status);
            } else {
                answer.refused(401, "unauthenticated").with_context(|| (*what).to_owned())?;
                ensure!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{:?}", answer.headers);
            }
        }
    }
    Ok(())
}

async fn a_token_of_one_worker_is_good_for_it_alone(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let bound = http.clone().with_token(&token(&http, json!({ "scope": "worker", "worker_id": "mine" })).await?)?;
    bound.post("/v1/opencode/workers/register", &json!({ "worker_id": "mine", "name": "mine" })).await?.ok()?;
    http.post("/v1/opencode/workers/register", &json!({ "worker_id": "theirs", "name": "theirs" })).await?.ok()?;
    let report = json!({ "worker_id": "theirs", "status": "running" });
    let pull = json!({ "instance": NOBODY, "registration": 1, "pull_seq": 1 });
    let entries = json!({ "worker_id": "theirs", "attempt": 1, "first_seq": 0, "entries": [] });
    let codebase = json!({ "name": "x", "path": "/x", "worker_id": "theirs" });
    for (method, path, body) in [
        (Method::POST, "/v1/opencode/workers/register".to_owned(), json!({ "worker_id": "theirs", "name": "theirs" })),
        (Method::POST, "/v1/opencode/workers/theirs/heartbeat".to_owned(), json!({})),
        (Method::POST, "/v1/opencode/workers/theirs/unregister".to_owned(), json!({})),
        (Method::POST, "/v1/opencode/workers/theirs/drain".to_owned(), json!({})),
        (Method::POST, "/v1/opencode/workers/theirs/resume".to_owned(), json!({})),
        (Method::POST, "/v1/opencode/workers/theirs/pull".to_owned(), pull),
        (Method::POST, "/v1/opencode/codebases".to_owned(), codebase),
        (Method::PUT, format!("/v1/opencode/tasks/{NOBODY}/status"), report),
        (Method::POST, format!("/v1/opencode/tasks/{NOBODY}/stream"), entries),
        (Method::POST, format!("/v1/opencode/tasks/{NOBODY}/output"), json!({ "worker_id": "theirs", "output": "x" })),
        (Method::GET, "/v1/opencode/tasks?status=pending&worker_id=theirs".to_owned(), json!({})),
    ] {
        bound.send(bound.request(method, &path).json(&body)).await?.refused(403, "forbidden")?;
    }
    bound.post("/v1/opencode/workers/mine/heartbeat", &json!({})).await?.ok()?;
    for (worker, title) in [("mine", "for mine"), ("theirs", "for theirs")] {
        let task = json!({ "prompt": "x", "title": title, "target": { "worker": worker } });
        http.post("/v1/opencode/tasks", &task).await?.ok()?;
    }
    let listed = bound.get("/v1/opencode/tasks").await?.ok()?;
    let titles: Vec<_> = listed.as_array().into_iter().flatten().map(|task| task["title"].clone()).collect();
    ensure!(titles == ["for mine"], "it sees {titles:?}");
    let created = http.post("/v1/tokens", &json!({ "scope": "viewer", "worker_id": "mine" })).await?;
    created.refused(422, "invalid").map(drop)
}

async fn an_agents_token_shows_its_own_tasks_only(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let agent = http.clone().with_token(&token(&http, json!({ "scope": "agent" })).await?)?;
    let other = http.clone().with_token(&token(&http, json!({ "scope": "agent" })).await?)?;
    let body = json!({ "prompt": "mine", "capabilities": ["none"], "context_id": "agents-own" });
    let task = agent.post("/v1/opencode/tasks", &body).await?.ok()?;
    let path = format!("/v1/opencode/tasks/{}", text(&task, "id")?);
    ensure!(agent.get(&path).await?.ok()?["id"] == task["id"], "its own task is hidden");
    ensure!(http.get(&path).await?.ok()?["id"] == task["id"], "an admin does not see it");
    // Not there and not yours look the same.
    for end in ["", "/explain", "/output", "/stream", "/output/stream"] {
        let hidden = other.get(&format!("{path}{end}")).await?;
        hidden.refused(404, "not_found")?;
        let absent = other.get(&format!("/v1/opencode/tasks/{NOBODY}{end}")).await?;
        ensure!(hidden.text.replace(text(&task, "id")?, NOBODY) == absent.text, "{} differs from {}", hidden.text, absent.text);
    }
    for end in ["cancel", "retry"] {
        other.post(&format!("{path}/{end}"), &json!({})).await?.refused(404, "not_found")?;
    }
    other.post(&format!("{path}/message"), &json!({ "prompt": "x" })).await?.refused(404, "not_found")?;
    ensure!(other.get("/v1/opencode/tasks").await?.ok()? == json!([]), "a list shows others' tasks");
    other.post("/v1/opencode/tasks", &body).await?.refused(422, "invalid")?;
    let message = json!({ "parts": [{ "type": "text", "content": "x" }], "contextId": "agents-own" });
    let rpc = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let answer = other.post("/", &rpc).await?.ok()?;
    ensure!(answer["error"]["code"] == -32602, "it speaks in another's conversation: {answer}");
    Ok(())
}

async fn what_is_not_local_needs_a_token(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let port = SERVER.get(cx).await?.port();
    for local in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "[::1]", &format!("localhost:{port}"), &format!("[::1]:{port}")] {
        http.clone().with_header("host", local)?.get("/v1/tokens").await?.ok().with_context(|| local.to_owned())?;
    }
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "localhost.evil.example"),
        ("host", "127.0.0.1.evil.example"),
        ("host", "10.0.0.1"),
        ("host", "0.0.0.0"),
        ("host", "[::2]"),
        ("host", "localhost@evil.example"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-proto", "https"),
        ("via", "1.1 proxy"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:1"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = http.clone().with_header(name, value)?.get("/v1/tokens").await?;
        answer.refused(401, "unauthenticated").with_context(|| format!("{name}: {value}"))?;
    }
    Ok(())
}

async fn a_page_of_another_site_is_refused(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let admin = http.clone().with_token(&token(&http, json!({ "scope": "admin" })).await?)?;
    admin.get("/v1/tokens").await?.ok()?;
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        admin.clone().with_header(name, value)?.get("/v1/tokens").await?.refused(403, "forbidden")?;
    }
    // The server's own page is no other site.
    let port = SERVER.get(cx).await?.port();
    http.with_header("origin", &format!("http://127.0.0.1:{port}"))?.get("/v1/tokens").await?.ok().map(drop)
}

async fn what_is_logged_holds_no_token(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--log-http"]).launch().await?;
    let http = Http::new(&server);
    let secret = token(&http, json!({ "scope": "admin" })).await?;
    let admin = http.clone().with_token(&secret)?;
    let message = json!({ "parts": [{ "type": "text", "content": format!("marked-text {secret}") }] });
    let rpc =
        json!({ "jsonrpc": "2.0", "id": "marked-id", "method": "message/send", "params": { "message": message, "apiKey": "hunter2" } });
    admin.post("/", &rpc).await?.ok()?;
    admin.get(&format!("/v1/opencode/tasks?q=marked-query&access_token={secret}")).await?.ok()?;
    admin.post("/", &json!({ "jsonrpc": "2.0", "id": 1, "method": "marked/method" })).await?.ok()?;
    admin.post("/v1/opencode/tasks", &json!({ "prompt": 7, "password": "hunter3" })).await?.refused(422, "invalid")?;
    let limit = Duration::from_secs(10);
    let log = wait_for("the last answer in the log", limit, async || {
        Ok(Some(server.log()).filter(|log| log.contains("POST /v1/opencode/tasks -> 422")))
    })
    .await?;
    for wanted in
        ["POST / <- ", "POST / -> 200", "marked-text", "marked-id", "marked-query", "marked/method", "-32601", "GET /v1/opencode/tasks"]
    {
        ensure!(log.contains(wanted), "{wanted:?} is not in the log:\n{log}");
    }
    let random = secret.rsplit('_').next().unwrap_or(&secret);
    for hidden in [secret.as_str(), random, "hunter2", "hunter3"] {
        ensure!(!log.contains(hidden), "{hidden} is in the log:\n{log}");
    }
    Ok(())
}

async fn beyond_loopback_a_server_without_a_token_does_not_start(cx: &Cx) -> Result<()> {
    let limit = Duration::from_secs(20);
    let server = Server::new(cx.dir(), "open")?.with_args(["--listen", "0.0.0.0:0"]);
    let mut process = server.spawn()?;
    let status = process.wait(limit).await?;
    let log = server.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("error") || line.contains("Error")).collect();
    ensure!(!status.success() && lines.len() == 1, "it ended with {status}: {log}");
    ensure!(lines[0].contains("muster token create") && lines[0].contains("--insecure"), "it says {}", lines[0]);
    let insecure = Server::new(cx.dir(), "insecure")?.with_args(["--listen", "0.0.0.0:0", "--insecure"]);
    let _process = insecure.spawn()?;
    wait_for("the insecure server", limit, async || Ok(insecure.log().contains("listening").then_some(()))).await?;
    let log = insecure.log();
    ensure!(log.contains("WARN") && log.contains("whoever reaches this server"), "nothing warns: {log}");
    Ok(())
}

async fn the_document_of_the_api_is_sound(cx: &Cx) -> Result<()> {
    let document = Document::of(&SERVER.http(cx).await?).await?;
    let mut names = BTreeSet::new();
    for route in document.routes()? {
        let name = text(&route.operation, "operationId")?.to_owned();
        ensure!(names.insert(name.clone()), "two operations are called {name}");
        let answers = route.operation["responses"].as_object().with_context(|| format!("{} has no answers", key(&route)))?;
        ensure!(answers.len() >= 2, "{} says not what it answers", key(&route));
        ensure!(answers.values().all(|answer| answer["description"].is_string()), "{}: an answer is not described", key(&route));
        let in_path = route.path.matches('{').count();
        let described = route.operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "path");
        ensure!(described.clone().count() == in_path, "{} has not each parameter of its path", key(&route));
        ensure!(described.into_iter().all(|parameter| parameter["required"] == true), "{}: a parameter of a path is optional", key(&route));
    }
    let mut references = Vec::new();
    collect(&document.0, &mut references);
    ensure!(references.len() > 50, "only {} references", references.len());
    for reference in references {
        let found = document.0.pointer(reference.trim_start_matches('#'));
        ensure!(reference.starts_with("#/") && found.is_some_and(Value::is_object), "{reference} leads nowhere");
    }
    Ok(())
}

/// Every `$ref` in a value.
fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, item) in map {
                match item.as_str() {
                    Some(reference) if name == "$ref" => references.push(reference.to_owned()),
                    _ => collect(item, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

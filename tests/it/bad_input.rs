//! Whatever is sent: a refusal that says what is wrong with it, never a fault of the server. The routes come from `/openapi.json`, so that a new
//! one is covered by itself.

mod fields;
mod rpc;

use crate::support::{Answer, Cx, Document, Http, PlainWorker, Puller, Route, Server, Shared, cases, text};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

cases! {
    [] =>
        a_body_that_is_none_is_refused,
        a_body_over_the_limit_is_refused,
        a_body_of_another_type_is_refused,
        an_id_that_nobody_has_is_not_found,
        a_query_that_does_not_fit_is_refused,
        a_method_that_a_path_has_not_is_refused,
        every_wrong_field_is_named,
        u0000_is_refused_where_it_cannot_be_kept,
        numbers_at_the_edge_are_refused,
        a_report_in_the_wrong_state_is_refused,
        json_rpc_tells_its_errors_with_its_numbers;
    [Postgres] =>
        every_wrong_field_is_named_on_postgresql,
        u0000_is_refused_where_it_cannot_be_kept_on_postgresql,
        numbers_at_the_edge_are_refused_on_postgresql;
}

const SETTINGS: &str = "[limits]\nmax_body = \"64 KiB\"\n";
static SERVER: Shared = Shared::embedded("bad-input", SETTINGS);
static POSTGRES: Shared = Shared::on_postgres("bad-input-postgres", SETTINGS);

/// The server that is treated so, and what it has.
struct Victim {
    server: &'static Server,
    http: Http,
    document: Document,
    worker: String,
    codebase: String,
    /// Completed, so that its streams end.
    task: String,
}

impl Victim {
    async fn new(cx: &Cx, shared: &'static Shared, name: &str) -> Result<Self> {
        let (server, http) = (shared.get(cx).await?, shared.http(cx).await?);
        let worker = PlainWorker::start(&http, name, &[]).await?;
        let body = json!({ "prompt": "x", "target": { "worker": name } });
        let task = http.post("/v1/opencode/tasks", &body).await?.ok()?;
        worker.run(&task, &["x"]).await?;
        Ok(Self {
            document: Document::of(&http).await?,
            server,
            http,
            worker: name.to_owned(),
            codebase: text(&worker.global, "id")?.to_owned(),
            task: text(&task, "id")?.to_owned(),
        })
    }

    /// The path of a route, with ids that are there.
    fn path(&self, route: &Route) -> String {
        route.at(match route.path.split('/').nth(3) {
            Some("workers") => &self.worker,
            Some("codebases") => &self.codebase,
            Some("tasks") => &self.task,
            _ => "0193a0c0-0000-7000-8000-000000000001",
        })
    }

    /// The routes that read a JSON body of a known shape.
    fn with_body(&self) -> Result<Vec<(Route, Value)>> {
        let routes = self.document.routes()?.into_iter();
        let shaped =
            routes.filter_map(|route| Some((self.document.body(&route).filter(|schema| schema["properties"].is_object())?.clone(), route)));
        let found: Vec<_> = shaped.map(|(schema, route)| (route, schema)).collect();
        ensure!(found.len() >= 12, "only {} routes with a body", found.len());
        Ok(found)
    }

    /// At the end of each case: it answers, it has not panicked, and it has met no fault of its own.
    async fn ensure_unharmed(&self) -> Result<()> {
        ensure!(self.http.get("/readyz").await?.status == 200, "it is not ready any more");
        let log = self.server.log();
        let harm = log.lines().find(|line| line.contains("panicked") || line.contains("ERROR"));
        ensure!(harm.is_none(), "its log says {harm:?}");
        Ok(())
    }
}

/// A refusal with 4xx and the error body. `sent` says what was wrong, for the failure.
fn ensure_4xx(answer: &Answer, sent: &str) -> Result<Value> {
    ensure!((400..500).contains(&answer.status), "{} with {sent} was answered with {}: {}", answer.asked, answer.status, answer.text);
    // A failed credential would hide what is tested.
    ensure!(!matches!(answer.status, 401 | 403), "{}: {}", answer.asked, answer.text);
    answer.error()
}

async fn a_body_that_is_none_is_refused(cx: &Cx) -> Result<()> {
    let victim = Victim::new(cx, &SERVER, "no-body").await?;
    let deep = "[".repeat(20_000);
    for (route, _) in victim.with_body()? {
        let path = victim.path(&route);
        let mut bodies: Vec<(&str, &[u8])> = vec![
            ("an opening brace", b"{"),
            ("an array", b"[]"),
            ("an array of texts", b"[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]"),
            ("a text", b"\"x\""),
            ("a number", b"7"),
            ("true", b"true"),
            ("two objects", b"{}{}"),
            ("a comma too much", b"{\"a\":1,}"),
            ("single quotes", b"{'a':1}"),
            ("a raw U+0000", b"{\"prompt\":\"a\0b\"}"),
            ("nothing but U+0000", b"\0\0\0"),
            ("bytes that are no UTF-8", b"{\"prompt\":\"\xff\xfe\"}"),
            ("half a character", b"{\"prompt\":\"\xf0\x9f\"}"),
            ("NaN", b"{\"priority\":NaN}"),
            ("20000 brackets", deep.as_bytes()),
        ];
        if !route.body_is_optional() {
            bodies.extend([("nothing", &b""[..]), ("spaces", b" \n"), ("null", b"null"), ("no fields", b"{}")]);
            bodies.extend([("a lone surrogate", &b"{\"prompt\":\"\\ud800\"}"[..]), ("a number out of range", b"{\"priority\":1e999}")]);
        }
        for (what, body) in bodies {
            let answer = victim.http.raw(route.method.clone(), &path, body.to_vec()).await?;
            ensure_4xx(&answer, what)?;
        }
        if !route.body_is_optional() {
            ensure_4xx(&victim.http.send(victim.http.request(route.method.clone(), &path)).await?, "no body and no type")?;
        }
    }
    victim.ensure_unharmed().await
}

async fn a_body_over_the_limit_is_refused(cx: &Cx) -> Result<()> {
    let victim = Victim::new(cx, &SERVER, "large").await?;
    for (route, _) in victim.with_body()? {
        let body = format!("{{\"prompt\":\"{}\"}}", "x".repeat(64 << 10));
        let answer = victim.http.raw(route.method.clone(), &victim.path(&route), body).await?;
        let error = answer.refused(413, "too_large")?;
        ensure!(error["details"]["limit"] == 64 << 10, "{error}");
    }
    // Ten megabytes: the server need not read them to the end, so that the client may see its connection broken.
    let ten = vec![b' '; 10 << 20];
    match victim.http.raw(Method::POST, "/v1/opencode/tasks", ten).await {
        Ok(answer) => drop(answer.refused(413, "too_large")?),
        Err(error) => ensure!(format!("{error:#}").contains("no answer"), "{error:#}"),
    }
    let answer = victim.http.raw(Method::POST, "/", vec![b' '; 65 << 10]).await?;
    answer.refused(413, "too_large")?;
    victim.ensure_unharmed().await
}

async fn a_body_of_another_type_is_refused(cx: &Cx) -> Result<()> {
    let victim = Victim::new(cx, &SERVER, "types").await?;
    for (route, schema) in victim.with_body()? {
        let body = victim.document.sample(&schema).to_string();
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "nonsense"] {
            let request = victim.http.request(route.method.clone(), &victim.path(&route)).header("content-type", kind);
            let answer = victim.http.send(request.body(body.clone())).await?;
            answer.refused(415, "unsupported_media_type")?;
        }
    }
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.muster+json"] {
        let request = victim.http.request(Method::POST, "/v1/opencode/tasks").header("content-type", kind);
        victim.http.send(request.body(r#"{"prompt":"x","capabilities":["none"]}"#)).await?.ok()?;
    }
    victim.ensure_unharmed().await
}

async fn an_id_that_nobody_has_is_not_found(cx: &Cx) -> Result<()> {
    let victim = Victim::new(cx, &SERVER, "ids").await?;
    let long = "x".repeat(5_000);
    let ids = [
        "0193a0c0-0000-7000-8000-00000000dead",
        "nope",
        "..%2F..%2Fetc%2Fpasswd",
        "a%2Fb",
        "%2F",
        "%00",
        "a%00b",
        "%FF",
        "%",
        "%zz",
        "a%20b",
        "%F0%9F%A6%80",
        "'%20OR%201=1",
        "-1",
        "__pending__",
        &long,
    ];
    let routes: Vec<_> = victim.document.routes()?.into_iter().filter(|route| route.path.contains('{')).collect();
    ensure!(routes.len() >= 20, "only {} routes with an id", routes.len());
    for route in routes {
        let body = victim.document.body(&route).map(|schema| sample_for(&victim, &route, schema));
        for id in ids {
            let mut request = victim.http.request(route.method.clone(), &route.at(id));
            if let Some(body) = &body {
                request = request.json(body);
            }
            let answer = victim.http.send(request).await?;
            ensure_4xx(&answer, "an id that nobody has")?;
            ensure!(matches!(answer.status, 404 | 409), "{} was answered with {}: {}", answer.asked, answer.status, answer.text);
        }
    }
    victim.ensure_unharmed().await
}

/// A body that the route reads, so that its id is what is wrong.
fn sample_for(victim: &Victim, route: &Route, schema: &Value) -> Value {
    let mut body = victim.document.sample(schema);
    if route.path.ends_with("/status") {
        body["status"] = json!("running");
    }
    body
}

async fn a_query_that_does_not_fit_is_refused(cx: &Cx) -> Result<()> {
    let victim = Victim::new(cx, &SERVER, "queries").await?;
    let mut tried = 0;
    for route in victim.document.routes()?.into_iter().filter(|route| route.method == Method::GET) {
        let path = victim.path(&route);
        for (name, schema) in route.query() {
            let mut wrong = vec!["%00", "a%00b"];
            if crate::support::type_of(victim.document.resolve(&schema)) == Some("integer") {
                wrong.extend(["x", "-1", "1.5", "99999999999999999999999", "0x10", "%FF", "1;2"]);
            }
            for value in wrong {
                ensure_4xx(&victim.http.get(&format!("{path}?{name}={value}")).await?, "a wrong query")?;
                tried += 1;
            }
            // Odd, but a text: nothing is found.
            for value in ["%FF", "%", "'%20OR%201=1", "%25", "%F0%9F%A6%80", &"x".repeat(5_000)] {
                let answer = victim.http.get(&format!("{path}?{name}={value}")).await?;
                ensure!(answer.status < 500, "{}: {} {}", answer.asked, answer.status, answer.text);
            }
        }
    }
    ensure!(tried > 40, "only {tried} queries were tried");
    for query in ["limit=0", "limit=1001", "limit=1&limit=2", "cursor=x", "cursor=1.x", "cursor=99999999999999999999.x", "status=asleep"] {
        ensure_4xx(&victim.http.get(&format!("/v1/opencode/tasks?{query}")).await?, query)?;
    }
    let last_id = victim.http.request(Method::GET, "/v1/events").header("last-event-id", "last");
    ensure_4xx(&victim.http.send(last_id).await?, "a Last-Event-ID that is no number")?;
    victim.ensure_unharmed().await
}

async fn a_method_that_a_path_has_not_is_refused(cx: &Cx) -> Result<()> {
    let victim = Victim::new(cx, &SERVER, "methods").await?;
    let routes = victim.document.routes()?;
    for route in &routes {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            if routes.iter().any(|other| other.path == route.path && other.method == method) {
                continue;
            }
            let answer = victim.http.send(victim.http.request(method, &victim.path(route))).await?;
            answer.refused(405, "method_not_allowed")?;
            ensure!(
                answer.header("allow").is_some_and(|allow| allow.contains(route.method.as_str())),
                "{}: {:?}",
                answer.asked,
                answer.headers
            );
        }
    }
    for path in ["/nothing", "/v1", "/v1/opencode/nothing", "/%00", "/%FF", "//", "/v1/opencode/tasks/", "/../etc/passwd"] {
        let answer = victim.http.get(path).await?;
        ensure!(matches!(answer.status, 404 | 405), "{path}: {} {}", answer.status, answer.text);
        answer.error()?;
    }
    victim.ensure_unharmed().await
}

async fn every_wrong_field_is_named(cx: &Cx) -> Result<()> {
    fields::wrong_types(&Victim::new(cx, &SERVER, "fields").await?).await
}

async fn every_wrong_field_is_named_on_postgresql(cx: &Cx) -> Result<()> {
    fields::wrong_types(&Victim::new(cx, &POSTGRES, "fields").await?).await
}

async fn u0000_is_refused_where_it_cannot_be_kept(cx: &Cx) -> Result<()> {
    fields::nul(&Victim::new(cx, &SERVER, "nul").await?).await
}

async fn u0000_is_refused_where_it_cannot_be_kept_on_postgresql(cx: &Cx) -> Result<()> {
    fields::nul(&Victim::new(cx, &POSTGRES, "nul").await?).await
}

async fn numbers_at_the_edge_are_refused(cx: &Cx) -> Result<()> {
    fields::edges(&Victim::new(cx, &SERVER, "edges").await?).await
}

async fn numbers_at_the_edge_are_refused_on_postgresql(cx: &Cx) -> Result<()> {
    fields::edges(&Victim::new(cx, &POSTGRES, "edges").await?).await
}

async fn a_report_in_the_wrong_state_is_refused(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = &Http::new(&server);
    let worker = Puller::register(server.client(), "stateful", json!({})).await?;
    let task = http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "target": { "worker": "stateful" } })).await?.ok()?;
    let path = format!("/v1/opencode/tasks/{}", text(&task, "id")?);
    let status = |status: &str, attempt: Value| json!({ "status": status, "worker_id": "stateful", "attempt": attempt });
    let entries = |attempt: u64| json!({ "worker_id": "stateful", "attempt": attempt, "first_seq": 0, "entries": [] });
    let output = json!({ "worker_id": "stateful", "output": "x" });
    // Nobody has it yet.
    for word in ["completed", "failed", "cancelled", "pending", "interrupted"] {
        http.put(&format!("{path}/status"), &status(word, json!(null))).await?.refused(409, "stale_attempt")?;
        http.put(&format!("{path}/status"), &status(word, json!(1))).await?.refused(409, "stale_attempt")?;
    }
    http.post(&format!("{path}/stream"), &entries(0)).await?.refused(409, "stale_attempt")?;
    http.post(&format!("{path}/stream"), &entries(1)).await?.refused(409, "stale_attempt")?;
    http.post(&format!("{path}/output"), &output).await?.refused(409, "stale_attempt")?;
    let given = worker.take().await?;
    for attempt in [0, 2, u64::MAX] {
        http.put(&format!("{path}/status"), &status("completed", json!(attempt))).await?.refused(409, "stale_attempt")?;
        http.post(&format!("{path}/stream"), &entries(attempt)).await?.refused(409, "stale_attempt")?;
    }
    http.post(&format!("{path}/retry"), &json!({})).await?.refused(409, "conflict")?;
    let error = http.put(&format!("{path}/status"), &status("sleeping", json!(1))).await?.refused(422, "invalid")?;
    ensure!(error["details"]["fields"][0]["field"] == "status", "{error}");
    worker.run(&given, &["x"]).await?;
    for word in ["running", "failed", "cancelled", "pending", "interrupted"] {
        http.put(&format!("{path}/status"), &status(word, json!(1))).await?.refused(409, "terminal")?;
    }
    http.post(&format!("{path}/cancel"), &json!({})).await?.refused(409, "terminal")?;
    http.post(&format!("{path}/output"), &output).await?.refused(409, "stale_attempt").map(drop)
}

async fn json_rpc_tells_its_errors_with_its_numbers(cx: &Cx) -> Result<()> {
    rpc::errors(&Victim::new(cx, &SERVER, "rpc").await?).await
}

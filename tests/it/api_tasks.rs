//! Tasks over HTTP: the fields that existing clients read, idempotency, pages, retry, the next turn, cancel.

use crate::earlier_clients::TASK;
use crate::support::{Cx, Http, PlainWorker, Puller, Shared, cases, ensure_fields, items, text};
use anyhow::{Context, Result, ensure};
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

cases! {
    [] =>
        a_task_has_every_field_that_existing_clients_read,
        a_trigger_makes_a_task,
        a_submit_is_answered_with_the_whole_task,
        the_same_key_and_body_are_one_task,
        a_list_is_in_order_and_filtered,
        pages_lose_nothing_and_show_nothing_twice,
        a_task_that_has_ended_can_be_repeated,
        a_message_is_the_next_turn,
        a_waiting_task_is_canceled_at_once,
        a_handed_back_task_waits_again,
        a_task_fails_at_its_deadline,
        a_viewer_who_lists_waiting_tasks_takes_none;
    [Postgres] =>
        a_task_has_every_field_that_existing_clients_read_on_postgresql,
        the_same_key_and_body_are_one_task_on_postgresql,
        a_list_is_in_order_and_filtered_on_postgresql,
        pages_lose_nothing_and_show_nothing_twice_on_postgresql;
}

static SERVER: Shared = Shared::embedded("api-tasks", "");
static POSTGRES: Shared = Shared::on_postgres("api-tasks-postgres", "");

/// Beside those of the earlier system.
const MORE: &[(&str, &str)] = &[
    ("state", "string"),
    ("mode", "string"),
    ("attempt", "int"),
    ("worker_id", "string|null"),
    ("context_id", "string"),
    ("usage", "object|null"),
    ("updated_at", "time"),
    ("owner", "string"),
    ("target", "object"),
    ("entries", "int"),
];

fn ensure_task(task: &Value) -> Result<()> {
    ensure_fields(task, TASK)?;
    ensure_fields(task, MORE)
}

async fn submit(http: &Http, body: Value) -> Result<Value> {
    http.post("/v1/opencode/tasks", &body).await?.ok()
}

async fn task(http: &Http, task: &Value) -> Result<Value> {
    http.get(&format!("/v1/opencode/tasks/{}", text(task, "id")?)).await?.ok()
}

async fn a_task_has_every_field_that_existing_clients_read(cx: &Cx) -> Result<()> {
    fields(&SERVER.http(cx).await?).await
}

async fn a_task_has_every_field_that_existing_clients_read_on_postgresql(cx: &Cx) -> Result<()> {
    fields(&POSTGRES.http(cx).await?).await
}

async fn fields(http: &Http) -> Result<()> {
    let worker = PlainWorker::start(http, "fields", &[("app", "/srv/fields")]).await?;
    let path = format!("/v1/opencode/codebases/{}/tasks", text(&worker.codebases[0], "id")?);
    let metadata = json!({ "model": "anthropic/claude-x", "resume_session_id": "ses_before", "ticket": 7 });
    let body = json!({ "title": "T", "prompt": "P", "agent_type": "plan", "priority": 3, "metadata": metadata });
    let answer = http.post(&path, &body).await?.ok()?;
    ensure!(answer["success"] == true, "{answer}");
    let made = &answer["task"];
    ensure_task(made)?;
    for (field, expected) in [
        ("title", json!("T")),
        ("prompt", json!("P")),
        ("agent_type", json!("plan")),
        ("mode", json!("plan")),
        ("status", json!("pending")),
        ("state", json!("submitted")),
        ("priority", json!(3)),
        ("metadata", metadata),
        ("model", json!("anthropic/claude-x")),
        ("codebase_id", worker.codebases[0]["id"].clone()),
        ("worker_id", json!("fields")),
        ("attempt", json!(0)),
        ("started_at", Value::Null),
        ("owner", json!("local")),
    ] {
        ensure!(made[field] == expected, "`{field}` is {}, not {expected}", made[field]);
    }
    ensure!(task(http, made).await? == *made, "it is shown otherwise by its id");
    let listed = http.get(&path).await?.ok()?;
    ensure!(items(&listed)?.len() == 1 && listed[0] == *made, "the list of the codebase is {listed}");
    let shown = worker.poll().await?.context("it is not shown to its worker")?;
    worker.run(&shown, &["done"]).await?;
    let ended = task(http, made).await?;
    ensure_task(&ended)?;
    ensure_fields(&ended, &[("started_at", "time"), ("completed_at", "time"), ("result", "string")])?;
    // What an earlier client leaves out has its default.
    let answer = http.post(&path, &json!({ "title": "T", "prompt": "P" })).await?.ok()?;
    let defaults = &answer["task"];
    ensure!(defaults["agent_type"] == "build" && defaults["priority"] == 0 && defaults["metadata"] == json!({}), "{defaults}");
    for (body, field) in [(json!({ "title": "T" }), "prompt"), (json!({ "prompt": "P" }), "title")] {
        let error = http.post(&path, &body).await?.refused(422, "invalid")?;
        ensure!(error["details"]["fields"][0]["field"] == field, "{error}");
    }
    Ok(())
}

async fn a_trigger_makes_a_task(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "trigger", &[]).await?;
    let global = text(&worker.global, "id")?;
    let body =
        json!({ "prompt": "look at", "agent": "plan", "model": "anthropic/claude-x", "files": ["a.rs", "b.rs"], "metadata": { "k": 1 } });
    let answer = http.post(&format!("/v1/opencode/codebases/{global}/trigger"), &body).await?.ok()?;
    ensure_fields(
        &answer,
        &[
            ("success", "bool"),
            ("session_id", "string|null"),
            ("message", "string"),
            ("codebase_id", "string"),
            ("agent", "string"),
            ("error", "string|null"),
        ],
    )?;
    ensure!(answer["success"] == true && answer["codebase_id"] == global && answer["agent"] == "plan", "{answer}");
    let made = http.get(&format!("/v1/opencode/tasks/{}", text(&answer, "task_id")?)).await?.ok()?;
    let prompt = text(&made, "prompt")?;
    ensure!(prompt.starts_with("look at") && prompt.contains("@a.rs") && prompt.contains("@b.rs"), "the prompt is {prompt:?}");
    ensure!(made["model"] == "anthropic/claude-x" && made["metadata"]["k"] == 1, "{made}");
    let path = "/v1/opencode/codebases/no-such/trigger";
    http.post(path, &json!({ "prompt": "x" })).await?.refused(404, "not_found").map(drop)
}

async fn a_submit_is_answered_with_the_whole_task(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    Puller::register(SERVER.get(cx).await?.client(), "whole", json!({})).await?;
    let body = json!({
        "prompt": "do it", "title": "It", "target": { "worker": "whole" }, "model": "fake/echo", "agent_type": "plan", "capabilities": ["opencode"],
        "labels": {}, "priority": -2, "not_before": "2099-01-01T01:00:00+01:00", "deadline": "2099-01-02T00:00:00Z", "context_id": "my-context",
        "on_lost": "restart", "max_attempts": 5, "metadata": { "a": [1, null] }, "unknown_field": true,
    });
    let made = submit(&http, body).await?;
    ensure_task(&made)?;
    for (field, expected) in [
        ("mode", json!("plan")),
        ("priority", json!(-2)),
        ("not_before", json!("2099-01-01T00:00:00.000Z")),
        ("deadline", json!("2099-01-02T00:00:00.000Z")),
        ("context_id", json!("my-context")),
        ("on_lost", json!("restart")),
        ("max_attempts", json!(5)),
        ("metadata", json!({ "a": [1, null] })),
        ("target", json!({ "worker": "whole" })),
    ] {
        ensure!(made[field] == expected, "`{field}` is {}, not {expected}", made[field]);
    }
    Ok(())
}

async fn the_same_key_and_body_are_one_task(cx: &Cx) -> Result<()> {
    idempotency(&SERVER.http(cx).await?).await
}

async fn the_same_key_and_body_are_one_task_on_postgresql(cx: &Cx) -> Result<()> {
    idempotency(&POSTGRES.http(cx).await?).await
}

/// For no worker of another case.
const ONCE: &str = r#"{"prompt":"once","capabilities":["nobody-has-it"],"metadata":{"a":1,"b":2}}"#;

async fn idempotency(http: &Http) -> Result<()> {
    let send = async |key: &str, body: &str| {
        let request = http.request(Method::POST, "/v1/opencode/tasks").header("content-type", "application/json");
        http.send(request.header("idempotency-key", key).body(body.to_owned())).await
    };
    let one = send("k-1", ONCE).await?.ok()?;
    let reordered = send("k-1", r#"{ "metadata": {"b":2,"a":1}, "capabilities": ["nobody-has-it"], "prompt": "once" }"#).await?.ok()?;
    ensure!(one["id"] == reordered["id"], "the same body in another order is another task");
    send("k-1", r#"{"prompt":"twice"}"#).await?.refused(409, "idempotency_key_reused")?;
    let other = send("k-2", ONCE).await?.ok()?;
    ensure!(one["id"] != other["id"], "another key is the same task");
    // Retries that cross each other.
    let all = iter(0..24).map(|_| send("k-3", r#"{"prompt":"at once","capabilities":["nobody-has-it"]}"#)).buffer_unordered(24);
    let ids: BTreeSet<String> = all.map(|answer| Ok::<_, anyhow::Error>(text(&answer?.ok()?, "id")?.to_owned())).try_collect().await?;
    ensure!(ids.len() == 1, "24 retries made {} tasks", ids.len());
    let listed = http.get("/v1/opencode/tasks?q=at%20once").await?.ok()?;
    ensure!(items(&listed)?.len() == 1, "{listed}");
    for key in ["", " ", "a b", "größe"] {
        let answer = send(key, r#"{"prompt":"x"}"#).await?;
        ensure!(answer.status == 400, "the key {key:?}: {}", answer.text);
        answer.error()?;
    }
    Ok(())
}

async fn a_list_is_in_order_and_filtered(cx: &Cx) -> Result<()> {
    lists(&SERVER.http(cx).await?).await
}

async fn a_list_is_in_order_and_filtered_on_postgresql(cx: &Cx) -> Result<()> {
    lists(&POSTGRES.http(cx).await?).await
}

async fn lists(http: &Http) -> Result<()> {
    let worker = PlainWorker::start(http, "lists", &[("listed", "/srv/lists")]).await?;
    let codebase = text(&worker.codebases[0], "id")?;
    for (prompt, priority) in [("Älpha 1", 0), ("beta 2", 5), ("gamma 3", 0), ("delta_4%", -1), ("epsilon 5", 5)] {
        let context = matches!(prompt, "gamma 3" | "delta_4%").then_some("listed");
        let target = json!({ "codebase": codebase });
        submit(http, json!({ "prompt": prompt, "priority": priority, "target": target, "context_id": context })).await?;
    }
    let list = async |query: &str| -> Result<Vec<String>> {
        let listed = http.get(&format!("/v1/opencode/tasks?codebase_id={codebase}&{query}")).await?.ok()?;
        items(&listed)?.iter().map(|task| Ok(text(task, "prompt")?.to_owned())).collect()
    };
    let all = ["beta 2", "epsilon 5", "Älpha 1", "gamma 3", "delta_4%"];
    ensure!(list("").await? == all, "in order: {:?}", list("").await?);
    ensure!(list("limit=2").await? == all[..2], "the first two: {:?}", list("limit=2").await?);
    ensure!(list("q=GAMMA").await? == ["gamma 3"], "{:?}", list("q=GAMMA").await?);
    ensure!(list("q=_4%25").await? == ["delta_4%"], "a text is no pattern: {:?}", list("q=_4%25").await?);
    ensure!(list("q=%C3%84LPHA").await? == ["Älpha 1"], "a letter beyond ASCII: {:?}", list("q=%C3%84LPHA").await?);
    ensure!(list("context_id=listed").await? == ["gamma 3", "delta_4%"], "{:?}", list("context_id=listed").await?);
    ensure!(list("status=completed").await?.is_empty(), "some are completed");
    let shown = worker.poll().await?.context("nothing is shown")?;
    ensure!(shown["prompt"] == "beta 2", "the first shown is {}", shown["prompt"]);
    worker.report(&shown, "running", json!({})).await?.ok()?;
    for running in ["running", "assigned"] {
        ensure!(list(&format!("status={running}")).await? == ["beta 2"], "{running}: {:?}", list(&format!("status={running}")).await?);
    }
    worker.report(&shown, "completed", json!({ "result": "" })).await?.ok()?;
    ensure!(
        list("status=completed").await? == ["beta 2"] && list("status=pending").await? == all[1..],
        "{:?}",
        list("status=pending").await?
    );
    http.get("/v1/opencode/tasks?status=sleeping").await?.refused(422, "invalid")?;
    ensure!(list("worker_id=nobody").await?.is_empty(), "another worker's tasks are shown");
    Ok(())
}

async fn pages_lose_nothing_and_show_nothing_twice(cx: &Cx) -> Result<()> {
    pages(&SERVER.http(cx).await?).await
}

async fn pages_lose_nothing_and_show_nothing_twice_on_postgresql(cx: &Cx) -> Result<()> {
    pages(&POSTGRES.http(cx).await?).await
}

async fn pages(http: &Http) -> Result<()> {
    PlainWorker::start(http, "pages", &[]).await?;
    PlainWorker::start(http, "other-pages", &[]).await?;
    let make = |n: usize, worker: &'static str| async move {
        let body = json!({ "prompt": format!("page task {n}"), "priority": n % 3, "target": { "worker": worker } });
        Ok::<_, anyhow::Error>(text(&submit(http, body).await?, "id")?.to_owned())
    };
    let expected: BTreeSet<String> = iter(0..1_200).map(|n| make(n, "pages")).buffer_unordered(64).try_collect().await?;
    make(0, "other-pages").await?;
    ensure!(expected.len() == 1_200, "only {} tasks were made", expected.len());
    let by_cursor = async {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = http.get(&format!("/v1/opencode/tasks?worker_id=pages&limit=100{cursor}")).await?;
            seen.extend(items(&page.ok()?)?.iter().map(|task| task["id"].clone()));
            let Some(next) = page.header("x-next-cursor") else { return Ok::<_, anyhow::Error>(seen) };
            cursor = format!("&cursor={next}");
        }
    };
    let by_link = async {
        let first = "/v1/opencode/tasks?worker_id=pages&q=page%20task&limit=333";
        let (mut seen, mut path) = (Vec::new(), first.to_owned());
        loop {
            let page = http.get(&path).await?;
            seen.extend(items(&page.ok()?)?.iter().map(|task| task["id"].clone()));
            let Some(link) = page.header("link") else { return Ok(seen) };
            let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
            let base: url::Url = format!("http://here{path}").parse()?;
            let next = base.join(target.with_context(|| format!("no link to the next page: {link}"))?)?;
            path = format!("{}?{}", next.path(), next.query().unwrap_or_default());
        }
    };
    // More come while the pages are read.
    let (by_cursor, by_link, _) = tokio::try_join!(by_cursor, by_link, make(1, "other-pages"))?;
    for seen in [by_cursor, by_link] {
        let found: BTreeSet<String> = seen.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        ensure!(seen.len() == found.len(), "{} of {} are shown twice", seen.len() - found.len(), seen.len());
        ensure!(found == expected, "{} of 1200 are shown", found.len());
    }
    let whole = http.get("/v1/opencode/tasks?worker_id=pages").await?;
    ensure!(items(&whole.ok()?)?.len() == 500 && whole.header("x-next-cursor").is_some(), "without a limit a list is not of 500");
    Ok(())
}

async fn a_task_that_has_ended_can_be_repeated(cx: &Cx) -> Result<()> {
    let (http, client) = (SERVER.http(cx).await?, SERVER.get(cx).await?.client());
    let worker = Puller::register(client, "repeat", json!({})).await?;
    let body = json!({ "prompt": "again", "title": "T", "target": { "worker": "repeat" }, "model": "fake/echo", "priority": 4, "metadata": { "k": "v" } });
    let first = submit(&http, body).await?;
    let retry = format!("/v1/opencode/tasks/{}/retry", text(&first, "id")?);
    http.post(&retry, &json!({})).await?.refused(409, "conflict")?;
    worker.run(&worker.take().await?, &["one"]).await?;
    // Without any body too.
    let second = http.send(http.request(Method::POST, &retry)).await?.ok()?;
    ensure!(second["id"] != first["id"] && second["retry_of"] == first["id"], "{second}");
    for field in ["prompt", "title", "model", "priority", "metadata", "context_id", "target", "mode", "worker_id"] {
        ensure!(second[field] == first[field], "`{field}` is {}, not {}", second[field], first[field]);
    }
    let given = worker.take().await?;
    ensure!(given.session_id.is_some(), "the repeated task does not go on in its conversation");
    worker.run(&given, &["two"]).await?;
    ensure!(task(&http, &first).await?["result"] == "one" && task(&http, &second).await?["result"] == "two", "the results are mixed up");
    Ok(())
}

async fn a_message_is_the_next_turn(cx: &Cx) -> Result<()> {
    let (http, client) = (SERVER.http(cx).await?, SERVER.get(cx).await?.client());
    let worker = Puller::register(client, "turns", json!({})).await?;
    let first = submit(&http, json!({ "prompt": "one", "target": { "worker": "turns" }, "model": "fake/echo", "mode": "plan" })).await?;
    let given = worker.take().await?;
    let path = format!("/v1/opencode/tasks/{}/message", text(&first, "id")?);
    let second = http.post(&path, &json!({ "prompt": "two" })).await?.ok()?;
    ensure!(second["context_id"] == first["context_id"] && second["model"] == "fake/echo" && second["mode"] == "plan", "{second}");
    ensure!(second["status"] == "pending", "{second}");
    ensure!(worker.pull(&[crate::support::running(given.task.id, 1)], Duration::ZERO).await?.is_empty(), "two turns run at once");
    worker.run(&given, &["1"]).await?;
    let next = worker.take().await?;
    ensure!(next.task.id.to_string() == text(&second, "id")? && next.session_id.is_some(), "{next:?}");
    worker.run(&next, &["2"]).await?;
    http.post(&path, &json!({ "prompt": " " })).await?.refused(422, "invalid")?;
    let elsewhere = json!({ "prompt": "three", "context_id": first["context_id"], "target": { "any": true } });
    ensure!(submit(&http, elsewhere).await?["worker_id"] == "turns", "the third turn went elsewhere");
    Ok(())
}

async fn a_waiting_task_is_canceled_at_once(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let waiting = submit(&http, json!({ "prompt": "never", "capabilities": ["nobody-has-it"] })).await?;
    let path = format!("/v1/opencode/tasks/{}/cancel", text(&waiting, "id")?);
    let answer = http.send(http.request(Method::POST, &path)).await?.ok()?;
    ensure_fields(&answer, &[("success", "bool"), ("message", "string"), ("confirmed", "bool"), ("task", "object")])?;
    ensure!(answer["success"] == true && answer["confirmed"] == true && answer["task"]["status"] == "cancelled", "{answer}");
    let error = http.post(&path, &json!({})).await?.refused(409, "terminal")?;
    ensure!(error["details"]["state"] == "canceled", "{error}");
    Ok(())
}

async fn a_handed_back_task_waits_again(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "returns", &[]).await?;
    submit(&http, json!({ "prompt": "x", "target": { "worker": "returns" } })).await?;
    let shown = worker.poll().await?.context("nothing is shown")?;
    worker.report(&shown, "running", json!({})).await?.ok()?;
    let back = worker.report(&shown, "pending", json!({})).await?.ok()?;
    ensure!(back["task"]["status"] == "pending", "{back}");
    let again = worker.poll().await?.context("it is not shown again")?;
    ensure!(again["id"] == shown["id"] && again["attempt"] == 2, "{again}");
    worker.run(&again, &[]).await
}

async fn a_task_fails_at_its_deadline(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() + 300;
    let made = submit(&http, json!({ "prompt": "late", "capabilities": ["nobody-has-it"], "deadline": u64::try_from(soon)? })).await?;
    let ended = crate::support::wait_for("the deadline", Duration::from_secs(10), async || {
        Ok(Some(task(&http, &made).await?).filter(|task| task["status"] == "failed"))
    })
    .await?;
    ensure!(ended["error_code"] == "deadline_exceeded" && ended["error"].is_string(), "{ended}");
    Ok(())
}

async fn a_viewer_who_lists_waiting_tasks_takes_none(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "watched", &[]).await?;
    let made = submit(&http, json!({ "prompt": "x", "target": { "worker": "watched" } })).await?;
    submit(&http, json!({ "prompt": "y", "target": { "worker": "watched" } })).await?;
    let token = http.post("/v1/tokens", &json!({ "scope": "viewer" })).await?.ok()?;
    let viewer = http.clone().with_token(text(&token, "secret")?)?;
    let listed = viewer.get("/v1/opencode/tasks?status=pending&worker_id=watched").await?.ok()?;
    ensure!(items(&listed)?.len() == 2, "a viewer is shown {listed}");
    ensure!(task(&http, &made).await?["attempt"] == 0, "a look at the list reserved a task");
    worker.run(&worker.poll().await?.context("nothing is shown")?, &[]).await
}

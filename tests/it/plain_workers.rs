//! Plain polling workers of the earlier system: their whole life in its order, and two of them on one path.

use crate::support::{Cx, Http, PlainWorker, Postgres, Server, Shared, cases, ensure_fields, items, text, wait_for};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

cases! {
    [] =>
        a_plain_worker_lives_as_it_always_did,
        two_plain_workers_on_one_path_run_each_task_once,
        a_plain_worker_is_shown_one_task_at_a_time,
        a_claim_that_comes_second_is_refused,
        a_plain_worker_that_fails_says_why,
        a_plain_worker_finds_the_codebase_that_is_looked_for,
        the_last_worker_without_the_path_ends_the_search;
    [Postgres] =>
        a_plain_worker_lives_as_it_always_did_on_postgresql,
        two_plain_workers_on_one_path_run_each_task_once_on_postgresql;
}

static SERVER: Shared = Shared::embedded("plain-workers", "");
static POSTGRES: Shared = Shared::on_postgres("plain-workers-postgres", "");

async fn a_plain_worker_lives_as_it_always_did(cx: &Cx) -> Result<()> {
    whole_life(&SERVER.http(cx).await?).await
}

async fn a_plain_worker_lives_as_it_always_did_on_postgresql(cx: &Cx) -> Result<()> {
    whole_life(&POSTGRES.http(cx).await?).await
}

async fn whole_life(http: &Http) -> Result<()> {
    let worker = PlainWorker::start(http, "life", &[("app", "/srv/life/app")]).await?;
    ensure!(worker.global["is_global"] == true && worker.global["worker_id"] == "life", "its home is {}", worker.global);
    ensure!(worker.registered["success"] == true, "{}", worker.registered);
    ensure_fields(
        &worker.registered["worker"],
        &[
            ("worker_id", "string"),
            ("name", "string"),
            ("capabilities", "array"),
            ("hostname", "string"),
            ("models", "array"),
            ("global_codebase_id", "string"),
            ("registered_at", "time"),
            ("last_seen", "time"),
            ("status", "string"),
        ],
    )?;
    ensure!(worker.registered["worker"]["global_codebase_id"] == worker.global["id"], "{}", worker.registered);
    // Sessions that its OpenCode has, and their newest messages.
    let session = json!({ "id": "ses_life", "title": "Old", "directory": "/srv/life/app", "project_id": "p", "created": "2026-01-01T10:00:00.123456",
        "updated": "2026-01-01T11:00:00", "messageCount": 1, "summary": {}, "version": "1.0" });
    let own = text(&worker.codebases[0], "id")?;
    worker.sync(&format!("{own}/sessions/sync"), "sessions", &[session], "sessions_count").await?;
    worker.sync(&format!("{own}/sessions/ses_life/messages/sync"), "messages", &[message("msg_1", "user")], "messages_count").await?;
    ensure!(worker.poll().await?.is_none(), "there is a task before any was made");

    let app = text(&worker.codebases[0], "id")?;
    let body = json!({ "title": "Say it", "prompt": "say it twice", "metadata": { "model": "anthropic/claude-x" } });
    let made = http.post(&format!("/v1/opencode/codebases/{app}/tasks"), &body).await?.ok()?["task"].clone();
    let shown = worker.poll().await?.context("the task is not shown")?;
    for field in ["id", "title", "prompt", "agent_type", "codebase_id", "priority", "metadata", "created_at"] {
        ensure!(shown[field] == made[field], "`{field}` is shown as {}, not {}", shown[field], made[field]);
    }
    ensure!(shown["status"] == "pending" && shown["metadata"]["model"] == "anthropic/claude-x", "it is shown as {shown}");

    worker.report(&shown, "running", json!({})).await?.ok()?;
    let path = format!("/v1/opencode/tasks/{}", text(&shown, "id")?);
    let running = http.get(&path).await?.ok()?;
    ensure!(running["status"] == "running" && running["worker_id"] == "life" && running["started_at"].is_string(), "{running}");
    ensure!(worker.say(&shown, "line one").await?.ok()?["success"] == true, "no success");
    worker.report(&shown, "running", json!({ "session_id": "ses_life" })).await?.ok()?;
    worker.say(&shown, "line two").await?.ok()?;
    worker.report(&shown, "running", json!({ "session_id": "ses_life" })).await?.ok()?;
    let both = [message("msg_1", "user"), message("msg_2", "assistant")];
    worker.sync(&format!("{app}/sessions/ses_life/messages/sync"), "messages", &both, "messages_count").await?;
    let messages = http.get(&format!("/v1/opencode/codebases/{app}/sessions/ses_life/messages")).await?.ok()?;
    ensure!(items(&messages["messages"])?.len() == 2 && messages["session_id"] == "ses_life", "its messages are {messages}");
    worker.report(&shown, "completed", json!({ "result": "said it", "session_id": "ses_life" })).await?.ok()?;

    let done = http.get(&path).await?.ok()?;
    ensure!(done["status"] == "completed" && done["result"] == "said it" && done["session_id"] == "ses_life", "it ended as {done}");
    ensure!(done["completed_at"].is_string() && done["error"].is_null() && done["attempt"] == 1, "it ended as {done}");
    let output = http.get(&format!("{path}/output")).await?.ok()?;
    let lines: Vec<_> = items(&output["outputs"])?.iter().map(|item| item["output"].clone()).collect();
    ensure!(lines == ["line one", "line two"] && output["total"] == 2, "its output is {output}");
    let item = &output["outputs"][0];
    ensure!(item["timestamp"] == "2026-11-22T12:30:00.123Z" && item["worker_id"] == "life", "an item is {item}");

    ensure!(worker.poll().await?.is_none(), "a task that has ended is shown");
    // It registers again every minute; nothing is new.
    let registered_at = worker.registered["worker"]["registered_at"].clone();
    let again = PlainWorker::start(http, "life", &[("app", "/srv/life/app")]).await?;
    ensure!(again.registered["worker"]["registered_at"] == registered_at, "registered_at moved: {}", again.registered);
    ensure!(again.global["id"] == worker.global["id"] && again.codebases[0]["id"] == app, "its codebases have other ids");
    http.post("/v1/opencode/workers/life/unregister", &json!({})).await?.ok().map(drop)
}

fn message(id: &str, role: &str) -> Value {
    json!({ "id": id, "sessionID": "ses_life", "role": role, "time": { "created": "2026-01-01T10:00:00.5" }, "agent": "build", "model": "a/b",
        "parts": [{ "id": format!("prt_{id}"), "type": "text", "text": "hello" }] })
}

async fn two_plain_workers_on_one_path_run_each_task_once(cx: &Cx) -> Result<()> {
    // Its own: tasks for anybody would be shown to the workers of other cases.
    let server = Server::start(cx).await?;
    two_on_one_path(&Http::new(&server)).await
}

async fn two_plain_workers_on_one_path_run_each_task_once_on_postgresql(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]);
    let server = server.launch().await?;
    two_on_one_path(&Http::new(&server)).await
}

async fn two_on_one_path(http: &Http) -> Result<()> {
    let path = "/srv/shared/app";
    let one = PlainWorker::start(http, "one", &[("shared", path)]).await?;
    let other = PlainWorker::start(http, "other", &[("shared", path)]).await?;
    let (a, b) = (text(&one.codebases[0], "id")?, text(&other.codebases[0], "id")?);
    ensure!(a != b, "the same path on two machines is one codebase");
    let mut ids = Vec::new();
    for n in 0..40 {
        // A few for each, the others for whoever comes first.
        let target = match n % 4 {
            0 => json!({ "codebase": a }),
            1 => json!({ "codebase": b }),
            _ => json!({ "any": true }),
        };
        let task = http.post("/v1/opencode/tasks", &json!({ "prompt": format!("task {n}"), "target": target })).await?.ok()?;
        ids.push(text(&task, "id")?.to_owned());
    }
    let (ran_one, ran_other) = tokio::try_join!(run_all(http, &one, 40), run_all(http, &other, 40))?;
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for id in ran_one.iter().chain(&ran_other) {
        *runs.entry(id.clone()).or_default() += 1;
    }
    for id in &ids {
        ensure!(runs.get(id) == Some(&1), "task {id} was run {:?} times", runs.get(id).unwrap_or(&0));
        let task = http.get(&format!("/v1/opencode/tasks/{id}")).await?.ok()?;
        ensure!(task["status"] == "completed" && task["attempt"] == 1, "{task}");
        let output = http.get(&format!("/v1/opencode/tasks/{id}/output")).await?.ok()?;
        ensure!(output["total"] == 2, "the output of {id} is {output}");
    }
    ensure!(!ran_one.is_empty() && !ran_other.is_empty(), "one of them ran everything");
    Ok(())
}

/// Runs whole snapshots one after the other, as the earlier system's worker does: it looks at no answer, and runs what it was shown whatever its
/// claim is answered. Ends when no task is left, neither for it nor for anybody else.
async fn run_all(http: &Http, worker: &PlainWorker, most: usize) -> Result<Vec<String>> {
    let mut ran = Vec::new();
    while let Some(task) = next_or_end(http, worker).await? {
        drop(worker.report(&task, "running", json!({})).await?);
        for line in ["one", "two"] {
            drop(worker.say(&task, line).await?);
        }
        drop(worker.report(&task, "running", json!({ "session_id": format!("ses_{}", text(&task, "id")?) })).await?);
        drop(worker.report(&task, "completed", json!({ "result": "done" })).await?);
        ran.push(text(&task, "id")?.to_owned());
        ensure!(ran.len() <= most, "it was shown more tasks than there are");
    }
    Ok(ran)
}

/// The next task that a worker is shown; none when none is pending or running any more.
async fn next_or_end(http: &Http, worker: &PlainWorker) -> Result<Option<Value>> {
    let what = format!("a task for {}, or the end of all", worker.id);
    wait_for(&what, Duration::from_mins(1), async || {
        if let Some(task) = worker.poll().await? {
            return Ok(Some(Some(task)));
        }
        // In the order in which a task goes through them, so that none slips through in between.
        for status in ["pending", "running"] {
            let tasks = http.get(&format!("/v1/opencode/tasks?status={status}")).await?.ok()?;
            if !items(&tasks)?.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(None))
    })
    .await
}

async fn submit(http: &Http, worker: &str, prompt: &str) -> Result<Value> {
    http.post("/v1/opencode/tasks", &json!({ "prompt": prompt, "target": { "worker": worker } })).await?.ok()
}

async fn a_plain_worker_is_shown_one_task_at_a_time(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "single", &[]).await?;
    let (first, second) = (submit(&http, "single", "first").await?, submit(&http, "single", "second").await?);
    let shown = worker.poll().await?.context("nothing is shown")?;
    let again = worker.poll().await?.context("what was shown is gone")?;
    ensure!(shown["id"] == first["id"] && again["id"] == first["id"], "shown: {} and {}", shown["id"], again["id"]);
    worker.report(&shown, "running", json!({})).await?.ok()?;
    ensure!(worker.poll().await?.is_none(), "a second task is shown while the first runs");
    worker.report(&shown, "completed", json!({ "result": "" })).await?.ok()?;
    let next = worker.poll().await?.context("the second is not shown")?;
    ensure!(next["id"] == second["id"], "shown: {}", next["id"]);
    worker.run(&next, &[]).await
}

async fn a_claim_that_comes_second_is_refused(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let fast = PlainWorker::start(&http, "fast", &[]).await?;
    let slow = PlainWorker::start(&http, "slow", &[]).await?;
    let task = submit(&http, "fast", "mine").await?;
    slow.report(&task, "running", json!({})).await?.refused(409, "conflict")?;
    fast.report(&task, "running", json!({})).await?.ok()?;
    slow.report(&task, "running", json!({})).await?.refused(409, "held")?;
    slow.say(&task, "not mine").await?.refused(409, "stale_attempt")?;
    slow.report(&task, "completed", json!({ "result": "stolen" })).await?.refused(409, "held")?;
    fast.report(&task, "completed", json!({ "result": "mine" })).await?.ok()?;
    // The same again is answered as before; anything else is refused: terminal is final.
    fast.report(&task, "completed", json!({ "result": "mine" })).await?.ok()?;
    fast.report(&task, "failed", json!({ "error": "no" })).await?.refused(409, "terminal")?;
    slow.report(&task, "running", json!({})).await?.refused(409, "terminal")?;
    let done = http.get(&format!("/v1/opencode/tasks/{}", text(&task, "id")?)).await?.ok()?;
    ensure!(done["result"] == "mine" && done["status"] == "completed", "{done}");
    Ok(())
}

async fn a_plain_worker_that_fails_says_why(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "unlucky", &[]).await?;
    submit(&http, "unlucky", "fail").await?;
    let task = worker.poll().await?.context("nothing is shown")?;
    worker.report(&task, "running", json!({})).await?.ok()?;
    worker.report(&task, "failed", json!({ "error": "exit code 3" })).await?.ok()?;
    let done = http.get(&format!("/v1/opencode/tasks/{}", text(&task, "id")?)).await?.ok()?;
    ensure!(done["status"] == "failed" && done["error"] == "exit code 3" && done["result"].is_null(), "{done}");
    Ok(())
}

async fn a_plain_worker_finds_the_codebase_that_is_looked_for(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    let body = json!({ "name": "somewhere", "path": "/srv/somewhere", "description": "wanted" });
    let pending = http.post("/v1/opencode/codebases", &body).await?.ok()?;
    ensure!(pending["success"] == true && pending["pending"] == true && pending["codebase"].is_null(), "{pending}");
    let task = http.get(&format!("/v1/opencode/tasks/{}", text(&pending, "task_id")?)).await?.ok()?;
    ensure!(task["agent_type"] == "register_codebase" && task["codebase_id"] == "__pending__", "{task}");
    ensure!(task["metadata"]["path"] == "/srv/somewhere" && task["metadata"]["name"] == "somewhere", "{task}");

    let (without, with) = (PlainWorker::start(&http, "without", &[]).await?, PlainWorker::start(&http, "with", &[]).await?);
    // The one that has not the path leaves it alone: the other is shown it when the offer is over, and until then may claim nothing.
    let shown = without.poll().await?.context("the task is not shown")?;
    ensure!(shown["id"] == task["id"] && with.poll().await?.is_none(), "it is offered to two at once");
    with.report(&task, "running", json!({})).await?.refused(409, "held")?;
    without.report(&task, "pending", json!({})).await?.ok()?;
    let shown = wait_for("the task to be offered to the other one", Duration::from_secs(10), async || with.poll().await).await?;
    with.report(&shown, "running", json!({})).await?.ok()?;
    let made =
        http.post("/v1/opencode/codebases", &json!({ "name": "somewhere", "path": "/srv/somewhere", "worker_id": "with" })).await?.ok()?;
    with.report(&shown, "completed", json!({ "result": made["codebase"]["id"] })).await?.ok()?;
    let codebases = http.get("/v1/opencode/codebases?path=/srv/somewhere").await?.ok()?;
    ensure!(items(&codebases)?.len() == 1 && codebases[0]["worker_id"] == "with", "{codebases}");
    Ok(())
}

async fn the_last_worker_without_the_path_ends_the_search(cx: &Cx) -> Result<()> {
    let server = Server::start(cx).await?;
    let http = Http::new(&server);
    let (one, other) = (PlainWorker::start(&http, "one", &[]).await?, PlainWorker::start(&http, "other", &[]).await?);
    let pending = http.post("/v1/opencode/codebases", &json!({ "name": "nowhere", "path": "/srv/nowhere" })).await?.ok()?;
    // As the earlier system's worker says it: it claims the task, looks for the directory, and fails.
    let without = async |worker: &PlainWorker| {
        let task = worker.poll().await?.context("the task is not shown")?;
        ensure!(task["id"] == pending["task_id"], "shown: {task}");
        worker.report(&task, "running", json!({})).await?.ok()?;
        worker.report(&task, "failed", json!({ "error": "Path does not exist on this worker: /srv/nowhere" })).await?.ok()
    };
    without(&one).await?;
    let path = format!("/v1/opencode/tasks/{}", text(&pending, "task_id")?);
    let task = http.get(&path).await?.ok()?;
    ensure!(task["status"] == "pending", "one worker without the path ends it: {task}");
    ensure!(one.poll().await?.is_none(), "it is asked again");
    without(&other).await?;
    let task = http.get(&path).await?.ok()?;
    ensure!(task["status"] == "failed" && text(&task, "error")?.contains("/srv/nowhere"), "{task}");
    Ok(())
}

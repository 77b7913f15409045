//! Sessions over HTTP: what the earlier system's worker sends, byte for byte in its forms, what its clients read, pages, scopes, and continuing one.

pub(crate) mod continued;

use crate::support::{Cx, Http, PlainWorker, Puller, Shared, cases, ensure_fields, items, text};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        sessions_go_as_the_earlier_worker_sends_them_and_its_clients_read_them,
        sessions_may_come_before_their_worker,
        lists_are_filtered_and_go_on_where_they_ended,
        the_last_messages_are_shown_oldest_first,
        what_is_too_much_or_is_no_id_is_refused,
        ten_thousand_sessions_go_in_one_call,
        a_deleted_session_is_not_there_any_more,
        a_token_of_one_worker_shows_its_own_sessions,
        a_session_is_found_by_its_id_alone;
    [Postgres] =>
        sessions_go_as_the_earlier_worker_sends_them_and_its_clients_read_them_on_postgresql,
        lists_are_filtered_and_go_on_where_they_ended_on_postgresql;
}

static SERVER: Shared = Shared::embedded("api-sessions", "");
static POSTGRES: Shared = Shared::on_postgres("api-sessions-postgres", "");

const SESSION: &[(&str, &str)] = &[
    ("id", "string"),
    ("title", "string|null"),
    ("directory", "string|null"),
    ("project_id", "string|null"),
    ("created", "time"),
    ("updated", "time"),
    ("messageCount", "int"),
    ("summary", "object|string|null"),
    ("version", "string|null"),
    // Beside those of the earlier system.
    ("worker_id", "string"),
    ("worker_name", "string|null"),
    ("codebase_id", "string"),
    ("codebase_name", "string|null"),
    ("context_id", "string|null"),
];

fn path_of(codebase: &Value) -> Result<String> {
    Ok(format!("/v1/opencode/codebases/{}/sessions", text(codebase, "id")?))
}

async fn sync(http: &Http, worker: &str, codebase: &Value, sessions: Value) -> Result<()> {
    let count = items(&sessions)?.len();
    let body = json!({ "worker_id": worker, "sessions": sessions });
    let answer = http.post(&format!("{}/sync", path_of(codebase)?), &body).await?.ok()?;
    ensure!(answer == json!({ "success": true, "sessions_count": count }), "{answer}");
    Ok(())
}

async fn sync_messages(http: &Http, worker: &str, codebase: &Value, session: &str, messages: Value) -> Result<()> {
    let count = items(&messages)?.len();
    let body = json!({ "worker_id": worker, "messages": messages });
    let answer = http.post(&format!("{}/{session}/messages/sync", path_of(codebase)?), &body).await?.ok()?;
    ensure!(answer == json!({ "success": true, "messages_count": count }), "{answer}");
    Ok(())
}

fn ids(sessions: &Value) -> Result<Vec<&str>> {
    items(sessions)?.iter().map(|session| text(session, "id")).collect()
}

async fn sessions_go_as_the_earlier_worker_sends_them_and_its_clients_read_them(cx: &Cx) -> Result<()> {
    earlier(&SERVER.http(cx).await?).await
}

async fn sessions_go_as_the_earlier_worker_sends_them_and_its_clients_read_them_on_postgresql(cx: &Cx) -> Result<()> {
    earlier(&POSTGRES.http(cx).await?).await
}

async fn earlier(http: &Http) -> Result<()> {
    let worker = PlainWorker::start(http, "earlier", &[("app", "/srv/earlier")]).await?;
    let app = &worker.codebases[0];
    // Its times have no zone; what its storage lacks is null, and `summary` is whatever OpenCode kept.
    let sessions = json!([
        {
            "id": "ses_2", "title": "Fix the build", "directory": "/srv/earlier", "project_id": "4b0ea68d7af9a6031a7ffda7ad66e0cb83315750",
            "created": "2023-11-14T22:13:20.123456", "updated": "2023-11-14T22:15:00", "messageCount": 2,
            "summary": { "additions": 3, "deletions": 1, "files": 2 }, "version": "1.0.12",
        },
        {
            "id": "ses_1", "title": "Untitled", "directory": null, "project_id": "global", "created": null, "updated": null,
            "messageCount": 0, "summary": {}, "version": null,
        },
        // Other forms of the same, and fields that nobody knows.
        { "id": "ses_0", "created": 1_600_000_000_000_i64, "updated": "2020-09-13T12:26:40Z", "summary": null, "share": { "url": "x" } },
        { "id": "ses_00", "created": 1_500_000_000_000_i64, "summary": "a text" },
    ]);
    sync(http, "earlier", app, sessions.clone()).await?;
    let listed = http.get(&path_of(app)?).await?.ok()?;
    ensure!(listed["source"] == "database" && listed.as_object().is_some_and(|fields| fields.len() == 2), "{listed}");
    ensure!(ids(&listed["sessions"])? == ["ses_1", "ses_2", "ses_0", "ses_00"], "the newest is not first: {listed}");
    for session in items(&listed["sessions"])? {
        ensure_fields(session, SESSION)?;
    }
    let expected = json!({
        "id": "ses_2", "title": "Fix the build", "directory": "/srv/earlier", "project_id": "4b0ea68d7af9a6031a7ffda7ad66e0cb83315750",
        "created": "2023-11-14T22:13:20.123Z", "updated": "2023-11-14T22:15:00.000Z", "messageCount": 2,
        "summary": { "additions": 3, "deletions": 1, "files": 2 }, "version": "1.0.12", "worker_id": "earlier", "worker_name": "earlier",
        "codebase_id": app["id"], "codebase_name": "app", "context_id": null,
    });
    ensure!(listed["sessions"][1] == expected, "{} is not {expected}", listed["sessions"][1]);
    ensure!(http.get(&format!("{}/ses_2", path_of(app)?)).await?.ok()? == expected, "it is shown otherwise by its id");
    ensure!(listed["sessions"][3]["summary"] == "a text" && listed["sessions"][2]["updated"] == "2020-09-13T12:26:40.000Z", "{listed}");
    // It sends all of them each time.
    sync(http, "earlier", app, sessions).await?;
    ensure!(http.get(&path_of(app)?).await?.ok()? == listed, "the same again changed something");

    let messages = json!([
        {
            "id": "msg_1", "sessionID": "ses_2", "role": "user", "time": { "created": "2023-11-14T22:13:20.500000" }, "agent": "build",
            "model": "anthropic/claude-x", "cost": null, "tokens": null, "tool_calls": [],
            "parts": [{ "id": "prt_1", "type": "text", "text": "Fix\u{0}it" }],
        },
        {
            "id": "msg_2", "sessionID": "ses_2", "role": "assistant", "time": { "created": "2023-11-14T22:13:21" }, "agent": null, "model": null,
            "cost": 0.0125, "tokens": { "input": 10, "output": 20, "reasoning": 0, "cache": { "read": 0, "write": 0 } }, "tool_calls": [],
            "parts": [
                { "id": "prt_2", "type": "tool", "tool": "bash", "state": { "status": "completed", "output": "ok" }, "callID": "c1" },
                { "id": "prt_3", "type": "step-finish", "reason": "stop", "cost": 0.0125, "tokens": { "input": 10 } },
            ],
        },
        // Not every one has all of it.
        { "id": "msg_3", "role": "user", "time": { "created": null }, "parts": [] },
    ]);
    sync_messages(http, "earlier", app, "ses_2", messages.clone()).await?;
    let answer = http.get(&format!("{}/ses_2/messages?limit=50", path_of(app)?)).await?.ok()?;
    ensure!(answer["session_id"] == "ses_2" && answer["source"] == "database", "{answer}");
    ensure!(ids(&answer["messages"])? == ["msg_3", "msg_1", "msg_2"], "{answer}");
    for message in items(&answer["messages"])? {
        ensure_fields(message, &[("id", "string"), ("role", "string|null"), ("parts", "array"), ("cost", "number|null")])?;
    }
    for (shown, sent) in [(1, 0), (2, 1)] {
        for field in ["id", "role", "time", "agent", "model", "cost", "tokens", "parts"] {
            ensure!(answer["messages"][shown][field] == messages[sent][field], "`{field}` is {}", answer["messages"][shown][field]);
        }
    }
    sync_messages(http, "earlier", app, "ses_2", messages).await?;
    let session = http.get(&format!("{}/ses_2", path_of(app)?)).await?.ok()?;
    ensure!(session["messageCount"] == 3, "{session}");
    // A codebase that the server has forgotten: the answer makes such a worker register it again.
    for (codebase, worker) in [(json!({ "id": "forgotten" }), "earlier"), (app.clone(), "somebody-else")] {
        let body = json!({ "worker_id": worker, "sessions": [{ "id": "ses_9" }] });
        http.post(&format!("{}/sync", path_of(&codebase)?), &body).await?.refused(404, "not_found")?;
        let body = json!({ "worker_id": worker, "messages": [{ "id": "msg_9" }] });
        http.post(&format!("{}/ses_9/messages/sync", path_of(&codebase)?), &body).await?.refused(404, "not_found")?;
    }
    Ok(())
}

async fn sessions_may_come_before_their_worker(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let body = json!({ "name": "global", "path": "/home/early", "worker_id": "early" });
    let home = http.post("/v1/opencode/codebases", &body).await?.ok()?["codebase"].clone();
    sync(&http, "early", &home, json!([{ "id": "ses_1", "title": "before" }])).await?;
    sync_messages(&http, "early", &home, "ses_2", json!([{ "id": "msg_1", "time": "2023-11-14T22:13:21" }])).await?;
    let listed = http.get(&path_of(&home)?).await?.ok()?;
    ensure!(ids(&listed["sessions"])? == ["ses_1", "ses_2"] && listed["sessions"][0]["worker_name"].is_null(), "{listed}");
    let everywhere = http.get("/v1/opencode/sessions?worker=early").await?.ok()?;
    ensure!(everywhere == listed["sessions"], "{everywhere}");
    PlainWorker::start(&http, "early", &[]).await?;
    let listed = http.get(&path_of(&home)?).await?.ok()?;
    ensure!(listed["sessions"][0]["worker_name"] == "early", "{listed}");
    Ok(())
}

async fn lists_are_filtered_and_go_on_where_they_ended(cx: &Cx) -> Result<()> {
    lists(&SERVER.http(cx).await?).await
}

async fn lists_are_filtered_and_go_on_where_they_ended_on_postgresql(cx: &Cx) -> Result<()> {
    lists(&POSTGRES.http(cx).await?).await
}

async fn lists(http: &Http) -> Result<()> {
    let one = PlainWorker::start(http, "lists-1", &[("twin-lists", "/srv/lists")]).await?;
    let two = PlainWorker::start(http, "lists-2", &[("twin-lists", "/srv/lists")]).await?;
    let told = |worker: &str| -> Value {
        let session =
            |n: i64| json!({ "id": format!("ses_{n}"), "title": format!("Number {n} of {worker}"), "updated": 1_700_000_000_000_i64 + n });
        let mut all: Vec<_> = (0..10).map(session).collect();
        all.push(json!({ "id": "ses_child", "parent_id": "ses_1", "updated": 1_700_000_001_000_i64 }));
        json!(all)
    };
    sync(http, "lists-1", &one.codebases[0], told("one")).await?;
    sync(http, "lists-2", &two.codebases[0], told("two")).await?;
    let list = async |query: &str| http.get(&format!("/v1/opencode/sessions?{query}")).await?.ok();
    let both = list("codebase=twin-lists").await?;
    ensure!(items(&both)?.len() == 20, "{both}");
    for (query, expected) in [
        ("worker=lists-1", 10),
        ("worker=lists-1&children=true", 11),
        ("worker=lists-1&codebase=twin-lists", 10),
        ("worker=lists-1&codebase=global", 0),
        ("codebase=twin-lists&q=number%203", 2),
        ("codebase=twin-lists&q=OF%20TWO", 10),
        ("worker=nobody", 0),
        ("codebase=nothing", 0),
        ("codebase=twin-lists&limit=3", 3),
    ] {
        let found = list(query).await?;
        ensure!(items(&found)?.len() == expected, "{query} shows {:?}", ids(&found)?);
    }
    let by_id = list(&format!("codebase={}", text(&one.codebases[0], "id")?)).await?;
    ensure!(by_id == list("worker=lists-1").await?, "{by_id}");
    // Page by page, everywhere and in a codebase.
    for (path, field, count) in
        [("/v1/opencode/sessions?codebase=twin-lists&".to_owned(), None, 20), (path_of(&one.codebases[0])? + "?", Some("sessions"), 10)]
    {
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = http.get(&format!("{path}limit=3{cursor}")).await?;
            let page = answer.ok()?;
            paged.extend(items(field.map_or(&page, |field| &page[field]))?.clone());
            let Some(next) = answer.header("x-next-cursor") else { break };
            let link = answer.header("link").context("no link")?;
            ensure!(link.contains("limit=3") && link.ends_with("rel=\"next\""), "{link}");
            cursor = format!("&cursor={next}");
        }
        ensure!(paged.len() == count, "{path}: {} sessions", paged.len());
        let whole = http.get(&path).await?.ok()?;
        ensure!(json!(paged) == *field.map_or(&whole, |field| &whole[field]), "{path}: the pages show others");
    }
    for query in ["limit=0", "limit=1001", "cursor=x", "cursor=1/w"] {
        http.get(&format!("/v1/opencode/sessions?{query}")).await?.refused(422, "invalid")?;
        http.get(&format!("{}?{query}", path_of(&one.codebases[0])?)).await?.refused(422, "invalid")?;
    }
    http.get("/v1/opencode/codebases/none/sessions").await?.refused(404, "not_found").map(drop)
}

async fn the_last_messages_are_shown_oldest_first(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "lasting", &[]).await?;
    let all: Vec<_> = (0..150).map(|n| json!({ "id": format!("msg_{n:03}"), "time": { "created": 1_700_000_000_000_i64 + n } })).collect();
    // In pieces and out of order.
    for piece in all.rchunks(40) {
        sync_messages(&http, "lasting", &worker.global, "ses_1", json!(piece)).await?;
    }
    for (query, first, count) in [("", "msg_050", 100), ("?limit=3", "msg_147", 3), ("?limit=1000", "msg_000", 150)] {
        let answer = http.get(&format!("{}/ses_1/messages{query}", path_of(&worker.global)?)).await?.ok()?;
        let shown = ids(&answer["messages"])?;
        ensure!(shown.len() == count && shown[0] == first && shown.last() == Some(&"msg_149"), "{query}: {shown:?}");
    }
    let body = json!({ "worker_id": "lasting", "messages": [], "deleted": ["msg_149", "msg_000"] });
    http.post(&format!("{}/ses_1/messages/sync", path_of(&worker.global)?), &body).await?.ok()?;
    let answer = http.get(&format!("{}/ses_1/messages?limit=1", path_of(&worker.global)?)).await?.ok()?;
    ensure!(ids(&answer["messages"])? == ["msg_148"], "{answer}");
    for query in ["limit=0", "limit=1001"] {
        http.get(&format!("{}/ses_1/messages?{query}", path_of(&worker.global)?)).await?.refused(422, "invalid")?;
    }
    http.get(&format!("{}/ses_never/messages", path_of(&worker.global)?)).await?.refused(404, "not_found").map(drop)
}

async fn what_is_too_much_or_is_no_id_is_refused(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "too-much", &[]).await?;
    let path = path_of(&worker.global)?;
    let many: Vec<_> = (0..10_001).map(|n| json!({ "id": n.to_string() })).collect();
    let names: Vec<_> = (0..10_001).map(|n| json!(n.to_string())).collect();
    for (end, body, field) in [
        ("sync", json!({ "sessions": many }), "sessions"),
        ("sync", json!({ "sessions": [], "deleted": names }), "deleted"),
        ("sync", json!({ "sessions": [{ "id": "ses_1" }, { "id": "a b" }] }), "sessions[1].id"),
        ("sync", json!({ "sessions": [{ "id": "ses_1", "parent_id": "" }] }), "sessions[0].parent_id"),
        ("sync", json!({ "sessions": [], "deleted": ["a/b"] }), "deleted[0]"),
        ("ses_1/messages/sync", json!({ "messages": many }), "messages"),
        ("ses_1/messages/sync", json!({ "messages": [{ "id": "" }] }), "messages[0].id"),
    ] {
        let mut body = body;
        body["worker_id"] = json!("too-much");
        let error = http.post(&format!("{path}/{end}"), &body).await?.refused(422, "invalid")?;
        ensure!(error["details"]["fields"][0]["field"] == field, "{error}");
    }
    ensure!(http.get(&path).await?.ok()?["sessions"] == json!([]), "something was kept");
    Ok(())
}

async fn ten_thousand_sessions_go_in_one_call(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "many", &[]).await?;
    let told: Vec<_> = (0..10_000).map(|n| json!({ "id": format!("ses_{n:05}"), "updated": 1_700_000_000_000_i64 + n })).collect();
    for _ in 0..2 {
        sync(&http, "many", &worker.global, json!(told)).await?;
    }
    let answer = http.get(&path_of(&worker.global)?).await?;
    let listed = answer.ok()?;
    let shown = ids(&listed["sessions"])?;
    ensure!(shown.len() == 500 && shown[0] == "ses_09999" && answer.header("x-next-cursor").is_some(), "{} shown", shown.len());
    Ok(())
}

async fn a_deleted_session_is_not_there_any_more(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let worker = PlainWorker::start(&http, "deleter", &[]).await?;
    let path = path_of(&worker.global)?;
    sync(&http, "deleter", &worker.global, json!([{ "id": "ses_1" }, { "id": "ses_2" }])).await?;
    sync_messages(&http, "deleter", &worker.global, "ses_1", json!([{ "id": "msg_1" }])).await?;
    let body = json!({ "worker_id": "deleter", "sessions": [], "deleted": ["ses_1", "ses_never"] });
    http.post(&format!("{path}/sync"), &body).await?.ok()?;
    let listed = http.get(&path).await?.ok()?;
    ensure!(ids(&listed["sessions"])? == ["ses_2"], "{listed}");
    http.get(&format!("{path}/ses_1")).await?.refused(404, "not_found")?;
    http.get(&format!("{path}/ses_1/messages")).await?.refused(404, "not_found")?;
    // What was removed from the registry is still shown, until it is deleted on its machine.
    let app =
        http.post("/v1/opencode/codebases", &json!({ "name": "x", "path": "/x", "worker_id": "deleter" })).await?.ok()?["codebase"].clone();
    sync(&http, "deleter", &app, json!([{ "id": "ses_3" }])).await?;
    http.delete(&format!("/v1/opencode/codebases/{}", text(&app, "id")?)).await?.ok()?;
    let listed = http.get(&path_of(&app)?).await?.ok()?;
    ensure!(ids(&listed["sessions"])? == ["ses_3"], "{listed}");
    http.post(&format!("{}/ses_3/resume", path_of(&app)?), &json!({ "prompt": "x" })).await?.refused(404, "not_found").map(drop)
}

async fn a_token_of_one_worker_shows_its_own_sessions(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let mine = PlainWorker::start(&http, "bound-1", &[]).await?;
    let theirs = PlainWorker::start(&http, "bound-2", &[]).await?;
    for worker in [&mine, &theirs] {
        sync(&http, &worker.id, &worker.global, json!([{ "id": "ses_1", "title": worker.id }])).await?;
    }
    let made = http.post("/v1/tokens", &json!({ "scope": "worker", "worker_id": "bound-1" })).await?.ok()?;
    let bound = http.clone().with_token(text(&made, "secret")?)?;
    for query in ["", "?worker=bound-1", "?codebase=global"] {
        let listed = bound.get(&format!("/v1/opencode/sessions{query}")).await?.ok()?;
        ensure!(items(&listed)?.len() == 1 && listed[0]["title"] == "bound-1", "{query} shows {listed}");
    }
    ensure!(bound.get("/v1/opencode/sessions?worker=bound-2").await?.ok()? == json!([]), "it sees another's sessions");
    let (own, others) = (path_of(&mine.global)?, path_of(&theirs.global)?);
    bound.get(&own).await?.ok()?;
    bound.get(&format!("{own}/ses_1/messages")).await?.ok()?;
    for end in ["", "/ses_1", "/ses_1/messages"] {
        bound.get(&format!("{others}{end}")).await?.refused(404, "not_found")?;
    }
    let body = json!({ "worker_id": "bound-2", "sessions": [], "messages": [] });
    bound.post(&format!("{others}/sync"), &body).await?.refused(403, "forbidden")?;
    bound.post(&format!("{others}/ses_1/messages/sync"), &body).await?.refused(403, "forbidden")?;
    // As itself it cannot tell of another's codebase either.
    let body = json!({ "worker_id": "bound-1", "sessions": [{ "id": "ses_1" }] });
    bound.post(&format!("{others}/sync"), &body).await?.refused(404, "not_found").map(drop)
}

async fn a_session_is_found_by_its_id_alone(cx: &Cx) -> Result<()> {
    let (server, http) = (SERVER.get(cx).await?, SERVER.http(cx).await?);
    let codebases = json!({ "codebases": [{ "name": "found", "path": "/srv/found" }] });
    let worker = Puller::register(server.client(), "finder", codebases).await?;
    let codebase = json!(worker.registered.codebases.iter().find(|codebase| codebase.name == "found").context("no codebase")?);
    sync(&http, "finder", &codebase, json!([{ "id": "ses_only_here" }, { "id": "ses_on_both" }])).await?;
    let submit = async |target: Value, session: &str| {
        http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "target": target, "resume_session_id": session })).await
    };
    for target in [Value::Null, json!({ "worker": "finder" })] {
        let task = submit(target.clone(), "ses_only_here").await?.ok()?;
        ensure!(task["worker_id"] == "finder" && task["codebase_id"] == codebase["id"], "{target}: {task}");
    }
    let other = PlainWorker::start(&http, "finder-2", &[]).await?;
    sync(&http, "finder-2", &other.global, json!([{ "id": "ses_on_both" }])).await?;
    let error = submit(Value::Null, "ses_on_both").await?.refused(422, "invalid")?;
    ensure!(text(&error, "message")?.contains("finder-2"), "{error}");
    ensure!(submit(json!({ "worker": "finder-2" }), "ses_on_both").await?.ok()?["codebase_id"] == other.global["id"], "elsewhere");
    submit(Value::Null, "ses_never").await?.refused(422, "invalid")?;
    // Where it is named, the worker says whether it has the session.
    let task = submit(json!({ "worker": "finder" }), "ses_never").await?.ok()?;
    ensure!(task["worker_id"] == "finder", "{task}");
    Ok(())
}

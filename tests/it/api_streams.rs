//! What a task says, as its viewers see it: the typed stream, the output of the earlier system, and going on after a lost connection.

use crate::support::{Cx, Http, PlainWorker, Postgres, Puller, Sent, Server, Shared, Sse, cases, ensure_fields, items, on_worker, text};
use anyhow::{Context, Result, ensure};
use muster_protocol::client::Client;
use serde_json::{Value, json};

cases! {
    [] =>
        a_stream_is_followed_to_its_end,
        a_viewer_that_comes_back_misses_nothing_and_sees_nothing_twice,
        a_slow_viewer_of_a_long_stream_sees_all_of_it,
        output_is_read_from_a_place_on,
        output_is_followed_as_earlier_clients_do,
        a_stream_of_an_unknown_task_is_not_found;
    [Postgres] => a_stream_is_followed_to_its_end_on_postgresql;
}

static SERVER: Shared = Shared::embedded("api-streams", "");

/// A pulling worker, and a task that it is about to run.
async fn begin(client: &Client, name: &str) -> Result<(Puller, muster_protocol::task::Assignment)> {
    let worker = Puller::register(client, name, json!({})).await?;
    client.submit(&on_worker(name, "say it"), None).await?;
    let given = worker.take().await?;
    Ok((worker, given))
}

fn ids(sent: &[Sent]) -> Vec<u64> {
    sent.iter().filter_map(|sent| sent.id).collect()
}

fn deltas(sent: &[Sent]) -> Vec<&str> {
    sent.iter().filter(|sent| sent.event == "text").filter_map(|sent| sent.data["data"]["delta"].as_str()).collect()
}

async fn a_stream_is_followed_to_its_end(cx: &Cx) -> Result<()> {
    whole_stream(SERVER.get(cx).await?).await
}

async fn a_stream_is_followed_to_its_end_on_postgresql(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]);
    whole_stream(&server.launch().await?).await
}

async fn whole_stream(server: &Server) -> Result<()> {
    let http = Http::new(server);
    let (worker, given) = begin(server.client(), "speaker").await?;
    let path = format!("/v1/opencode/tasks/{}/stream", given.task.id);
    let mut live = Sse::open(&http, &path, None).await?;
    let first = live.expect().await?;
    ensure!(first.event == "status" && first.id == Some(1) && first.data["data"]["state"] == "working", "it begins with {first:?}");
    ensure_fields(&first.data, &[("task_seq", "int"), ("attempt", "int"), ("at", "time"), ("kind", "string"), ("data", "object")])?;
    // Entries come while it runs.
    worker.start(&given, "ses_s").await?;
    ensure!(live.expect().await?.data["data"]["state"] == "started", "the start is not told");
    worker.append(&given, 0, &["one"]).await?;
    ensure!(live.expect().await?.data["data"]["delta"] == "one", "the first piece is not told while the task runs");
    worker.append(&given, 1, &["two", "größe \u{1f980}\n"]).await?;
    worker.report(&given, muster_protocol::task::ReportedStatus::Completed, json!({ "result": "R", "entries": 3 })).await?;
    let rest = live.rest().await?;
    ensure!(ids(&rest) == [4, 5, 6], "the places are {:?}", ids(&rest));
    ensure!(deltas(&rest) == ["two", "größe \u{1f980}\n"], "told: {:?}", deltas(&rest));
    let done = rest.last().context("nothing")?;
    ensure!(done.event == "done" && done.id.is_none() && done.data == json!({ "status": "completed", "state": "completed" }), "{done:?}");
    // Who comes later sees the same.
    let late = Sse::open(&http, &path, None).await?.rest().await?;
    ensure!(ids(&late) == [1, 2, 3, 4, 5, 6] && late[3..] == rest[..], "who comes later sees {late:?}");
    Ok(())
}

async fn a_viewer_that_comes_back_misses_nothing_and_sees_nothing_twice(cx: &Cx) -> Result<()> {
    let (http, client) = (SERVER.http(cx).await?, SERVER.get(cx).await?.client());
    let (worker, given) = begin(client, "interrupted").await?;
    let path = format!("/v1/opencode/tasks/{}/stream", given.task.id);
    worker.start(&given, "ses_i").await?;
    let pieces: Vec<String> = (0..40).map(|n| format!("p{n} ")).collect();
    let speak = async {
        for (n, piece) in (0..).zip(&pieces) {
            worker.append(&given, n, &[piece]).await?;
        }
        worker.report(&given, muster_protocol::task::ReportedStatus::Completed, json!({ "entries": pieces.len() })).await?;
        Ok::<_, anyhow::Error>(())
    };
    // The connection breaks after every third event.
    let watch = async {
        let mut seen: Vec<Sent> = Vec::new();
        loop {
            let mut stream = Sse::open(&http, &path, seen.iter().rev().find_map(|sent| sent.id)).await?;
            for _ in 0..3 {
                let Some(sent) = stream.next().await? else { break };
                if sent.event == "done" {
                    return Ok(seen);
                }
                seen.push(sent);
            }
        }
    };
    let ((), seen) = tokio::try_join!(speak, watch)?;
    let expected: Vec<u64> = (1..=seen.len() as u64).collect();
    ensure!(ids(&seen) == expected, "the places are {:?}", ids(&seen));
    ensure!(deltas(&seen).concat() == pieces.concat(), "told: {}", deltas(&seen).concat());
    // By query, and after the end.
    let by_query = Sse::open(&http, &format!("{path}?after=41"), None).await?.rest().await?;
    ensure!(ids(&by_query) == [42, 43] && by_query.len() == 3, "after 41: {by_query:?}");
    let after_all = Sse::open(&http, &path, Some(43)).await?.rest().await?;
    ensure!(after_all.len() == 1 && after_all[0].event == "done", "after the end: {after_all:?}");
    let beyond = Sse::open(&http, &path, Some(u64::MAX)).await?.rest().await?;
    ensure!(beyond.len() == 1, "beyond the end: {beyond:?}");
    Ok(())
}

async fn a_slow_viewer_of_a_long_stream_sees_all_of_it(cx: &Cx) -> Result<()> {
    let (http, client) = (SERVER.http(cx).await?, SERVER.get(cx).await?.client());
    let (worker, given) = begin(client, "long").await?;
    worker.start(&given, "ses_l").await?;
    // Opened before anything is said, read only when all is.
    let stream = Sse::open(&http, &format!("/v1/opencode/tasks/{}/stream", given.task.id), None).await?;
    let piece = "x".repeat(2_000);
    for batch in 0..10 {
        worker.append(&given, batch * 100, &vec![piece.as_str(); 100]).await?;
    }
    worker.report(&given, muster_protocol::task::ReportedStatus::Completed, json!({ "entries": 1_000 })).await?;
    let all = stream.rest().await?;
    let places = ids(&all);
    ensure!(places == (1..=1_003).collect::<Vec<u64>>(), "{} places, the last {:?}", places.len(), places.last());
    ensure!(deltas(&all).concat().len() == 2_000_000, "{} bytes", deltas(&all).concat().len());
    Ok(())
}

async fn plain_task(http: &Http, name: &str) -> Result<(PlainWorker, Value)> {
    let worker = PlainWorker::start(http, name, &[]).await?;
    http.post("/v1/opencode/tasks", &json!({ "prompt": "x", "target": { "worker": name } })).await?.ok()?;
    let task = worker.poll().await?.context("nothing is shown")?;
    worker.report(&task, "running", json!({})).await?.ok()?;
    Ok((worker, task))
}

async fn output_is_read_from_a_place_on(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let (worker, task) = plain_task(&http, "lines").await?;
    let path = format!("/v1/opencode/tasks/{}/output", text(&task, "id")?);
    let none = http.get(&path).await?.ok()?;
    ensure!(none == json!({ "task_id": task["id"], "outputs": [], "total": 0 }), "{none}");
    for line in ["a", "b\u{0}", "c"] {
        worker.say(&task, line).await?.ok()?;
    }
    // A client reads what is new: `since` is what it has already.
    for (since, expected) in [(0, vec!["a", "b\u{0}", "c"]), (2, vec!["c"]), (3, vec![]), (99, vec![])] {
        let answer = http.get(&format!("{path}?since={since}")).await?.ok()?;
        let lines: Vec<_> = items(&answer["outputs"])?.iter().map(|item| item["output"].clone()).collect();
        ensure!(lines == expected && answer["total"] == 3, "since {since}: {answer}");
        for item in items(&answer["outputs"])? {
            ensure_fields(item, &[("output", "string"), ("timestamp", "time"), ("worker_id", "string")])?;
        }
    }
    Ok(())
}

async fn output_is_followed_as_earlier_clients_do(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    let (worker, task) = plain_task(&http, "followed").await?;
    let path = format!("/v1/opencode/tasks/{}/output/stream", text(&task, "id")?);
    let mut live = Sse::open(&http, &path, None).await?;
    worker.say(&task, "first").await?.ok()?;
    let first = live.expect().await?;
    ensure!(first.event == "output" && first.data["output"] == "first" && first.data["worker_id"] == "followed", "{first:?}");
    ensure_fields(&first.data, &[("output", "string"), ("timestamp", "time"), ("worker_id", "string")])?;
    worker.say(&task, "second").await?.ok()?;
    worker.report(&task, "failed", json!({ "error": "E" })).await?.ok()?;
    let rest = live.rest().await?;
    ensure!(rest.len() == 2 && rest[0].data["output"] == "second", "{rest:?}");
    ensure!(rest[1].event == "done" && rest[1].data["status"] == "failed", "{rest:?}");
    let again = Sse::open(&http, &path, first.id).await?.rest().await?;
    ensure!(again == rest, "who comes back sees {again:?}");
    Ok(())
}

async fn a_stream_of_an_unknown_task_is_not_found(cx: &Cx) -> Result<()> {
    let http = SERVER.http(cx).await?;
    for end in ["stream", "output", "output/stream"] {
        http.get(&format!("/v1/opencode/tasks/0193a0c0-0000-7000-8000-000000000001/{end}")).await?.refused(404, "not_found")?;
    }
    Ok(())
}

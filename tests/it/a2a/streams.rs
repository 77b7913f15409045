//! Streams: every subscriber sees the same events in the same order, and whoever reconnects misses nothing.

use super::caller::{BINDINGS, Binding, Caller, Events, OF_JSON, message};
use crate::support::{Cx, Http, Puller, Server, Shared, cases};
use anyhow::{Context, Result, ensure};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::ReportedStatus;
use serde_json::{Value, json};

cases! {
    [] =>
        a_message_is_streamed_from_its_task_to_its_end,
        every_subscriber_sees_the_same_and_a_reconnected_one_misses_nothing,
        a_stream_of_one_turn_ends_with_a_question_and_a_subscription_does_not,
        a_snapshot_of_an_earlier_place_says_what_was_known_then,
        a_stream_that_the_store_breaks_off_says_so,
        two_hundred_subscribers_see_the_same_and_a_slow_one_gets_all_of_it within 120;
}

static SERVER: Shared = Shared::embedded("a2a-streams", "name = \"Server-A\"\n");

/// What kind of event, and its state or text.
fn short(event: &Value) -> String {
    let of = |kind: &str, value: &Value| format!("{kind} {}", value.as_str().unwrap_or_default().trim_start_matches("TASK_STATE_"));
    if event["task"].is_object() {
        return of("task", &event["task"]["status"]["state"]);
    }
    if event["statusUpdate"].is_object() {
        return of("status", &event["statusUpdate"]["status"]["state"]);
    }
    of("artifact", &event["artifactUpdate"]["artifact"]["parts"][0]["text"])
}

async fn a_message_is_streamed_from_its_task_to_its_end(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at("monitor");
        let send = json!({ "message": message("Hello", json!({ "messageId": "s" })), "configuration": { "returnImmediately": true } });
        let events = caller.stream("SendStreamingMessage", send, None).await?.rest().await?;
        let told: Vec<_> = events.iter().map(|(_, event)| short(event)).collect();
        ensure!(
            told.len() == 3 && told[0] == "task SUBMITTED" && told[1].starts_with("artifact ") && told[2] == "status COMPLETED",
            "{told:?}"
        );
        if OF_JSON.contains(&binding) {
            let places: Vec<_> = events.iter().map(|(place, _)| *place).collect();
            ensure!(places == [Some(0), Some(1), Some(2)], "{places:?}");
        }
        let task = &events[0].1["task"];
        ensure!(task["history"][0]["messageId"] == "s", "{task}");
        for (_, event) in &events[1..] {
            let update = event.as_object().and_then(|event| event.values().next()).context("empty")?;
            ensure!(update["taskId"] == task["id"] && update["contextId"] == task["contextId"] && update.get("final").is_none(), "{event}");
        }
    }
    Ok(())
}

async fn every_subscriber_sees_the_same_and_a_reconnected_one_misses_nothing(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let name = format!("tells-{binding:?}");
        let worker = Puller::register(SERVER.get(cx).await?.client(), &name, json!({})).await?;
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at(&name);
        let mut sender = caller.stream("SendStreamingMessage", json!({ "message": message("tell", json!({})) }), None).await?;
        let (_, begun) = sender.expect().await?;
        let id = &begun["task"]["id"];
        let given = worker.take().await?;
        worker.start(&given, "ses_tells").await?;
        worker.append(&given, 0, &["one ", "two "]).await?;
        let mut seen = vec![(OF_JSON.contains(&binding).then_some(0), begun.clone())];
        while seen.last().is_none_or(|(_, event)| short(event) != "artifact two ") {
            seen.push(sender.expect().await?);
        }
        // The snapshot holds what was told so far.
        let mut late = caller.stream("SubscribeToTask", json!({ "id": id }), None).await?;
        let (place, snapshot) = late.expect().await?;
        ensure!(place == seen.last().and_then(|(place, _)| *place), "the snapshot is of {place:?}");
        ensure!(snapshot["task"]["artifacts"][0]["parts"] == json!([{ "text": "one two " }]), "{snapshot}");
        ensure!(short(&snapshot) == "task WORKING", "{snapshot}");
        let other = caller.stream("SubscribeToTask", json!({ "id": id }), None).await?;
        let tool = json!({ "call": "c", "tool": "bash", "state": "running", "title": "ls" });
        worker.tell(&given, 2, EntryKind::Tool, &tool).await?;
        worker.append(&given, 3, &["three"]).await?;
        let change = json!([{ "path": "a.rs", "change": "modified", "additions": 1, "deletions": 0, "patch": "@@" }]);
        worker.report(&given, ReportedStatus::Completed, json!({ "result": "one two three", "changes": change })).await?;
        let (sent, late, other) = (sender.rest().await?, late.rest().await?, other.rest().await?);
        ensure!(sent == late && other[1..] == late[..], "they differ:\n{sent:?}\n{late:?}\n{other:?}");
        let told: Vec<_> = late.iter().map(|(_, event)| short(event)).collect();
        ensure!(told == ["status WORKING", "artifact three", "artifact ", "status COMPLETED"], "{told:?}");
        ensure!(late[0].1["statusUpdate"]["metadata"]["tool"]["title"] == "ls", "{:?}", late[0]);
        let file = &late[2].1["artifactUpdate"]["artifact"]["parts"][0];
        ensure!(file["raw"] == "QEA=" && file["filename"] == "a.rs" && file["mediaType"] == "text/x-diff", "{file}");
        // Whoever comes back gets the task as it was, and all that followed.
        seen.extend(sent);
        for (n, (place, _)) in seen.iter().enumerate().filter(|(n, (place, _))| place.is_some() && n + 1 < seen.len()) {
            let mut again = caller.stream("SubscribeToTask", json!({ "id": id }), *place).await?;
            let (at, snapshot) = again.expect().await?;
            ensure!(at == *place && snapshot["task"]["id"] == *id, "{snapshot}");
            let rest = again.rest().await?;
            ensure!(rest == seen[n + 1..], "after {place:?}: {rest:?}");
        }
        let whole = caller.call("GetTask", json!({ "id": id })).await?;
        ensure!(
            whole["artifacts"].as_array().is_some_and(|all| all.len() == 2 && all[0]["parts"][0]["text"] == "one two three"),
            "{whole}"
        );
    }
    Ok(())
}

async fn until_state(events: &mut Events, state: &str) -> Result<Vec<String>> {
    let mut told = Vec::new();
    while told.last().is_none_or(|last: &String| !last.ends_with(state)) {
        told.push(short(&events.expect().await?.1));
    }
    Ok(told)
}

async fn a_stream_of_one_turn_ends_with_a_question_and_a_subscription_does_not(cx: &Cx) -> Result<()> {
    for binding in BINDINGS {
        let name = format!("asks-on-{binding:?}");
        let worker = Puller::register(SERVER.get(cx).await?.client(), &name, json!({})).await?;
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at(&name);
        let id = uuid::Uuid::now_v7();
        let note =
            |outcome: &str| json!({ "id": id, "request": "r", "kind": "permission", "title": "rm", "outcome": outcome, "detail": {} });
        let mut turn = caller.stream("SendStreamingMessage", json!({ "message": message("ask", json!({})) }), None).await?;
        let task = turn.expect().await?.1["task"]["id"].clone();
        let mut follower = caller.stream("SubscribeToTask", json!({ "id": task }), None).await?;
        let given = worker.take().await?;
        worker.start(&given, "ses_asks_on").await?;
        worker.tell(&given, 0, EntryKind::Interaction, &note("open")).await?;
        let told = turn.rest().await?;
        ensure!(told.last().is_some_and(|(_, event)| short(event) == "status INPUT_REQUIRED"), "{told:?}");
        until_state(&mut follower, "INPUT_REQUIRED").await?;
        // There is nothing running, and it can be subscribed to.
        let mut quiet = caller.stream("SubscribeToTask", json!({ "id": task }), None).await?;
        ensure!(short(&quiet.expect().await?.1) == "task INPUT_REQUIRED", "the snapshot is another");
        let reply = json!({ "message": message("no: use the trash", json!({ "taskId": task })) });
        let mut next = caller.stream("SendStreamingMessage", reply, None).await?;
        ensure!(short(&next.expect().await?.1) == "task WORKING", "it still asks");
        worker.tell(&given, 1, EntryKind::Interaction, &note("applied")).await?;
        worker.report(&given, ReportedStatus::Completed, json!({ "result": "" })).await?;
        for events in [next, follower, quiet] {
            let told: Vec<_> = events.rest().await?.iter().map(|(_, event)| short(event)).collect();
            ensure!(told == ["status WORKING", "status COMPLETED"], "{told:?}");
        }
    }
    Ok(())
}

/// The slow one reads nothing until the end.
async fn two_hundred_subscribers_see_the_same_and_a_slow_one_gets_all_of_it(cx: &Cx) -> Result<()> {
    let worker = Puller::register(SERVER.get(cx).await?.client(), "tells-many", json!({})).await?;
    let caller = Caller::new(&SERVER.http(cx).await?, Binding::Rpc)?.at("tells-many");
    let begin = json!({ "message": message("tell", json!({})), "configuration": { "returnImmediately": true } });
    let id = caller.call("SendMessage", begin).await?["task"]["id"].clone();
    let given = worker.take().await?;
    worker.start(&given, "ses_many").await?;
    let subscribe = async || caller.stream("SubscribeToTask", json!({ "id": id }), None).await;
    let mut slow = subscribe().await?;
    let (place, _) = slow.expect().await?;
    let mut others = Vec::new();
    for _ in 0..200 {
        let mut other = subscribe().await?;
        ensure!(other.expect().await?.0 == place, "another beginning");
        others.push(tokio::spawn(other.rest()));
    }
    let long = "x".repeat(4_000);
    for seq in 0..60 {
        let text = if seq % 4 == 0 { format!("{seq} {long}") } else { format!("{seq} ") };
        worker.append(&given, seq, &[&text]).await?;
    }
    let end = json!({ "result": "all" });
    worker.report(&given, ReportedStatus::Completed, end).await?;
    let mut first: Option<Vec<_>> = None;
    for other in others {
        let told = other.await??;
        ensure!(first.as_ref().is_none_or(|first| *first == told), "they differ");
        first = Some(told);
    }
    let first = first.context("nobody")?;
    let texts = first.iter().filter_map(|(_, event)| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str());
    let numbers = texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    ensure!(numbers.eq(0..60), "not all of it was told, or in another order");
    ensure!(first.iter().map(|(place, _)| place).is_sorted(), "the places do not rise");
    ensure!(first.last().is_some_and(|(_, event)| short(event) == "status COMPLETED"), "{:?}", first.last());
    ensure!(slow.rest().await? == first, "the slow one got something else");
    Ok(())
}

async fn a_snapshot_of_an_earlier_place_says_what_was_known_then(cx: &Cx) -> Result<()> {
    for binding in OF_JSON {
        let name = format!("then-{binding:?}");
        let worker = Puller::register(SERVER.get(cx).await?.client(), &name, json!({})).await?;
        let caller = Caller::new(&SERVER.http(cx).await?, binding)?.at(&name);
        let id = uuid::Uuid::now_v7();
        let note =
            |outcome: &str| json!({ "id": id, "request": "r", "kind": "permission", "title": "rm", "outcome": outcome, "detail": {} });
        let mut turn = caller.stream("SendStreamingMessage", json!({ "message": message("ask", json!({})) }), None).await?;
        let task = turn.expect().await?.1["task"]["id"].clone();
        let given = worker.take().await?;
        worker.start(&given, "ses_then").await?;
        worker.tell(&given, 0, EntryKind::Interaction, &note("open")).await?;
        let asked = turn.rest().await?.last().and_then(|(place, _)| *place).context("it asks nothing")?;
        let reply = json!({ "message": message("yes", json!({ "taskId": task })) });
        let next = caller.stream("SendStreamingMessage", reply, None).await?;
        worker.tell(&given, 1, EntryKind::Interaction, &note("applied")).await?;
        worker.report(&given, ReportedStatus::Completed, json!({ "result": "" })).await?;
        let told = next.rest().await?;
        // Whoever answers sees the answer, and what follows.
        ensure!(told[0].1["task"]["history"].as_array().map(Vec::len) == Some(3), "{}", told[0].1);
        let applied = told.iter().rev().nth(1).and_then(|(place, _)| *place).context("nothing is told")?;
        let at = async |place: u64| -> Result<Value> {
            Ok(caller.stream("SubscribeToTask", json!({ "id": task }), Some(place)).await?.expect().await?.1["task"].clone())
        };
        let (first, waits, goes_on) = (at(0).await?, at(asked).await?, at(applied).await?);
        ensure!(first["metadata"] == json!({ "agent": name }), "{first}");
        ensure!(waits["metadata"] == json!({ "agent": name, "worker": name, "session": "ses_then" }), "{waits}");
        for (snapshot, said) in [(&first, 1), (&waits, 1), (&goes_on, 3)] {
            ensure!(snapshot["history"].as_array().map(Vec::len) == Some(said), "{snapshot}");
        }
    }
    Ok(())
}

async fn a_stream_that_the_store_breaks_off_says_so(cx: &Cx) -> Result<()> {
    let server = Server::new(cx.dir(), "server")?.launch().await?;
    let worker = Puller::register(server.client(), "breaks", json!({})).await?;
    let http = Http::new(&server);
    let caller = Caller::new(&http, Binding::Rpc)?.at("breaks");
    let send = json!({ "message": message("tell", json!({})), "configuration": { "returnImmediately": true } });
    let task = caller.call("SendMessage", send).await?["task"]["id"].clone();
    let given = worker.take().await?;
    worker.start(&given, "ses_breaks").await?;
    let mut streams = Vec::new();
    for binding in BINDINGS {
        let mut stream = Caller::new(&http, binding)?.stream("SubscribeToTask", json!({ "id": task }), None).await?;
        ensure!(short(&stream.expect().await?.1) == "task WORKING", "{binding:?} begins otherwise");
        streams.push((binding, stream));
    }
    // From now on what is kept cannot be read.
    let spoil = "CREATE TRIGGER spoil AFTER INSERT ON stream_entries BEGIN
        UPDATE stream_entries SET data = 'no JSON' WHERE task_id = NEW.task_id AND task_seq = NEW.task_seq; END";
    server.spoil(spoil).await?;
    worker.append(&given, 0, &["lost"]).await?;
    for (binding, mut stream) in streams {
        match (&mut stream, binding) {
            (Events::Messages(messages), _) => {
                let status = messages.message().await.err().context("it ends as if the task had")?;
                ensure!(matches!(status.code(), tonic::Code::Internal | tonic::Code::Unavailable), "{status:?}");
            }
            (Events::Sse(sse, _), Binding::Rpc) => {
                let last = sse.expect().await?;
                ensure!(last.event.is_empty() && last.data["id"] == "r", "{last:?}");
                ensure!(last.data["error"]["data"][0]["reason"] == "INTERNAL_ERROR", "{last:?}");
                ensure!(sse.next().await?.is_none(), "it goes on");
            }
            (Events::Sse(sse, _), _) => {
                let last = sse.expect().await?;
                ensure!(last.event == "error" && last.data["error"]["status"] == "INTERNAL", "{last:?}");
                ensure!(sse.next().await?.is_none(), "it goes on");
            }
        }
    }
    Ok(())
}

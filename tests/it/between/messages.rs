//! Messages to agents and machines of another server: streamed, canceled, continued, and answered when they ask.

use super::trio::{LIMIT, at, begin, joined, pair, shared, tasks, until_listed, until_state};
use crate::a2a::caller::{BINDINGS, Binding, Caller, message, state, texts};
use crate::support::{Cx, Http, Postgres, Puller, Server, cases, text, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        an_agent_of_a_peer_is_reached_by_address_and_by_metadata,
        names_that_clash_are_told_apart;
    [Postgres] => an_agent_of_a_peer_is_reached_on_postgresql;
    [Opencode, Python] =>
        a_machine_of_a_peer_streams_word_by_word_in_every_binding,
        a_cancel_reaches_the_machine_of_a_peer_and_leaves_nothing_running,
        a_conversation_with_a_machine_of_a_peer_stays_in_its_session,
        a_permission_that_a_machine_of_a_peer_asks_for_is_given_here;
}

async fn an_agent_of_a_peer_is_reached_by_address_and_by_metadata(cx: &Cx) -> Result<()> {
    let (a, b) = pair(cx).await?;
    reached(&a, &b).await
}

async fn an_agent_of_a_peer_is_reached_on_postgresql(cx: &Cx) -> Result<()> {
    let a = Server::new(cx.dir(), "Server-A")?.with_args(["--name", "Server-A", "--database-url", &Postgres::fresh_database().await?]);
    let a = a.launch().await?;
    let b = Server::new(cx.dir(), "Server-B")?.with_args(["--name", "Server-B", "--connect", &a.url()]);
    let b = b.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]).launch().await?;
    super::trio::all_up(&[&a, &b]).await?;
    reached(&a, &b).await
}

async fn reached(a: &Server, b: &Server) -> Result<()> {
    until_listed(a, "Worker-A-Server-B").await?;
    for binding in BINDINGS {
        let task = at(a, binding, "Worker-A-Server-B")?.say("1 2 3", json!({})).await?;
        ensure!(
            state(&task) == "TASK_STATE_COMPLETED" && texts(&task).contains("Worker-A-Server-B") && texts(&task).contains("sum 6"),
            "{task}"
        );
        let named = json!({ "metadata": { "agent": "Monitor-Server-B" } });
        let task = Caller::new(&Http::new(a), binding)?.say("status report", named).await?;
        ensure!(texts(&task).contains("Status of Server-B"), "{task}");
    }
    // 0.3, and the curls' own form.
    let old = json!({ "kind": "message", "messageId": "m1", "role": "user", "parts": [{ "kind": "text", "text": "4 5" }] });
    let relaxed = json!({ "parts": [{ "type": "text", "content": "4 5" }], "metadata": { "agent": "Worker-A-Server-B" } });
    for (path, message) in [("/agents/Worker-A-Server-B", old), ("/", relaxed)] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
        let answer = Http::new(a).post(path, &body).await?.ok()?;
        ensure!(answer.to_string().contains("sum 9"), "{answer}");
    }
    let there = tasks(b).await?;
    ensure!(there.len() == 8, "{} tasks at B: {there:?}", there.len());
    Ok(())
}

async fn names_that_clash_are_told_apart(cx: &Cx) -> Result<()> {
    let servers = joined(cx.dir(), &["Server-A", "Server-B", "Server-C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    let of_b = Puller::register(b.client(), "twin", json!({})).await?;
    until_listed(a, "twin").await?;
    let of_c = Puller::register(c.client(), "twin", json!({ "worker_id": "twin-of-c" })).await?;
    until_listed(a, "twin-2").await?;
    // One of its own that comes later is told apart too, and so is each of the others as before.
    let of_a = Puller::register(a.client(), "twin", json!({ "worker_id": "twin-of-a" })).await?;
    let own = wait_for("the own machine", LIMIT, async || {
        let agents = a.get("/v1/agents").await?;
        let own = |agent: &&Value| agent["kind"] == "machine";
        Ok(agents.as_array().context("a list")?.iter().find(own).cloned())
    })
    .await?;
    ensure!(own["name"] == "twin-3", "{own}");
    for (name, machine) in [("twin", &of_b), ("twin-2", &of_c), ("twin-3", &of_a)] {
        let caller = at(a, Binding::Rpc, name)?;
        let task = begin(&caller, &format!("for {name}"), json!({})).await?;
        let given = machine.take().await?;
        ensure!(given.task.prompt == format!("for {name}"), "{name} got {:?}", given.task.prompt);
        machine.run(&given, &["done"]).await?;
        until_state(&caller, &task["id"], "COMPLETED").await?;
    }
    Ok(())
}

async fn a_machine_of_a_peer_streams_word_by_word_in_every_binding(cx: &Cx) -> Result<()> {
    let trio = shared(cx).await?;
    for binding in BINDINGS {
        let caller = at(&trio.a, binding, "bee")?;
        let send = json!({ "message": message("!slow 8 60", json!({ "metadata": { "codebase": "web" } })) });
        let events = caller.stream("SendStreamingMessage", send, None).await?.rest().await?;
        let pieces: Vec<_> =
            events.iter().filter_map(|(_, event)| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str()).collect();
        ensure!(pieces.len() > 3, "it came in {} pieces: {pieces:?}", pieces.len());
        let last = &events.last().context("it says nothing")?.1["statusUpdate"];
        ensure!(state(last) == "TASK_STATE_COMPLETED", "{last}");
        let read = caller.call("GetTask", json!({ "id": events[0].1["task"]["id"] })).await?;
        ensure!(texts(&read) == pieces.concat(), "{} is not {}", texts(&read), pieces.concat());
    }
    Ok(())
}

async fn a_cancel_reaches_the_machine_of_a_peer_and_leaves_nothing_running(cx: &Cx) -> Result<()> {
    let trio = shared(cx).await?;
    for binding in BINDINGS {
        let caller = at(&trio.a, binding, "cee")?;
        let mark = format!("6{}", std::process::id() % 1000 + binding as u32 * 1000 + 500);
        let task = begin(&caller, &format!("!bash sleep {mark}"), json!({})).await?;
        wait_for("the process", LIMIT, async || Ok((running_with(&mark)? > 0).then_some(()))).await?;
        let canceled = caller.call("CancelTask", json!({ "id": task["id"] })).await?;
        ensure!(state(&canceled) == "TASK_STATE_CANCELED" && canceled["metadata"]["confirmed"] == true, "{canceled}");
        wait_for("no process to be left", LIMIT, async || Ok((running_with(&mark)? == 0).then_some(()))).await?;
    }
    Ok(())
}

/// How many processes have `sleep MARK` in their command.
fn running_with(mark: &str) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        count += usize::from(String::from_utf8_lossy(&line).replace('\0', " ").contains(&format!("sleep {mark}")));
    }
    Ok(count)
}

async fn a_conversation_with_a_machine_of_a_peer_stays_in_its_session(cx: &Cx) -> Result<()> {
    let trio = shared(cx).await?;
    let caller = at(&trio.a, Binding::Rest, "cee")?;
    let first = caller.say("remember the pangolin", json!({})).await?;
    ensure!(state(&first) == "TASK_STATE_COMPLETED", "{first}");
    let second = caller.say("which one was it, cee", json!({ "contextId": first["contextId"] })).await?;
    ensure!(state(&second) == "TASK_STATE_COMPLETED" && second["contextId"] == first["contextId"], "{second}");
    let asked = trio.llm.requests_with("which one was it, cee")?;
    ensure!(!asked.is_empty() && asked.iter().all(|request| request.says("user", "pangolin")), "it is another session");
    Ok(())
}

async fn a_permission_that_a_machine_of_a_peer_asks_for_is_given_here(cx: &Cx) -> Result<()> {
    let trio = shared(cx).await?;
    for (binding, word) in [(Binding::Rpc, "once"), (Binding::Rest, "yes")] {
        let caller = at(&trio.a, binding, "bee")?;
        let task = begin(&caller, &format!("!bash ask-me across || echo let-through-{word}"), json!({})).await?;
        let asks = until_state(&caller, &task["id"], "INPUT_REQUIRED").await?;
        let question = text(&asks["status"]["message"]["parts"][0], "text")?;
        ensure!(question.contains("ask-me across"), "{asks}");
        let open = trio.a.get("/v1/interactions?state=open").await?;
        ensure!(open.as_array().is_some_and(|all| all.iter().any(|one| one["task_id"] == task["id"])), "{open}");
        let answer = message(word, json!({ "taskId": task["id"], "contextId": task["contextId"] }));
        caller.call("SendMessage", json!({ "message": answer, "configuration": { "returnImmediately": true } })).await?;
        let done = until_state(&caller, &task["id"], "COMPLETED").await?;
        ensure!(texts(&done).contains(&format!("let-through-{word}")), "{done}");
    }
    Ok(())
}

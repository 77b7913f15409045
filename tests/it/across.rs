//! Messages and work across servers: what is asked of one is done at another, once, whatever breaks in between.

mod work;

use crate::a2a::caller::{Binding, Caller, Fault, OF_JSON, message, state, texts};
use crate::network::net::{LIMIT, all_up, joining, named, star};
use crate::support::{Case, CutProxy, Cx, FakeLlm, Http, Puller, Server, Worker, cases, items, running, text, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::task::ReportedStatus;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn all() -> Vec<Case> {
    cases().into_iter().chain(work::cases()).collect()
}

cases! {
    [] =>
        three_servers_answer_as_the_quick_start_says,
        a_machine_of_a_peer_is_reached_and_tells_its_words_as_they_come,
        a_cancel_reaches_the_machine_of_a_peer_and_is_confirmed,
        a_question_of_a_peers_machine_is_answered_here,
        a_message_whose_answer_is_lost_is_worked_on_once,
        a_connection_that_breaks_midway_loses_and_repeats_no_word,
        a_server_that_is_killed_midway_goes_on_with_what_a_peer_works_on,
        a_coordination_is_answered_once_though_its_server_is_killed,
        a_message_that_came_through_too_many_servers_is_refused,
        a_coordinator_lets_another_one_coordinate;
    [Opencode, Python] =>
        a_coordination_lets_the_machines_of_peers_write_files_and_names_the_one_that_is_killed within 180;
}

/// Sends a message as the quick start does; answers the text.
async fn say(server: &Server, said: &str, metadata: Value) -> Result<String> {
    let message = json!({ "parts": [{ "type": "text", "content": said }], "metadata": metadata });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let answer = server.post("/", &body).await?;
    Ok(text(&answer["result"]["message"]["parts"][0], "content").with_context(|| answer.to_string())?.to_owned())
}

/// Waits until a server has an agent that is there.
async fn until_agent(server: &Server, name: &str) -> Result<()> {
    wait_for(&format!("the agent {name}"), LIMIT, async || {
        let agents = server.get("/v1/agents").await?;
        Ok(items(&agents)?.iter().any(|agent| agent["name"] == name && agent["health"]["state"] == "up").then_some(()))
    })
    .await
}

/// Two servers, and a machine of the second that the first knows.
async fn with_machine(cx: &Cx) -> Result<(Vec<Server>, Puller)> {
    let servers = star(cx, &["A", "B"]).await?;
    let machine = Puller::register(servers[1].client(), "box", json!({})).await?;
    until_agent(&servers[0], "box").await?;
    Ok((servers, machine))
}

fn at(server: &Server, binding: Binding, agent: &str) -> Result<Caller> {
    Ok(Caller::new(&Http::new(server), binding)?.at(agent))
}

async fn tasks_of(server: &Server) -> Result<Vec<Value>> {
    Ok(items(&server.get("/v1/opencode/tasks").await?)?.clone())
}

async fn begin(caller: &Caller, said: &str) -> Result<Value> {
    let send = json!({ "message": message(said, json!({})), "configuration": { "returnImmediately": true } });
    Ok(caller.call("SendMessage", send).await?["task"]["id"].clone())
}

async fn three_servers_answer_as_the_quick_start_says(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["Server-A", "Server-B", "Server-C"]).await?;
    for server in &servers {
        for other in servers.iter().filter(|other| other.name() != server.name()) {
            for agent in ["Coordinator", "Worker-A", "Worker-B", "Monitor"] {
                until_agent(server, &format!("{agent}-{}", other.name())).await?;
            }
        }
    }
    let banner = servers[2].log();
    for wanted in ["Worker-A-Server-C (data-processing)", "Worker-B-Server-C (analytics)", "Coordinator-Server-C", "Server-A at http://"] {
        ensure!(banner.contains(wanted), "{wanted} is not in {banner}");
    }
    ensure!(say(&servers[0], "Hello Server-A", json!({})).await?.starts_with("Worker-A-Server-A"), "no agent says who it is");
    // Two at once.
    let coordinate = |n: usize| say(&servers[n], "coordinate distributed analytics task", json!({}));
    let (one, two) = tokio::try_join!(coordinate(1), coordinate(2))?;
    for said in [one, two] {
        ensure!(said.starts_with("6 parts, 6 completed, in "), "{said}");
        for server in ["Server-A", "Server-B", "Server-C"] {
            for worker in ["Worker-A", "Worker-B"] {
                ensure!(said.contains(&format!("- {worker}-{server} ({server}): completed after ")), "{said}");
            }
        }
    }
    let wanted =
        ["Server-A ", "Server-B ", "Server-C ", "2 coordination.complete", "connected peers: Server-B, Server-C", "running tasks: none"];
    wait_for("all events to be known", LIMIT, async || {
        let report = say(&servers[0], "status report", json!({})).await?;
        Ok(wanted.iter().all(|wanted| report.contains(wanted)).then_some(()))
    })
    .await
}

async fn a_machine_of_a_peer_is_reached_and_tells_its_words_as_they_come(cx: &Cx) -> Result<()> {
    let (servers, machine) = with_machine(cx).await?;
    for binding in OF_JSON {
        let caller = at(&servers[0], binding, "box")?;
        let mut stream = caller.stream("SendStreamingMessage", json!({ "message": message("tell", json!({})) }), None).await?;
        let given = machine.take().await?;
        ensure!(given.task.prompt == "tell", "{:?}", given.task);
        machine.start(&given, "ses_box").await?;
        // Each word arrives before the next one is said.
        let mut said = String::new();
        for (n, word) in ["one ", "two ", "three"].into_iter().enumerate() {
            machine.append(&given, n as u64, &[word]).await?;
            while !said.ends_with(word) {
                let (_, event) = stream.expect().await?;
                said.push_str(event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str().unwrap_or_default());
            }
        }
        machine.report(&given, ReportedStatus::Completed, json!({ "result": "one two three" })).await?;
        let rest = stream.rest().await?;
        ensure!(rest.last().is_some_and(|(_, last)| state(&last["statusUpdate"]) == "TASK_STATE_COMPLETED"), "{rest:?}");
    }
    // By its name in the metadata, too; the conversation goes on in its session.
    let caller = Caller::new(&Http::new(&servers[0]), Binding::Rpc)?;
    let first =
        json!({ "message": message("again", json!({ "metadata": { "agent": "box" } })), "configuration": { "returnImmediately": true } });
    let first = caller.call("SendMessage", first).await?["task"].clone();
    let given = machine.take().await?;
    machine.start(&given, "ses_talk").await?;
    machine.report(&given, ReportedStatus::Completed, json!({ "result": "yes", "session_id": "ses_talk" })).await?;
    let next = json!({ "contextId": first["contextId"], "metadata": { "agent": "box" } });
    let next = json!({ "message": message("and now", next), "configuration": { "returnImmediately": true } });
    caller.call("SendMessage", next).await?;
    let given = machine.take().await?;
    ensure!(given.session_id.as_ref().is_some_and(|session| session.0 == "ses_talk"), "{given:?}");
    Ok(())
}

async fn a_cancel_reaches_the_machine_of_a_peer_and_is_confirmed(cx: &Cx) -> Result<()> {
    let (servers, machine) = with_machine(cx).await?;
    let caller = at(&servers[0], Binding::Rpc, "box")?;
    let id = begin(&caller, "work").await?;
    let given = machine.take().await?;
    machine.start(&given, "ses_box").await?;
    let cancel = caller.call("CancelTask", json!({ "id": id }));
    let stopped = async {
        let held = [running(given.task.id, given.attempt)];
        wait_for("the cancel", LIMIT, async || Ok((!machine.pull(&held, Duration::from_secs(1)).await?.cancel.is_empty()).then_some(())))
            .await?;
        machine.report(&given, ReportedStatus::Cancelled, json!({})).await?;
        anyhow::Ok(())
    };
    let (canceled, ()) = tokio::try_join!(cancel, stopped)?;
    ensure!(state(&canceled) == "TASK_STATE_CANCELED" && canceled["metadata"]["confirmed"] == true, "{canceled}");
    Ok(())
}

async fn a_question_of_a_peers_machine_is_answered_here(cx: &Cx) -> Result<()> {
    let (servers, machine) = with_machine(cx).await?;
    let caller = at(&servers[0], Binding::Rpc, "box")?;
    let ask = async {
        let given = machine.take().await?;
        machine.start(&given, "ses_box").await?;
        let id = uuid::Uuid::now_v7();
        let note = json!({ "id": id, "request": "r", "kind": "permission", "title": "rm -r x", "outcome": "open", "detail": {} });
        machine.tell(&given, 0, muster_protocol::stream::EntryKind::Interaction, &note).await?;
        anyhow::Ok((given, id))
    };
    let (asked, (given, question)) = tokio::try_join!(caller.say("clean up", json!({})), ask)?;
    ensure!(state(&asked) == "TASK_STATE_INPUT_REQUIRED" && asked["status"].to_string().contains("rm -r x"), "{asked}");
    let answered = async {
        let held = [running(given.task.id, given.attempt)];
        wait_for("the answer", LIMIT, async || {
            let answers = machine.pull(&held, Duration::from_secs(1)).await?.answers;
            Ok(answers.iter().any(|answer| answer.interaction_id.0 == question).then_some(()))
        })
        .await?;
        let note = json!({ "id": question, "request": "r", "kind": "permission", "title": "rm -r x", "outcome": "applied", "detail": {} });
        machine.tell(&given, 1, muster_protocol::stream::EntryKind::Interaction, &note).await?;
        machine.report(&given, ReportedStatus::Completed, json!({ "result": "" })).await?;
        anyhow::Ok(())
    };
    let (ended, ()) = tokio::try_join!(caller.say("yes", json!({ "taskId": asked["id"] })), answered)?;
    ensure!(state(&ended) == "TASK_STATE_COMPLETED", "{ended}");
    Ok(())
}

/// Two servers, of which the second is reached by the first through a proxy only.
async fn through_proxy(cx: &Cx) -> Result<(Server, Server, CutProxy)> {
    let far = named(cx, "B")?;
    let proxy = CutProxy::start(far.port()).await?;
    // Behind an address of its own everybody needs a credential; here nobody is to be asked for one.
    let far = far.with_args(["--public-url", &proxy.url(), "--insecure"]).launch().await?;
    let near = joining(cx, "A", &[])?.with_args(["--connect", &proxy.url()]).launch().await?;
    all_up(&[&near, &far]).await?;
    Ok((near, far, proxy))
}

async fn a_message_whose_answer_is_lost_is_worked_on_once(cx: &Cx) -> Result<()> {
    let (near, far, proxy) = through_proxy(cx).await?;
    until_agent(&near, "Worker-A-B").await?;
    // Of what passes only answers to messages say this.
    proxy.cut_answer_with("\"jsonrpc\"");
    let answer = at(&near, Binding::Rpc, "Worker-A-B")?.say("1 2 3", json!({})).await?;
    ensure!(state(&answer) == "TASK_STATE_COMPLETED" && texts(&answer).contains("sum 6"), "{answer}");
    ensure!(proxy.cuts() == 1, "{} answers were lost", proxy.cuts());
    let there = tasks_of(&far).await?;
    ensure!(there.len() == 1, "it was worked on {} times: {there:?}", there.len());
    Ok(())
}

async fn a_connection_that_breaks_midway_loses_and_repeats_no_word(cx: &Cx) -> Result<()> {
    let (near, far, proxy) = through_proxy(cx).await?;
    let machine = Puller::register(far.client(), "box", json!({})).await?;
    until_agent(&near, "box").await?;
    let caller = at(&near, Binding::Rpc, "box")?;
    let id = begin(&caller, "tell").await?;
    let given = machine.take().await?;
    machine.start(&given, "ses_box").await?;
    for n in 0..6 {
        machine.append(&given, n, &[&format!("word-{n} ")]).await?;
        if n == 2 {
            proxy.refuse(true);
        }
    }
    proxy.refuse(false);
    machine.report(&given, ReportedStatus::Completed, json!({ "result": "" })).await?;
    let ended = wait_for("the end", LIMIT, async || {
        let task = caller.call("GetTask", json!({ "id": id })).await?;
        Ok((state(&task) == "TASK_STATE_COMPLETED").then_some(task))
    })
    .await?;
    ensure!(texts(&ended) == "word-0 word-1 word-2 word-3 word-4 word-5 ", "{ended}");
    ensure!(tasks_of(&far).await?.len() == 1, "it was given out again");
    Ok(())
}

async fn a_server_that_is_killed_midway_goes_on_with_what_a_peer_works_on(cx: &Cx) -> Result<()> {
    let (mut servers, machine) = with_machine(cx).await?;
    let id = begin(&at(&servers[0], Binding::Rpc, "box")?, "tell").await?;
    let given = machine.take().await?;
    machine.start(&given, "ses_box").await?;
    machine.append(&given, 0, &["before "]).await?;
    // The one that asked, and then the one where it is worked on.
    for n in [0, 1] {
        servers[n].kill().await?;
        servers[n].restart().await?;
    }
    machine.append(&given, 1, &["after"]).await?;
    machine.report(&given, ReportedStatus::Completed, json!({ "result": "before after" })).await?;
    let caller = at(&servers[0], Binding::Rpc, "box")?;
    let ended = wait_for("the end", LIMIT, async || {
        let task = caller.call("GetTask", json!({ "id": id })).await?;
        Ok((state(&task) == "TASK_STATE_COMPLETED").then_some(task))
    })
    .await?;
    ensure!(texts(&ended) == "before after", "{ended}");
    ensure!(tasks_of(&servers[1]).await?.len() == 1, "it was given out again");
    Ok(())
}

async fn a_coordination_is_answered_once_though_its_server_is_killed(cx: &Cx) -> Result<()> {
    let (mut servers, machine) = with_machine(cx).await?;
    let caller = Caller::new(&Http::new(&servers[0]), Binding::Rpc)?;
    let id = begin(&caller, "coordinate\nbox: one thing\nMonitor-B: status").await?;
    let given = machine.take().await?;
    machine.start(&given, "ses_box").await?;
    servers[0].kill().await?;
    servers[0].restart().await?;
    machine.report(&given, ReportedStatus::Completed, json!({ "result": "done" })).await?;
    let ended = wait_for("the answer", LIMIT, async || {
        let task = caller.call("GetTask", json!({ "id": id })).await?;
        Ok((state(&task) == "TASK_STATE_COMPLETED").then_some(task))
    })
    .await?;
    ensure!(texts(&ended).contains("2 parts, 2 completed") && texts(&ended).contains("Status of B"), "{ended}");
    let there = tasks_of(&servers[1]).await?;
    ensure!(there.len() == 2, "{} tasks came of two parts: {there:?}", there.len());
    wait_for("the event", LIMIT, async || {
        Ok((items(&servers[1].get("/v1/events?type=coordination.complete").await?)?.len() == 1).then_some(()))
    })
    .await
}

async fn a_message_that_came_through_too_many_servers_is_refused(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B"]).await?;
    until_agent(&servers[0], "Worker-A-B").await?;
    let refused = |hops: u64| json!({ "message": message("1", json!({ "metadata": { "hops": hops } })) });
    let Fault { code, message: said, .. } = at(&servers[0], Binding::Rpc, "Worker-A-A")?.fault("SendMessage", refused(9)).await?;
    ensure!(code == -32602 && said.contains("more than 8 servers"), "{code}: {said}");
    // The eighth is let through here, and is the ninth there.
    let task = at(&servers[0], Binding::Rpc, "Worker-A-B")?.call("SendMessage", refused(8)).await?["task"].clone();
    ensure!(state(&task) == "TASK_STATE_FAILED" && task["status"].to_string().contains("8 servers"), "{task}");
    Ok(())
}

async fn a_coordinator_lets_another_one_coordinate(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B"]).await?;
    until_agent(&servers[0], "Coordinator-B").await?;
    until_agent(&servers[1], "Worker-B-A").await?;
    let said = say(&servers[0], "coordinate\nCoordinator-B: coordinate 1 2 3", json!({})).await?;
    ensure!(said.contains("- Coordinator-B (B): completed") && said.contains("4 parts, 4 completed"), "{said}");
    Ok(())
}

async fn a_coordination_lets_the_machines_of_peers_write_files_and_names_the_one_that_is_killed(cx: &Cx) -> Result<()> {
    let (servers, llm) = (star(cx, &["A", "B", "C"]).await?, FakeLlm::start(cx).await?);
    let (mut at_b, at_c) = tokio::try_join!(Worker::start(cx, "at-b", &servers[1], &llm), Worker::start(cx, "at-c", &servers[2], &llm))?;
    until_agent(&servers[0], "at-b").await?;
    until_agent(&servers[0], "at-c").await?;
    let said = say(&servers[0], "coordinate\nat-b: !write b.txt of-b\nat-c: !write c.txt of-c", json!({})).await?;
    ensure!(said.contains("2 parts, 2 completed"), "{said}");
    for (worker, file, content) in [(&at_b, "b.txt", "of-b"), (&at_c, "c.txt", "of-c")] {
        let path = std::path::Path::new(&worker.global_codebase().await?.path).join(file);
        let found = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        ensure!(found.trim_end() == content, "{file} holds {found:?}");
    }
    let plan = "coordinate\nat-b: !slow 608 100\nat-c: !write d.txt of-d";
    let coordinate = say(&servers[0], plan, json!({ "agent": "coordinator", "deadline_s": 20 }));
    let kill = async {
        wait_for("the language model to be asked", LIMIT, async || Ok((!llm.requests_with("!slow 608")?.is_empty()).then_some(()))).await?;
        at_b.kill().await
    };
    let (said, ()) = tokio::try_join!(coordinate, kill)?;
    ensure!(said.contains("- at-b (B): missing") && said.contains("- at-c (C): completed"), "{said}");
    Ok(())
}

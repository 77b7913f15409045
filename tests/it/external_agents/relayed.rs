//! Tasks at agents of others: their streams, what they ask, cancels, and contact that is lost and found again, in each version and binding.

use super::cards::{CardServer, card_at};
use super::{LIMIT, add, far, near};
use crate::a2a::caller::{BINDINGS, Binding, Caller, message, state, texts};
use crate::support::{Cx, Http, Puller, Server, cases, text, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{Assignment, ReportedStatus};
use muster_protocol::worker::{AttemptRef, Pulled};
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        a_stream_goes_through_word_by_word_in_every_version_and_binding,
        an_agent_that_cannot_stream_is_asked_until_it_is_ready,
        a_conversation_goes_on_in_that_of_the_agent,
        a_cancel_reaches_the_agent_and_waits_for_its_word,
        what_the_agent_asks_is_asked_here_and_answered_there,
        a_task_goes_on_when_its_agent_was_away,
        a_task_goes_on_when_this_server_was_away,
        the_tasks_of_a_removed_agent_end_here_and_there,
        an_agent_of_0_3_that_answers_without_a_task_is_understood,
        a_refusal_of_the_agent_is_told;
    [Opencode, Python] => an_opencode_behind_another_server_works_for_this_one;
}

const DIALECTS: [(&str, &str); 3] = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3")];

/// Two servers, and a machine of the farther one that is an agent of the nearer one.
pub(super) struct Pair {
    pub(super) near: Server,
    pub(super) far: Server,
    pub(super) machine: Puller,
}

impl Pair {
    pub(super) async fn start(cx: &Cx) -> Result<Self> {
        let (near, far) = (near(cx).await?, far(cx, "").await?);
        let machine = Puller::register(far.client(), "machine", json!({})).await?;
        add(&near, json!({ "url": far.path_url("/agents/machine"), "name": "remote" })).await?;
        Ok(Self { near, far, machine })
    }

    pub(super) fn caller(&self, binding: Binding) -> Result<Caller> {
        Ok(Caller::new(&Http::new(&self.near), binding)?.at("remote"))
    }

    /// Begins a task that the machine has taken.
    async fn begin(&self, caller: &Caller, said: &str) -> Result<(Value, Assignment)> {
        let send = json!({ "message": message(said, json!({})), "configuration": { "returnImmediately": true } });
        let task = caller.call("SendMessage", send).await?["task"].clone();
        let given = self.machine.take().await?;
        self.machine.start(&given, &format!("ses_{}", given.task.context_id)).await?;
        Ok((task, given))
    }

    pub(super) async fn end(&self, given: &Assignment, result: &str) -> Result<()> {
        self.machine.report(given, ReportedStatus::Completed, json!({ "result": result })).await?;
        Ok(())
    }
}

pub(super) async fn task_when(caller: &Caller, id: &Value, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    wait_for(what, LIMIT, async || {
        let task = caller.call("GetTask", json!({ "id": id })).await?;
        Ok(is_so(&task).then_some(task))
    })
    .await
}

async fn a_stream_goes_through_word_by_word_in_every_version_and_binding(cx: &Cx) -> Result<()> {
    let pair = Pair::start(cx).await?;
    let cards = CardServer::start().await?;
    for (binding, version) in DIALECTS {
        let name = format!("by-{}-{version}", binding.replace('+', "-"));
        let mut card = card_at(&pair.far.path_url("/agents/machine"), &name, binding, version);
        card["capabilities"]["streaming"] = json!(true);
        cards.put(card);
        let url = format!("{}/{name}", cards.url());
        let added = add(&pair.near, json!({ "url": url, "other_host": true })).await?;
        ensure!(added["speaks"] == format!("{binding} {version}"), "{added}");
        for ours in BINDINGS {
            let caller = Caller::new(&Http::new(&pair.near), ours)?.at(&name);
            let mut events = caller.stream("SendStreamingMessage", json!({ "message": message("tell", json!({})) }), None).await?;
            let task = events.expect().await?.1["task"].clone();
            let given = pair.machine.take().await?;
            pair.machine.start(&given, "ses_1").await?;
            // A piece is here before the next one is said there.
            for (n, piece) in [(0, "one "), (1, "two "), (2, "three")] {
                pair.machine.append(&given, n, &[piece]).await?;
                loop {
                    let (_, event) = events.expect().await?;
                    if event["artifactUpdate"]["artifact"]["parts"][0]["text"] == piece {
                        break;
                    }
                    ensure!(event["artifactUpdate"].is_null(), "before `{piece}` came {event}");
                }
            }
            pair.end(&given, "one two three").await?;
            let rest = events.rest().await?;
            let last = &rest.last().context("the stream ended without a word")?.1["statusUpdate"];
            ensure!(state(last) == "TASK_STATE_COMPLETED", "{rest:?}");
            let read = caller.call("GetTask", json!({ "id": task["id"] })).await?;
            ensure!(texts(&read) == "one two three", "{read}");
            let shown = pair.near.get(&format!("/v1/opencode/tasks/{}", text(&task, "id")?)).await?;
            ensure!(shown["result"] == "one two three" && shown["status"] == "completed" && shown["attempt"] == 1, "{shown}");
        }
    }
    Ok(())
}

async fn an_agent_that_cannot_stream_is_asked_until_it_is_ready(cx: &Cx) -> Result<()> {
    let pair = Pair::start(cx).await?;
    let cards = CardServer::start().await?;
    for (binding, version) in DIALECTS {
        let name = format!("slow-{}-{version}", binding.replace('+', "-"));
        cards.put(card_at(&pair.far.path_url("/agents/machine"), &name, binding, version));
        add(&pair.near, json!({ "url": format!("{}/{name}", cards.url()), "other_host": true })).await?;
        let caller = Caller::new(&Http::new(&pair.near), Binding::Rpc)?.at(&name);
        let (task, given) = pair.begin(&caller, "think").await?;
        pair.machine.append(&given, 0, &["half "]).await?;
        task_when(&caller, &task["id"], "the half", |task| texts(task) == "half ").await?;
        pair.machine.append(&given, 1, &["whole"]).await?;
        pair.end(&given, "half whole").await?;
        let done = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_COMPLETED").await?;
        ensure!(texts(&done) == "half whole", "{done}");
    }
    Ok(())
}

async fn a_conversation_goes_on_in_that_of_the_agent(cx: &Cx) -> Result<()> {
    let pair = Pair::start(cx).await?;
    let caller = pair.caller(Binding::Rpc)?;
    let (first, given) = pair.begin(&caller, "one").await?;
    pair.end(&given, "1").await?;
    task_when(&caller, &first["id"], "the end", |task| state(task) == "TASK_STATE_COMPLETED").await?;
    let send =
        json!({ "message": message("two", json!({ "contextId": first["contextId"] })), "configuration": { "returnImmediately": true } });
    let second = caller.call("SendMessage", send).await?["task"].clone();
    let next = pair.machine.take().await?;
    ensure!(next.task.context_id == given.task.context_id, "it is another conversation there");
    ensure!(next.task.context_id.as_str() != text(&first, "contextId")?, "the agent has its own names");
    ensure!(second["contextId"] == first["contextId"] && second["id"] != first["id"], "{second}");
    // A message to a task that runs waits its turn, there as here.
    let send = json!({ "message": message("three", json!({ "taskId": second["id"] })), "configuration": { "returnImmediately": true } });
    let third = caller.call("SendMessage", send).await?["task"].clone();
    ensure!(state(&third) == "TASK_STATE_SUBMITTED" && third["contextId"] == first["contextId"], "{third}");
    pair.end(&next, "2").await?;
    let last = pair.machine.take().await?;
    ensure!(last.task.context_id == given.task.context_id && last.task.prompt == "three", "{:?}", last.task);
    Ok(())
}

/// What the machine is to cancel.
async fn told_to_cancel(pair: &Pair, given: &Assignment) -> Result<AttemptRef> {
    wait_for("the cancel", LIMIT, async || {
        let running = [crate::support::running(given.task.id, given.attempt)];
        let Pulled { cancel, .. } = pair.machine.pull(&running, Duration::from_secs(5)).await?;
        Ok(cancel.into_iter().next())
    })
    .await
}

async fn a_cancel_reaches_the_agent_and_waits_for_its_word(cx: &Cx) -> Result<()> {
    let pair = Pair::start(cx).await?;
    for binding in BINDINGS {
        let caller = pair.caller(binding)?;
        let (task, given) = pair.begin(&caller, "for ever").await?;
        pair.machine.append(&given, 0, &["on "]).await?;
        task_when(&caller, &task["id"], "a word", |task| texts(task) == "on ").await?;
        let cancel = async { caller.call("CancelTask", json!({ "id": task["id"] })).await };
        let confirm = async {
            told_to_cancel(&pair, &given).await?;
            pair.machine.report(&given, ReportedStatus::Cancelled, json!({})).await?;
            anyhow::Ok(())
        };
        let (canceled, confirmed) = tokio::join!(cancel, confirm);
        confirmed?;
        canceled?;
        let ended = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_CANCELED").await?;
        ensure!(ended["metadata"]["confirmed"] == true, "{ended}");
    }
    Ok(())
}

async fn what_the_agent_asks_is_asked_here_and_answered_there(cx: &Cx) -> Result<()> {
    let pair = Pair::start(cx).await?;
    for binding in BINDINGS {
        let caller = pair.caller(binding)?;
        let send = json!({ "message": message("which?", json!({})) });
        let mut events = caller.stream("SendStreamingMessage", send, None).await?;
        let task = events.expect().await?.1["task"].clone();
        let given = pair.machine.take().await?;
        pair.machine.start(&given, "ses_1").await?;
        let id = uuid::Uuid::now_v7();
        let note = json!({ "id": id, "request": "q1", "kind": "question", "title": "Which one?", "outcome": "open",
            "detail": [{ "question": "Which one?" }] });
        pair.machine.tell(&given, 0, EntryKind::Interaction, &note).await?;
        let told = events.rest().await?;
        let asks = &told.last().context("it asks nothing")?.1["statusUpdate"];
        ensure!(state(asks) == "TASK_STATE_INPUT_REQUIRED", "{told:?}");
        ensure!(text(&asks["status"]["message"]["parts"][0], "text")?.contains("Which one?"), "{asks}");
        let open = pair.near.get("/v1/interactions?state=open").await?;
        ensure!(open[0]["kind"] == "question" && open[0]["task_id"] == task["id"], "{open}");
        let answer = json!({ "message": message("the blue one", json!({ "taskId": task["id"], "contextId": task["contextId"] })) });
        let mut events = caller.stream("SendStreamingMessage", answer, None).await?;
        let running = [crate::support::running(given.task.id, given.attempt)];
        let answers = wait_for("the answer", LIMIT, async || {
            let pulled = pair.machine.pull(&running, Duration::from_secs(5)).await?;
            Ok(Some(pulled.answers).filter(|answers| !answers.is_empty()))
        })
        .await?;
        ensure!(answers[0].reply.answers == [["the blue one"]], "{answers:?}");
        let over = json!({ "id": id, "request": "q1", "kind": "question", "title": "Which one?", "outcome": "applied" });
        pair.machine.tell(&given, 1, EntryKind::Interaction, &over).await?;
        pair.machine.append(&given, 2, &["blue it is"]).await?;
        pair.end(&given, "blue it is").await?;
        loop {
            let (_, event) = events.expect().await.context("it did not end")?;
            if state(&event["statusUpdate"]) == "TASK_STATE_COMPLETED" {
                break;
            }
        }
        let read = caller.call("GetTask", json!({ "id": task["id"] })).await?;
        ensure!(texts(&read) == "blue it is" && read["history"].as_array().is_some_and(|said| said.len() == 3), "{read}");
    }
    Ok(())
}

async fn a_task_goes_on_when_its_agent_was_away(cx: &Cx) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    let caller = pair.caller(Binding::Rpc)?;
    let (task, given) = pair.begin(&caller, "long").await?;
    pair.machine.append(&given, 0, &["one "]).await?;
    task_when(&caller, &task["id"], "a word", |task| texts(task) == "one ").await?;
    pair.far.kill().await?;
    super::wait_for_health(&pair.near, "remote", "down").await?;
    pair.far.restart().await?;
    pair.machine.append(&given, 1, &["two "]).await?;
    task_when(&caller, &task["id"], "the next word", |task| texts(task) == "one two ").await?;
    pair.machine.append(&given, 2, &["three"]).await?;
    pair.end(&given, "one two three").await?;
    let done = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_COMPLETED").await?;
    ensure!(texts(&done) == "one two three", "something was said twice or left out: {done}");
    Ok(())
}

async fn a_task_goes_on_when_this_server_was_away(cx: &Cx) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    let caller = pair.caller(Binding::Rpc)?;
    let (task, given) = pair.begin(&caller, "long").await?;
    pair.machine.append(&given, 0, &["one "]).await?;
    task_when(&caller, &task["id"], "a word", |task| texts(task) == "one ").await?;
    pair.near.kill().await?;
    pair.machine.append(&given, 1, &["two "]).await?;
    pair.near.restart().await?;
    task_when(&caller, &task["id"], "the word that was missed", |task| texts(task) == "one two ").await?;
    pair.machine.append(&given, 2, &["three"]).await?;
    pair.end(&given, "one two three").await?;
    let done = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_COMPLETED").await?;
    ensure!(texts(&done) == "one two three", "something was said twice or left out: {done}");
    let tasks = pair.far.get("/v1/opencode/tasks").await?;
    ensure!(tasks.as_array().is_some_and(|tasks| tasks.len() == 1), "the message was sent twice: {tasks}");
    Ok(())
}

async fn the_tasks_of_a_removed_agent_end_here_and_there(cx: &Cx) -> Result<()> {
    let pair = Pair::start(cx).await?;
    let caller = pair.caller(Binding::Rpc)?;
    let (task, given) = pair.begin(&caller, "for ever").await?;
    let waiting =
        json!({ "message": message("next", json!({ "contextId": task["contextId"] })), "configuration": { "returnImmediately": true } });
    let waiting = caller.call("SendMessage", waiting).await?["task"].clone();
    pair.machine.append(&given, 0, &["on "]).await?;
    task_when(&caller, &task["id"], "a word", |task| texts(task) == "on ").await?;
    Http::new(&pair.near).delete("/v1/agents/remote").await?.ok()?;
    for id in [&task["id"], &waiting["id"]] {
        let shown = pair.near.get(&format!("/v1/opencode/tasks/{}", id.as_str().context("no id")?)).await?;
        ensure!(shown["status"] == "failed" && shown["error_code"] == "agent_removed", "{shown}");
    }
    told_to_cancel(&pair, &given).await?;
    Ok(())
}

async fn an_agent_of_0_3_that_answers_without_a_task_is_understood(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    cards.put(cards.card("Parrot", "JSONRPC", "0.3"));
    let added = add(&near, json!({ "url": cards.url() })).await?;
    ensure!(added["speaks"] == "JSONRPC 0.3", "{added}");
    let task = Caller::new(&Http::new(&near), Binding::Rest)?.at("Parrot").say("hello", json!({})).await?;
    ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task) == "you said: hello", "{task}");
    Ok(())
}

async fn a_refusal_of_the_agent_is_told(cx: &Cx) -> Result<()> {
    let pair = Pair::start(cx).await?;
    let caller = pair.caller(Binding::Rpc)?;
    let task = caller.say("x", json!({ "metadata": { "codebase": "nowhere" } })).await?;
    ensure!(state(&task) == "TASK_STATE_FAILED" && task["metadata"]["code"] == "agent_refused", "{task}");
    ensure!(task["status"]["message"]["parts"][0]["text"].as_str().is_some_and(|said| said.contains("nowhere")), "{task}");
    // A task that fails there fails here, with the same words.
    let (task, given) = pair.begin(&caller, "break").await?;
    pair.machine.report(&given, ReportedStatus::Failed, json!({ "error": "it broke", "error_code": "x" })).await?;
    let failed = task_when(&caller, &task["id"], "the end", |task| state(task) == "TASK_STATE_FAILED").await?;
    ensure!(failed["metadata"]["code"] == "agent_failed" && failed["status"]["message"]["parts"][0]["text"] == "it broke", "{failed}");
    Ok(())
}

async fn an_opencode_behind_another_server_works_for_this_one(cx: &Cx) -> Result<()> {
    let (near, fleet) = (near(cx).await?, cx.fleet().await?);
    add(&near, json!({ "url": fleet.server.path_url(&format!("/agents/{}", fleet.worker())), "name": "coder" })).await?;
    let place = fleet.place()?;
    let caller = Caller::new(&Http::new(&near), Binding::Rest)?.at("coder");
    let chosen = json!({ "metadata": { "codebase": place.name, "model": "fake/echo", "mode": "build" } });
    let task = caller.say("!write relayed.txt from-afar", chosen).await?;
    ensure!(state(&task) == "TASK_STATE_COMPLETED", "{task}");
    ensure!(std::fs::read_to_string(place.path.join("relayed.txt"))?.contains("from-afar"), "it wrote something else");
    let file = task["artifacts"].as_array().and_then(|all| all.iter().find(|artifact| artifact["name"] == "relayed.txt"));
    ensure!(file.is_some_and(|file| file["parts"][0]["filename"] == "relayed.txt"), "the file is not told: {task}");
    Ok(())
}

//! Connections and servers that are lost while a machine of a peer works: nothing is repeated, and nothing forgotten.

use super::trio::{LIMIT, all_up, at, begin, tasks, unstarted, until_listed, until_state};
use crate::a2a::caller::{Binding, texts};
use crate::support::{CutProxy, Cx, Puller, Server, cases, wait_for};
use anyhow::{Result, ensure};
use muster_protocol::task::{Assignment, ReportedStatus};
use serde_json::{Value, json};

cases! {
    [] =>
        a_message_whose_answer_is_lost_runs_once,
        a_stream_that_is_cut_goes_on_where_it_was,
        a_server_whose_machine_works_is_killed_and_started_again,
        a_server_that_waits_for_a_machine_of_a_peer_is_killed_and_started_again;
}

/// A server, a peer behind a proxy, and a machine of the peer.
struct Apart {
    a: Server,
    b: Server,
    proxy: CutProxy,
    machine: Puller,
}

async fn apart(cx: &Cx) -> Result<Apart> {
    let a = unstarted(cx.dir(), "Server-A", &[])?.launch().await?;
    let b = unstarted(cx.dir(), "Server-B", &[a.url()])?;
    let proxy = CutProxy::start(b.port()).await?;
    let b = b.with_args(["--insecure".to_owned(), "--public-url".to_owned(), proxy.url()]).launch().await?;
    all_up(&[&a, &b]).await?;
    let machine = Puller::register(b.client(), "far", json!({})).await?;
    until_listed(&a, "far").await?;
    Ok(Apart { a, b, proxy, machine })
}

async fn end(machine: &Puller, given: &Assignment, result: &str) -> Result<()> {
    machine.report(given, ReportedStatus::Completed, json!({ "result": result })).await?;
    Ok(())
}

/// That the task ended here with these words, and ran once there.
async fn ensure_ran_once(apart: &Apart, task: &Value, words: &str) -> Result<()> {
    let done = until_state(&at(&apart.a, Binding::Rpc, "far")?, &task["id"], "COMPLETED").await?;
    ensure!(texts(&done) == words, "something was said twice or left out: {done}");
    let there = tasks(&apart.b).await?;
    ensure!(there.len() == 1 && there[0]["attempt"] == 1, "it ran more than once: {there:?}");
    Ok(())
}

async fn a_message_whose_answer_is_lost_runs_once(cx: &Cx) -> Result<()> {
    let apart = apart(cx).await?;
    apart.proxy.cut_answer_with("text/event-stream");
    let task = begin(&at(&apart.a, Binding::Rpc, "far")?, "once", json!({})).await?;
    let given = apart.machine.take().await?;
    wait_for("the answer to be lost", LIMIT, async || Ok((apart.proxy.cuts() == 1).then_some(()))).await?;
    apart.machine.run(&given, &["one ", "two"]).await?;
    ensure_ran_once(&apart, &task, "one two").await
}

async fn a_stream_that_is_cut_goes_on_where_it_was(cx: &Cx) -> Result<()> {
    let apart = apart(cx).await?;
    let caller = at(&apart.a, Binding::Rpc, "far")?;
    let task = begin(&caller, "long", json!({})).await?;
    let given = apart.machine.take().await?;
    apart.machine.start(&given, "ses_1").await?;
    let words = ["one ", "two ", "three ", "four ", "five"];
    let mut said = String::new();
    for (n, word) in (0..).zip(words) {
        if n % 2 == 1 {
            apart.proxy.refuse(true);
        }
        apart.machine.append(&given, n, &[word]).await?;
        apart.proxy.refuse(false);
        said.push_str(word);
        wait_for(
            "the word",
            LIMIT,
            async || Ok((texts(&caller.call("GetTask", json!({ "id": task["id"] })).await?) == said).then_some(())),
        )
        .await?;
    }
    apart.proxy.refuse(true);
    end(&apart.machine, &given, &said).await?;
    apart.proxy.refuse(false);
    ensure_ran_once(&apart, &task, &said).await
}

async fn a_server_whose_machine_works_is_killed_and_started_again(cx: &Cx) -> Result<()> {
    let mut apart = apart(cx).await?;
    let caller = at(&apart.a, Binding::Rpc, "far")?;
    let task = begin(&caller, "long", json!({})).await?;
    let given = apart.machine.take().await?;
    apart.machine.start(&given, "ses_1").await?;
    apart.machine.append(&given, 0, &["one "]).await?;
    apart.b.kill().await?;
    apart.b.restart().await?;
    apart.machine.append(&given, 1, &["two"]).await?;
    end(&apart.machine, &given, "one two").await?;
    ensure_ran_once(&apart, &task, "one two").await
}

async fn a_server_that_waits_for_a_machine_of_a_peer_is_killed_and_started_again(cx: &Cx) -> Result<()> {
    let mut apart = apart(cx).await?;
    // Whatever A knew of it: the message may have arrived, and its name may be known.
    for (n, wait) in [false, true].into_iter().enumerate() {
        let caller = at(&apart.a, Binding::Rpc, "far")?;
        let task = begin(&caller, &format!("long {n}"), json!({})).await?;
        let mut given = None;
        if wait {
            given = Some(apart.machine.take().await?);
        }
        apart.a.kill().await?;
        apart.a.restart().await?;
        let given = match given {
            Some(given) => given,
            None => apart.machine.take().await?,
        };
        apart.machine.run(&given, &["one ", "two"]).await?;
        let done = until_state(&at(&apart.a, Binding::Rpc, "far")?, &task["id"], "COMPLETED").await?;
        ensure!(texts(&done) == "one two", "something was said twice or left out: {done}");
        let there = tasks(&apart.b).await?;
        ensure!(there.len() == n + 1, "it ran more than once: {there:?}");
    }
    Ok(())
}

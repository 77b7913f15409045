//! Conversations: the turns of one context run one after the other in one OpenCode session.

use crate::support::{Cx, cases, follow, in_codebase, on_worker, run_task};
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use muster_protocol::ids::ContextId;
use muster_protocol::task::{SubmitTask, TaskState};

cases! {
    [Opencode, Python] =>
        the_second_turn_knows_the_first,
        a_session_is_resumed_by_its_id,
        a_conversation_in_the_home_directory_keeps_its_session,
        turns_sent_at_once_run_one_after_the_other;
}

async fn the_second_turn_knows_the_first(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, place) = (fleet.server.client(), fleet.place()?);
    let first = run_task(client, &in_codebase(&place.name, "the word is marmalade")).await?.task;
    let second = SubmitTask { context_id: Some(first.context_id.clone()), ..in_codebase(&place.name, "which word was it") };
    let second = run_task(client, &second).await?.task;
    ensure!(second.state == TaskState::Completed, "the second turn is {}: {:?}", second.state, second.error);
    ensure!(second.session_id == first.session_id, "the sessions are {:?} and {:?}", first.session_id, second.session_id);
    let requests = fleet.llm.requests_with("which word was it")?;
    ensure!(requests.len() == 1, "the second turn was asked {} times", requests.len());
    ensure!(requests[0].says("user", "the word is marmalade"), "the second turn does not know what was said");
    ensure!(requests[0].says("assistant", "echo: the word is marmalade"), "the second turn does not know what was answered");
    Ok(())
}

async fn a_session_is_resumed_by_its_id(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, place) = (fleet.server.client(), fleet.place()?);
    let first = run_task(client, &in_codebase(&place.name, "the colour is teal")).await?.task;
    let second = SubmitTask { resume_session_id: first.session_id.clone(), ..in_codebase(&place.name, "which colour was it") };
    let second = run_task(client, &second).await?.task;
    ensure!(second.state == TaskState::Completed, "the second turn is {}: {:?}", second.state, second.error);
    ensure!(second.session_id == first.session_id, "the sessions are {:?} and {:?}", first.session_id, second.session_id);
    ensure!(
        fleet.llm.requests_with("which colour was it")?.iter().all(|request| request.says("user", "the colour is teal")),
        "it is forgotten"
    );
    Ok(())
}

async fn a_conversation_in_the_home_directory_keeps_its_session(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let client = fleet.server.client();
    let context = Some(ContextId::from("breakfast"));
    let first =
        run_task(client, &SubmitTask { context_id: context.clone(), ..on_worker(fleet.worker(), "the fruit is a plum") }).await?.task;
    let second =
        run_task(client, &SubmitTask { context_id: context.clone(), ..on_worker(fleet.worker(), "which fruit was it") }).await?.task;
    ensure!(Some(&first.context_id) == context.as_ref(), "the context is {}", first.context_id);
    ensure!(first.session_id.is_some() && second.session_id == first.session_id, "{:?} and {:?}", first.session_id, second.session_id);
    ensure!(
        fleet.llm.requests_with("which fruit was it")?.iter().all(|request| request.says("user", "the fruit is a plum")),
        "it is forgotten"
    );
    Ok(())
}

async fn turns_sent_at_once_run_one_after_the_other(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let client = fleet.server.client();
    let context = Some(ContextId::from("all-at-once"));
    let mut tasks = Vec::new();
    for n in 0..4 {
        let task = SubmitTask { context_id: context.clone(), ..on_worker(fleet.worker(), &format!("turn number {n}")) };
        tasks.push(client.submit(&task, None).await?);
    }
    let stories = try_join_all(tasks.iter().map(|task| follow(client, task.id))).await?;
    for (n, story) in stories.iter().enumerate() {
        ensure!(
            story.task.result == Some(format!("echo: turn number {n}")),
            "turn {n} was answered {:?} {:?}",
            story.task.result,
            story.task.error
        );
    }
    for pair in stories.windows(2) {
        let (before, after) = (&pair[0].task, &pair[1].task);
        ensure!(before.completed_at <= after.started_at, "{} and {} overlap", before.prompt, after.prompt);
        ensure!(before.session_id == after.session_id, "{} and {} are in two sessions", before.prompt, after.prompt);
    }
    Ok(())
}

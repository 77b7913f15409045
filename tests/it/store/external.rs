//! Agents of others and the tasks that are relayed to them.

use super::bench::{Bench, on_both};
use anyhow::{Context, Result, ensure};
use muster::domain::foreign::read;
use muster::domain::health::Health;
use muster::domain::loss::{AfterLoss, Loss};
use muster::store::attempts::{CancelOutcome, CancelTask, LoseAttempt, LoseOutcome};
use muster::store::external::{Added, ExternalAgent, KeepHealth, PutAgent, RemoveAgent, holder_of};
use muster::store::relays::{BeginRelay, EndRelay, ForgetRemote, NoteRemote, Remote, TakeRelays};
use muster::store::submit::NewTask;
use muster_protocol::ids::ContextId;
use muster_protocol::task::TaskState;
use serde_json::json;

on_both! {
    an_agent_is_read_back_as_it_was_put_and_goes_with_its_tasks,
    the_turns_of_a_conversation_are_relayed_one_after_the_other,
    what_a_task_is_called_there_is_kept_for_its_conversation,
    an_end_under_another_attempt_changes_nothing,
    one_name_is_given_to_one_agent_whoever_adds_it_at_once,
    what_was_not_sent_after_all_is_as_before,
    what_may_have_been_sent_is_not_begun_again_when_its_lease_is_over,
}

fn agent(bench: &Bench, name: &str) -> Result<ExternalAgent> {
    let url = "http://127.0.0.1:9/card.json".parse()?;
    let raw = json!({ "name": "Ünïcödé", "description": "d", "version": "1", "capabilities": {}, "defaultInputModes": [], "defaultOutputModes": [],
        "skills": [], "url": "http://127.0.0.1:9/" });
    let card = read(&raw, &url, false).map_err(|wrong| anyhow::anyhow!(wrong.join("; ")))?;
    let (health, now) = (Health::up(bench.now()), bench.now());
    let (token, etag) = (Some("secret".to_owned()), Some("\"t\"".to_owned()));
    Ok(ExternalAgent {
        name: name.to_owned(),
        url,
        card,
        raw,
        other_host: false,
        token,
        etag,
        health,
        home: None,
        created_at: now,
        updated_at: now,
    })
}

fn task(bench: &Bench, agent: &str, context: &str) -> NewTask {
    NewTask { worker: Some(holder_of(agent)), context_id: ContextId::from(context), ..bench.task("relay this") }
}

fn take(bench: &Bench, agent: &str) -> TakeRelays {
    TakeRelays { agent: agent.to_owned(), most: 10, now: bench.now() }
}

async fn an_agent_is_read_back_as_it_was_put_and_goes_with_its_tasks(bench: &Bench) -> Result<()> {
    let put = agent(bench, "planner")?;
    let outcome = bench.store.write(PutAgent { agent: put.clone(), known: None }).await?;
    ensure!(outcome == Added::Kept, "{outcome:?}");
    let read = bench.store.external_agent("planner").await?.context("it is not there")?;
    ensure!(
        (&read.card, &read.raw, &read.token, &read.etag, &read.health) == (&put.card, &put.raw, &put.token, &put.etag, &put.health),
        "{read:?}"
    );
    bench.pass(10);
    let health = read.health.seen(Some("away".into()), false, bench.now());
    bench.store.write(KeepHealth { agent: ExternalAgent { health, ..read }, changed: true, now: bench.now() }).await?;
    let read = bench.store.external_agents().await?.pop().context("it is not there")?;
    ensure!(!read.health.up && read.health.reason.as_deref() == Some("away") && read.health.since == bench.now(), "{:?}", read.health);
    let waits = bench.submit(task(bench, "planner", "c1")).await?;
    ensure!(bench.store.agents_waited_for().await? == ["planner"], "nobody waits for it");
    let remove = RemoveAgent { name: "planner".to_owned(), now: bench.now() };
    ensure!(bench.store.write(remove.clone()).await? && !bench.store.write(remove).await?, "it is removed once");
    let ended = bench.record(waits.id).await?.task;
    ensure!(ended.state == TaskState::Failed && ended.error_code.as_deref() == Some("agent_removed"), "{ended:?}");
    Ok(())
}

async fn the_turns_of_a_conversation_are_relayed_one_after_the_other(bench: &Bench) -> Result<()> {
    let first = bench.submit(task(bench, "planner", "c1")).await?;
    let second = bench.submit(task(bench, "planner", "c1")).await?;
    let other = bench.submit(task(bench, "planner", "c2")).await?;
    bench.submit(task(bench, "somebody-else", "c3")).await?;
    let ids = |taken: &[muster::store::tasks::TaskRecord]| taken.iter().map(|record| record.task.id).collect::<Vec<_>>();
    let taken = bench.store.write(take(bench, "planner")).await?;
    ensure!(ids(&taken) == [first.id, other.id], "{taken:?}");
    ensure!(taken.iter().all(|record| record.held && record.task.attempt == 1 && record.holder == Some(holder_of("planner"))), "{taken:?}");
    ensure!(bench.store.write(take(bench, "planner")).await?.is_empty(), "a turn was taken before its time");
    let end = EndRelay {
        task: first.id,
        attempt: 1,
        state: TaskState::Completed,
        result: Some("done".into()),
        error: None,
        code: None,
        confirmed: true,
        now: bench.now(),
    };
    bench.store.write(end).await?;
    let ended = bench.record(first.id).await?.task;
    ensure!(ended.state == TaskState::Completed && ended.result.as_deref() == Some("done"), "{ended:?}");
    ensure!(ids(&bench.store.write(take(bench, "planner")).await?) == [second.id], "the next turn was not taken");
    Ok(())
}

async fn what_a_task_is_called_there_is_kept_for_its_conversation(bench: &Bench) -> Result<()> {
    let first = bench.submit(task(bench, "planner", "c1")).await?;
    bench.store.write(take(bench, "planner")).await?;
    ensure!(bench.store.remote_of(first.id, 1).await?.is_none(), "something was sent already");
    let note = |remote| NoteRemote { task: first.id, attempt: 1, context: first.context_id.clone(), agent: "planner".to_owned(), remote };
    bench.store.write(note(Remote::default())).await?;
    ensure!(bench.store.remote_of(first.id, 1).await? == Some(Remote::default()), "it does not say that it was sent");
    ensure!(bench.store.remote_context(&first.context_id, "planner").await?.is_none(), "the conversation has no name yet");
    let named = Remote { task: "t-1".into(), context: "their-c".into() };
    bench.store.write(note(named.clone())).await?;
    bench.store.write(BeginRelay { task: first.id, attempt: 1, now: bench.now() }).await?;
    ensure!(bench.store.remote_of(first.id, 1).await? == Some(named), "its name was not kept");
    ensure!(bench.store.remote_context(&first.context_id, "planner").await?.as_deref() == Some("their-c"), "nor its conversation's");
    ensure!(bench.store.remote_context(&first.context_id, "another").await?.is_none(), "it is told to another agent");
    ensure!(bench.record(first.id).await?.task.started_at == Some(bench.now()), "it was not begun");
    Ok(())
}

async fn an_end_under_another_attempt_changes_nothing(bench: &Bench) -> Result<()> {
    let task = bench.submit(task(bench, "planner", "c1")).await?;
    bench.store.write(take(bench, "planner")).await?;
    let end = |attempt, state| EndRelay {
        task: task.id,
        attempt,
        state,
        result: None,
        error: None,
        code: None,
        confirmed: true,
        now: bench.now(),
    };
    bench.store.write(end(2, TaskState::Completed)).await?;
    ensure!(bench.record(task.id).await?.task.state == TaskState::Working, "an attempt that is not there ended it");
    let cancel = CancelTask { task: task.id, lease_ms: 45_000, now: bench.now() };
    let outcome = bench.store.write(cancel).await?;
    ensure!(matches!(outcome, CancelOutcome::Asked(_)), "{outcome:?}");
    bench.store.write(end(1, TaskState::Canceled)).await?;
    let ended = bench.record(task.id).await?.task;
    ensure!(ended.state == TaskState::Canceled && ended.confirmed == Some(true), "{ended:?}");
    Ok(())
}

async fn one_name_is_given_to_one_agent_whoever_adds_it_at_once(bench: &Bench) -> Result<()> {
    let (one, mut other) = (agent(bench, "planner")?, agent(bench, "planner")?);
    other.url = "http://127.0.0.1:10/card.json".parse()?;
    let put = |agent: &ExternalAgent, known: Option<&ExternalAgent>| PutAgent { agent: agent.clone(), known: known.map(|k| k.url.clone()) };
    let (first, second) = tokio::join!(bench.store.write(put(&one, None)), bench.store.write(put(&other, None)));
    ensure!((first?, second?) == (Added::Kept, Added::Overtaken), "both have the name");
    let again = bench.store.write(put(&one, Some(&one))).await?;
    ensure!(again == Added::Kept, "it cannot be added again: {again:?}");
    let renamed = bench.store.write(put(&ExternalAgent { name: "planner-2".into(), ..one.clone() }, None)).await?;
    ensure!(renamed == Added::Overtaken, "one agent has two names: {renamed:?}");
    let next = bench.store.write(put(&ExternalAgent { name: "planner-2".into(), ..other }, None)).await?;
    ensure!(next == Added::Kept && bench.store.external_agents().await?.len() == 2, "{next:?}");
    Ok(())
}

async fn what_was_not_sent_after_all_is_as_before(bench: &Bench) -> Result<()> {
    let task = bench.submit(task(bench, "planner", "c1")).await?;
    bench.store.write(take(bench, "planner")).await?;
    let note = |remote| NoteRemote { task: task.id, attempt: 1, context: task.context_id.clone(), agent: "planner".to_owned(), remote };
    let forget = ForgetRemote { task: task.id, attempt: 1 };
    bench.store.write(note(Remote::default())).await?;
    bench.store.write(forget.clone()).await?;
    ensure!(bench.store.remote_of(task.id, 1).await?.is_none(), "it still says that it was sent");
    bench.store.write(note(Remote { task: "t".into(), context: String::new() })).await?;
    bench.store.write(forget).await?;
    ensure!(bench.store.remote_of(task.id, 1).await?.is_some(), "what has a name was forgotten");
    let held = bench.store.held_by_agents().await?;
    ensure!(held.len() == 1 && held[0].task.id == task.id, "{held:?}");
    Ok(())
}

async fn what_may_have_been_sent_is_not_begun_again_when_its_lease_is_over(bench: &Bench) -> Result<()> {
    let (sent, unsent, canceled) = (
        bench.submit(task(bench, "planner", "c1")).await?,
        bench.submit(task(bench, "planner", "c2")).await?,
        bench.submit(task(bench, "planner", "c3")).await?,
    );
    bench.store.write(take(bench, "planner")).await?;
    for task in [&sent, &canceled] {
        let (context, agent, remote) = (task.context_id.clone(), "planner".to_owned(), Remote::default());
        bench.store.write(NoteRemote { task: task.id, attempt: 1, context, agent, remote }).await?;
    }
    bench.store.write(CancelTask { task: canceled.id, lease_ms: 45_000, now: bench.now() }).await?;
    let lose = |task: &muster_protocol::task::Task| LoseAttempt { task: task.id, attempt: 1, loss: Loss::Expired, now: bench.now() };
    let outcomes =
        [bench.store.write(lose(&sent)).await?, bench.store.write(lose(&unsent)).await?, bench.store.write(lose(&canceled)).await?];
    ensure!(
        outcomes == [LoseOutcome::Decided(AfterLoss::Wait), LoseOutcome::Decided(AfterLoss::Requeue), LoseOutcome::Canceled],
        "{outcomes:?}"
    );
    ensure!(bench.record(canceled.id).await?.task.confirmed == Some(false), "it may still run there");
    Ok(())
}

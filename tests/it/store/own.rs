//! Tasks that an agent of this server answers itself, a step at a time.

use super::bench::{Bench, on_both};
use anyhow::{Context, Result, ensure};
use muster::store::attempts::{CancelOutcome, CancelTask};
use muster::store::own::{ANSWERED_MODE, Step, TellOwn};
use muster::store::submit::{Answer, NewTask, SubmitTask, Submitted};
use muster_protocol::a2a::{Artifact, Message, Part, Role};
use muster_protocol::ids::TaskId;
use muster_protocol::stream::{EntryKind, Made, StatusNote, StreamEntry};
use muster_protocol::task::TaskState;

on_both! {
    an_agent_tells_its_task_step_by_step_and_no_worker_gets_it,
    what_comes_after_the_end_or_in_another_state_changes_nothing,
    only_tasks_of_the_servers_own_agents_are_told_so,
}

async fn begin(bench: &Bench) -> Result<TaskId> {
    let task = NewTask { mode: ANSWERED_MODE.to_owned(), ..bench.task("do as the kit wants") };
    let id = task.id;
    let submitted = bench.store.write(SubmitTask { task, key: None, answer: Some(Answer::BEGUN), message: None, now: bench.now() }).await?;
    ensure!(matches!(submitted, Submitted::Accepted(task) if task.state == TaskState::Working), "it does not begin");
    Ok(id)
}

fn state(state: TaskState, said: Option<&str>) -> Step {
    Step::State { state, said: said.map(str::to_owned) }
}

fn made(text: &str) -> Step {
    let artifact = Artifact { artifact_id: "made".to_owned(), parts: vec![Part::text(text)], ..Artifact::default() };
    Step::Made(Made { artifact, append: false, last: true })
}

async fn tell(bench: &Bench, task: TaskId, from: Option<TaskState>, steps: Vec<Step>) -> Result<bool> {
    let said = Message { message_id: "said".to_owned(), role: Role::User, parts: vec![Part::text("go on")], ..Message::default() };
    Ok(bench.store.write(TellOwn { task, from, messages: vec![said], steps, now: bench.now() }).await?)
}

async fn cancel(bench: &Bench, task: TaskId) -> Result<CancelOutcome> {
    Ok(bench.store.write(CancelTask { task, lease_ms: 45_000, now: bench.now() }).await?)
}

async fn an_agent_tells_its_task_step_by_step_and_no_worker_gets_it(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let id = begin(bench).await?;
    ensure!(bench.pull(&worker).await?.is_empty(), "a worker was given what an agent does");
    ensure!(tell(bench, id, Some(TaskState::Working), vec![made("a"), state(TaskState::InputRequired, Some("more?"))]).await?, "not told");
    let asks = bench.store.told_task(id).await?.context("it is gone")?;
    ensure!(asks.record.task.state == TaskState::InputRequired && asks.record.task.entries == 3 && asks.record.is_own(), "{asks:?}");
    ensure!(asks.status_at == bench.now(), "its status is of {:?}", asks.status_at);
    let steps = vec![state(TaskState::Working, None), state(TaskState::Completed, Some("all of it"))];
    ensure!(tell(bench, id, Some(TaskState::InputRequired), steps).await?, "not told");
    let task = bench.record(id).await?.task;
    ensure!(task.state == TaskState::Completed && task.result.as_deref() == Some("all of it") && task.completed_at.is_some(), "{task:?}");
    let entries = bench.store.entries(id, 0, 10).await?;
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    ensure!(kinds == ["status", "artifact", "status", "status", "status"] && task.entries == 5, "{kinds:?}");
    let notes: Vec<StatusNote> = entries.iter().filter(|entry| entry.kind == EntryKind::Status).filter_map(StreamEntry::read).collect();
    let told: Vec<_> = notes.iter().map(|note| (note.state.as_str(), note.message.as_deref())).collect();
    let expected = [("working", None), ("input-required", Some("more?")), ("working", None), ("completed", Some("all of it"))];
    ensure!(told == expected, "{told:?}");
    let said = bench.store.later_messages(&[id]).await?;
    ensure!(said.get(&id).is_some_and(|said| said.len() == 2), "{said:?}");
    ensure!(bench.pull(&worker).await?.is_empty(), "a worker was given what an agent did");
    Ok(())
}

async fn what_comes_after_the_end_or_in_another_state_changes_nothing(bench: &Bench) -> Result<()> {
    let id = begin(bench).await?;
    let waits = Some(TaskState::InputRequired);
    ensure!(!tell(bench, id, waits, vec![state(TaskState::Completed, None)]).await?, "it was told in another state");
    let CancelOutcome::Canceled(canceled) = cancel(bench, id).await? else { anyhow::bail!("it is not canceled at once") };
    ensure!(canceled.state == TaskState::Canceled && canceled.confirmed == Some(true), "{canceled:?}");
    for from in [None, Some(TaskState::Working)] {
        ensure!(!tell(bench, id, from, vec![made("late"), state(TaskState::Completed, Some("late"))]).await?, "it was told after its end");
    }
    let record = bench.record(id).await?;
    ensure!(record.task.state == TaskState::Canceled && record.task.entries == canceled.entries, "{record:?}");
    ensure!(bench.store.later_messages(&[id]).await?.is_empty(), "what was said is kept");
    Ok(())
}

async fn only_tasks_of_the_servers_own_agents_are_told_so(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    // Whoever submits a task with that mode gets one for a worker.
    let queued = bench.submit(NewTask { mode: ANSWERED_MODE.to_owned(), ..bench.task("for a worker") }).await?;
    ensure!(!tell(bench, queued.id, None, vec![state(TaskState::Completed, None)]).await?, "a queued task was ended");
    let assigned = bench.pull_one(&worker).await?;
    ensure!(assigned.task.id == queued.id, "{assigned:?}");
    bench.start(&worker, &assigned, "ses_1").await?;
    ensure!(!tell(bench, queued.id, None, vec![state(TaskState::Completed, None)]).await?, "a worker's task was ended");
    ensure!(!tell(bench, TaskId(bench.uuid()), None, Vec::new()).await?, "a task that is not there was told");
    Ok(())
}

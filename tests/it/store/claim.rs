//! Who gets which task: once each, in order, within slots and codebases.

use super::bench::{Bench, Daemon, codebase, home, model, on_both, running, says};
use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use muster::store::submit::NewTask;
use muster::store::workers::DrainWorker;
use muster_protocol::ids::TaskId;
use muster_protocol::task::{Assignment, ReportedStatus};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::RegisterWorker as Registration;
use std::collections::{BTreeMap, HashSet};

on_both! {
    two_hundred_workers_race_for_two_thousand_tasks_and_each_is_given_once within 300,
    a_worker_gets_no_more_than_its_slots,
    higher_priority_goes_first_and_then_the_older,
    a_codebase_runs_one_writing_task_at_once_unless_it_allows_more,
    plans_and_chat_at_home_are_bounded_by_the_slots_alone,
    a_conversation_runs_one_task_at_a_time_in_order,
    a_task_is_not_given_before_its_time,
    a_draining_worker_gets_nothing_new,
    capabilities_labels_and_models_must_fit,
    a_task_for_one_worker_is_given_to_no_other,
    a_worker_that_fits_none_of_the_first_tasks_finds_later_ones within 240,
    a_busy_codebase_does_not_hide_the_tasks_behind_it within 240,
}

async fn two_hundred_workers_race_for_two_thousand_tasks_and_each_is_given_once(bench: &Bench) -> Result<()> {
    let (names, slots) = (0..200_u32, 1 + 200 % 7);
    let workers = join_all(names.map(|n| async move { bench.worker(&format!("w{n}"), slots, &[]).await })).await;
    let workers = workers.into_iter().collect::<Result<Vec<_>>>()?;
    for outcome in join_all((0..2_000).map(|n| bench.submit(bench.task(&n.to_string())))).await {
        outcome?;
    }
    let given: Vec<Vec<TaskId>> =
        join_all(workers.iter().map(|worker| work(bench, worker, slots))).await.into_iter().collect::<Result<_>>()?;
    let all: Vec<_> = given.iter().flatten().collect();
    ensure!(all.len() == 2_000, "{} tasks were given", all.len());
    ensure!(all.iter().collect::<HashSet<_>>().len() == 2_000, "a task was given twice");
    ensure!(bench.store.count_tasks().await?["completed"] == 2_000, "not all are completed");
    ensure!(bench.store.held_tasks().await?.is_empty(), "a completed task is held");
    super::group_commit::log_is_whole(bench).await.map(drop)
}

/// Pulls and completes until there is nothing left.
async fn work(bench: &Bench, worker: &Daemon, slots: u32) -> Result<Vec<TaskId>> {
    let mut done = Vec::new();
    loop {
        let assigned = bench.pull(worker).await?;
        ensure!(assigned.len() <= slots as usize, "{} tasks in {slots} slots", assigned.len());
        if assigned.is_empty() {
            return Ok(done);
        }
        for at in assigned {
            ensure!(at.attempt == 1, "attempt {}", at.attempt);
            bench.complete(worker, &at).await?;
            done.push(at.task.id);
        }
    }
}

fn prompts(assigned: &[Assignment]) -> Vec<&str> {
    assigned.iter().map(|at| at.task.prompt.as_str()).collect()
}

async fn a_worker_gets_no_more_than_its_slots(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 3, &[]).await?;
    for n in 0..5 {
        bench.submit(bench.task(&n.to_string())).await?;
    }
    let first = bench.pull(&worker).await?;
    ensure!(prompts(&first) == ["0", "1", "2"], "{:?}", prompts(&first));
    let has: Vec<_> = first.iter().map(running).collect();
    ensure!(bench.pull_with(&worker, &has).await?.assign.is_empty(), "a full worker got more");
    bench.complete(&worker, &first[1]).await?;
    let next = bench.pull_with(&worker, &[has[0].clone(), has[2].clone()]).await?.assign;
    ensure!(prompts(&next) == ["3"], "{:?}", prompts(&next));
    Ok(())
}

async fn higher_priority_goes_first_and_then_the_older(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 9, &[]).await?;
    for (prompt, priority, fixed) in
        [("e", 0, false), ("a", i32::MAX, true), ("c", 5, true), ("f", 0, true), ("b", 7, false), ("d", 5, false), ("g", i32::MIN, true)]
    {
        let only = fixed.then(|| worker.id.clone());
        bench.submit(NewTask { priority, worker: only, ..bench.task(prompt) }).await?;
    }
    let assigned = bench.pull(&worker).await?;
    ensure!(prompts(&assigned) == ["a", "b", "c", "d", "e", "f", "g"], "{:?}", prompts(&assigned));
    Ok(())
}

async fn a_codebase_runs_one_writing_task_at_once_unless_it_allows_more(bench: &Bench) -> Result<()> {
    let wide = muster_protocol::codebase::RegisterCodebase { parallel: Some(2), ..codebase("wide") };
    let codebases = vec![home(), codebase("app"), wide];
    let worker = bench.register(Registration { slots: Some(9), codebases, ..bench.registration("w") }).await?;
    for n in 0..4 {
        for name in ["app", "wide"] {
            bench.submit(bench.task_in(&format!("{name} {n}"), &worker, &worker.codebases[name])).await?;
        }
    }
    let first = bench.pull(&worker).await?;
    ensure!(prompts(&first) == ["app 0", "wide 0", "wide 1"], "{:?}", prompts(&first));
    let has: Vec<_> = first.iter().map(running).collect();
    ensure!(bench.pull_with(&worker, &has).await?.assign.is_empty(), "a full codebase got more");
    bench.complete(&worker, &first[0]).await?;
    bench.complete(&worker, &first[2]).await?;
    let next = bench.pull_with(&worker, &[has[1].clone()]).await?.assign;
    ensure!(prompts(&next) == ["app 1", "wide 2"], "{:?}", prompts(&next));
    ensure!(next[0].codebase.as_ref().map(|c| &c.id) == Some(&worker.codebases["app"]), "another codebase: {:?}", next[0].codebase);
    Ok(())
}

async fn plans_and_chat_at_home_are_bounded_by_the_slots_alone(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 9, &["app"]).await?;
    bench.submit(bench.task_in("write", &worker, &worker.codebases["app"])).await?;
    for n in 0..2 {
        let plan = bench.task_in(&format!("plan {n}"), &worker, &worker.codebases["app"]);
        bench.submit(NewTask { mode: "plan".into(), writing: false, ..plan }).await?;
        bench.submit(bench.task_in(&format!("chat {n}"), &worker, &worker.global)).await?;
        bench.submit(bench.task(&format!("any {n}"))).await?;
    }
    let assigned = bench.pull(&worker).await?;
    ensure!(prompts(&assigned) == ["write", "plan 0", "chat 0", "any 0", "plan 1", "chat 1", "any 1"], "{:?}", prompts(&assigned));
    ensure!(bench.store.writing_by_codebase().await?.into_values().collect::<Vec<_>>() == [1], "others count as writing");
    Ok(())
}

async fn a_conversation_runs_one_task_at_a_time_in_order(bench: &Bench) -> Result<()> {
    let workers = [bench.worker("v", 4, &[]).await?, bench.worker("w", 4, &[]).await?];
    let first = bench.submit(bench.task("0")).await?;
    for (n, priority) in [(1, 9), (2, 5), (3, 0)] {
        bench.submit(NewTask { context_id: first.context_id.clone(), priority, ..bench.task(&n.to_string()) }).await?;
    }
    for n in 0..4 {
        let mut given = Vec::new();
        for worker in &workers {
            given.extend(bench.pull(worker).await?.into_iter().map(|at| (worker, at)));
        }
        ensure!(given.len() == 1, "turn {n}: {} were given", given.len());
        let (worker, at) = &given[0];
        ensure!(at.task.prompt == n.to_string(), "turn {n}: {} was given", at.task.prompt);
        bench.complete(worker, at).await?;
    }
    Ok(())
}

async fn a_task_is_not_given_before_its_time(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let at = Timestamp(bench.now().0 + 60_000);
    bench.submit(NewTask { not_before: Some(at), priority: 9, ..bench.task("later") }).await?;
    ensure!(bench.pull(&worker).await?.is_empty(), "it was given too early");
    ensure!(!bench.finds_something(&worker, &[]).await?, "there is something for it too early");
    let before = bench.now();
    bench.pass(60);
    ensure!(bench.store.due_between(before, bench.now()).await? == [None], "it did not become due");
    ensure!(bench.finds_something(&worker, &[]).await?, "there is nothing for it");
    ensure!(bench.pull_one(&worker).await?.task.prompt == "later", "another was given");
    Ok(())
}

async fn a_draining_worker_gets_nothing_new(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 2, &[]).await?;
    bench.submit(bench.task("before")).await?;
    let at = bench.pull_one(&worker).await?;
    bench.submit(bench.task("after")).await?;
    let drain = |drain| DrainWorker { worker: worker.id.clone(), drain, now: bench.now() };
    bench.store.write(drain(Some("maintenance".into()))).await?;
    let told = bench.pull_with(&worker, &[running(&at)]).await?;
    ensure!(told.assign.is_empty() && told.drop.is_empty(), "{told:?}");
    bench.complete(&worker, &at).await?;
    ensure!(bench.pull(&worker).await?.is_empty(), "a draining worker got a task");
    bench.store.write(drain(None)).await?;
    ensure!(bench.pull_one(&worker).await?.task.prompt == "after", "another was given");
    Ok(())
}

async fn capabilities_labels_and_models_must_fit(bench: &Bench) -> Result<()> {
    let label = |value: &str| BTreeMap::from([("gpu".to_owned(), value.to_owned())]);
    let full = Registration {
        capabilities: vec!["opencode".into(), "docker".into()],
        labels: label("yes"),
        models: vec![model("a/b"), model("a/c")],
        slots: Some(9),
        ..bench.registration("full")
    };
    let full = bench.register(full).await?;
    let bare = bench.register(Registration { capabilities: Vec::new(), slots: Some(9), ..bench.registration("bare") }).await?;
    bench.submit(NewTask { capabilities: vec!["docker".into()], ..bench.task("docker") }).await?;
    bench.submit(NewTask { labels: label("yes"), ..bench.task("gpu") }).await?;
    bench.submit(NewTask { labels: label("no"), ..bench.task("no gpu") }).await?;
    bench.submit(NewTask { model: Some("a/c".into()), ..bench.task("model") }).await?;
    bench.submit(NewTask { model: Some("a/d".into()), ..bench.task("other model") }).await?;
    bench.submit(NewTask { mode: "echo".into(), ..bench.task("echo") }).await?;
    bench.submit(bench.task("opencode")).await?;
    let fixed = NewTask { worker: Some(bare.id.clone()), model: Some("a/d".into()), ..bench.task("fixed") };
    bench.submit(fixed).await?;
    let assigned = bench.pull(&bare).await?;
    ensure!(prompts(&assigned) == ["echo", "fixed"], "{:?}", prompts(&assigned));
    let assigned = bench.pull(&full).await?;
    ensure!(prompts(&assigned) == ["docker", "gpu", "model", "opencode"], "{:?}", prompts(&assigned));
    Ok(())
}

async fn a_task_for_one_worker_is_given_to_no_other(bench: &Bench) -> Result<()> {
    let (worker, other) = (bench.worker("w", 9, &[]).await?, bench.worker("other", 9, &[]).await?);
    bench.submit(NewTask { worker: Some(worker.id.clone()), ..bench.task("for w") }).await?;
    ensure!(!bench.finds_something(&other, &[]).await?, "another worker is told of it");
    ensure!(bench.pull(&other).await?.is_empty(), "another worker got it");
    let at = bench.pull_one(&worker).await?;
    ensure!(at.codebase.as_ref().map(|c| &c.id) == Some(&worker.global), "it is not to run at home: {:?}", at.codebase);
    Ok(())
}

async fn a_worker_that_fits_none_of_the_first_tasks_finds_later_ones(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let picky = |n: u32| NewTask { capabilities: vec!["quantum".into()], priority: 1, ..bench.task(&n.to_string()) };
    for outcome in join_all((0..3_000).map(|n| bench.submit(picky(n)))).await {
        outcome?;
    }
    bench.submit(bench.task("plain")).await?;
    ensure!(bench.pull_one(&worker).await?.task.prompt == "plain", "another was given");
    Ok(())
}

async fn a_busy_codebase_does_not_hide_the_tasks_behind_it(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 3, &["app", "lib"]).await?;
    let in_app = |n: u32| NewTask { priority: 1, ..bench.task_in(&n.to_string(), &worker, &worker.codebases["app"]) };
    for outcome in join_all((0..3_000).map(|n| bench.submit(in_app(n)))).await {
        outcome?;
    }
    bench.submit(bench.task_in("lib", &worker, &worker.codebases["lib"])).await?;
    bench.submit(bench.task("any")).await?;
    let mut assigned = bench.pull(&worker).await?;
    assigned.extend(bench.pull_with(&worker, &assigned.iter().map(running).collect::<Vec<_>>()).await?.assign);
    ensure!(prompts(&assigned) == ["0", "lib", "any"], "{:?}", prompts(&assigned));
    let at = assigned.first().context("none")?;
    bench.report(at, says(&worker, at, ReportedStatus::Failed)).await.map(drop)
}

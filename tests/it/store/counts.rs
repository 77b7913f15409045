//! How many tasks there are is counted as they change: always as many as there are.

use super::bench::{Bench, on_both};
use anyhow::{Result, ensure};
use futures_util::future::{join_all, try_join_all};
use muster::store::Store;
use muster::store::a2a::ToldFilter;
use muster::store::attempts::CancelTask;
use muster::store::submit::{Answer, NewTask, SubmitTask};
use muster::store::tasks::TaskFilter;
use muster_protocol::ids::{ContextId, PrincipalId};
use muster_protocol::task::TaskState;
use sqlx::{AnyConnection, Connection};
use std::collections::BTreeMap;

on_both! {
    totals_are_exact_while_tasks_come_and_end_and_after_a_restart,
    a_write_that_fails_is_not_counted,
    tasks_from_before_they_were_counted_are_counted_once,
}

const OWNERS: [&str; 3] = ["local", "token:1", "token:2"];

fn of(owner: &str) -> ToldFilter {
    ToldFilter { owner: PrincipalId::from(owner), context: None, state: None, agent: None, since: None }
}

/// What is counted is what is there: by owner and state, with filters, and in all.
pub(super) async fn counts_are_exact(store: &Store) -> Result<()> {
    let all = store.tasks(&TaskFilter { limit: 100_000, ..TaskFilter::default() }).await?;
    let mut by_state: BTreeMap<String, u64> = BTreeMap::new();
    for record in &all {
        *by_state.entry(record.task.state.as_str().to_owned()).or_default() += 1;
    }
    let counted = store.count_tasks().await?;
    ensure!(counted == by_state, "{counted:?} are counted, {by_state:?} are there");
    for owner in OWNERS {
        let own: Vec<_> = all.iter().filter(|record| record.task.owner.0 == owner).collect();
        let total = store.count_told(&of(owner)).await?;
        ensure!(total == own.len() as u64, "{owner} has {}, not {total}", own.len());
        for state in [TaskState::Submitted, TaskState::Working, TaskState::Completed, TaskState::Canceled, TaskState::Failed] {
            let there = own.iter().filter(|record| record.task.state == state).count() as u64;
            let total = store.count_told(&ToldFilter { state: Some(state), ..of(owner) }).await?;
            ensure!(total == there, "{owner} has {there} in the state {state}, not {total}");
        }
        if let Some(some) = own.first() {
            let there = own.iter().filter(|record| record.task.context_id == some.task.context_id).count() as u64;
            let context = ToldFilter { context: Some(some.task.context_id.clone()), ..of(owner) };
            ensure!(store.count_told(&context).await? == there, "the filter by context counts others");
            let since = ToldFilter { since: Some(some.task.created_at), ..of(owner) };
            ensure!(
                store.count_told(&since).await? == store.told_tasks(&since, None, 100_000).await?.len() as u64,
                "the filter by time differs"
            );
        }
    }
    Ok(())
}

/// A task of some owner: for a worker, begun or answered by the server itself.
async fn make(bench: &Bench, n: usize) -> Result<NewTask> {
    let context_id = ContextId(format!("of-{}-{}", n % OWNERS.len(), n % 7));
    let task = NewTask { owner: PrincipalId::from(OWNERS[n % OWNERS.len()]), context_id, ..bench.task(&format!("task {n}")) };
    let answer = match n % 5 {
        0 => Some(Answer::Given("so it is".to_owned())),
        1 => Some(Answer::BEGUN),
        _ => None,
    };
    bench.store.write(SubmitTask { task: task.clone(), key: None, answer, message: None, now: bench.now() }).await?;
    bench.pass(1);
    if n.is_multiple_of(4) {
        bench.store.write(CancelTask { task: task.id, lease_ms: 45_000, now: bench.now() }).await?;
    }
    Ok(task)
}

async fn totals_are_exact_while_tasks_come_and_end_and_after_a_restart(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 3, &[]).await?;
    for round in 0..3 {
        try_join_all((0..100).map(|n| make(bench, round * 100 + n))).await?;
        for at in bench.pull(&worker).await? {
            counts_are_exact(&bench.store).await?;
            bench.complete(&worker, &at).await?;
        }
        counts_are_exact(&bench.store).await?;
    }
    let before = bench.store.count_told(&of("local")).await?;
    ensure!(before == 100, "{before} tasks are counted");
    bench.store.close().await;
    let again = Bench::at(bench.url.clone(), 8_192).await?;
    counts_are_exact(&again.store).await?;
    try_join_all((0..50).map(|n| make(&again, n))).await?;
    counts_are_exact(&again.store).await
}

async fn a_write_that_fails_is_not_counted(bench: &Bench) -> Result<()> {
    let known = bench.submit(bench.task("known")).await?;
    let writes = (0..30).map(|n| {
        let task = bench.task(&format!("task {n}"));
        bench.submitted(NewTask { id: if n % 10 == 3 { known.id } else { task.id }, ..task })
    });
    let failed = join_all(writes).await.iter().filter(|outcome| outcome.is_err()).count();
    ensure!(failed == 3, "{failed} writes failed");
    ensure!(bench.store.count_told(&of("local")).await? == 28, "what failed is counted");
    counts_are_exact(&bench.store).await
}

async fn tasks_from_before_they_were_counted_are_counted_once(bench: &Bench) -> Result<()> {
    try_join_all((0..40).map(|n| make(bench, n))).await?;
    bench.store.close().await;
    let mut connection = AnyConnection::connect(&bench.url).await?;
    for statement in ["DROP TABLE task_counts", "DELETE FROM _sqlx_migrations WHERE version = 6"] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    connection.close().await?;
    let again = Bench::at(bench.url.clone(), 64).await?;
    ensure!(again.store.count_told(&of("local")).await? == 14, "they are not counted");
    counts_are_exact(&again.store).await?;
    try_join_all((0..40).map(|n| make(&again, n))).await?;
    counts_are_exact(&again.store).await
}

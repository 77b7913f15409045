//! Following a task: whoever follows it, from wherever and however slowly, gets every entry once and in order.

use super::bench::{Bench, on_both, text};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use muster_protocol::ids::TaskId;
use std::time::Duration;

on_both! {
    all_who_follow_a_task_get_all_of_it_in_order_however_slow_they_are within 120,
    a_task_that_is_not_there_has_nothing_to_follow,
}

/// More than what is kept of a task in memory.
const ENTRIES: u64 = 700;

/// The places of what a follower gets after `from`, to the end. It rests after each reading for `pause` turns of the others.
async fn follow(bench: &Bench, task: TaskId, from: u64, pause: u32) -> Result<Vec<u64>> {
    let tail = bench.store.tail(task);
    let (mut signal, mut last, mut seen) = (tail.signal(), from, Vec::new());
    loop {
        let change = *signal.borrow_and_update();
        let read = bench.store.read_tail(&tail, last, change).await?;
        seen.extend(read.entries.iter().map(|entry| entry.task_seq));
        last = seen.last().copied().unwrap_or(from);
        if !read.entries.is_empty() {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
        } else if read.state.context("the task is gone")?.is_terminal() {
            return Ok(seen);
        } else {
            tokio::time::timeout(Duration::from_mins(1), signal.changed()).await??;
        }
    }
}

async fn all_who_follow_a_task_get_all_of_it_in_order_however_slow_they_are(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let task = bench.submit(bench.task("speak")).await?.id;
    let at = bench.pull_one(&worker).await?;
    let speak = async {
        bench.start(&worker, &at, "ses_1").await?;
        let mut seq = 0;
        while seq < ENTRIES {
            // One at a time, many at once, and large ones: those that are kept are soon too many or too large.
            let count = [1, 1, 40, 3][usize::try_from(seq % 4)?].min(ENTRIES - seq);
            let length = if seq % 3 == 0 { 16_000 } else { 10 };
            let entries = (seq..seq + count).map(|seq| text(bench, seq, &"x".repeat(length))).collect();
            bench.append(&worker, &at, entries).await?;
            seq += count;
        }
        bench.complete(&worker, &at).await?;
        anyhow::Ok(())
    };
    let follow_all = try_join_all((0..20).map(|n| {
        let (from, pause) = ([0, 0, 5, 300][n % 4], [0, 0, 1, 50, 2_000][n % 5]);
        async move { anyhow::Ok((from, follow(bench, task, from, pause).await?)) }
    }));
    let (followed, ()) = tokio::try_join!(follow_all, speak)?;
    let last = bench.record(task).await?.task.entries;
    ensure!(last > ENTRIES, "it has {last} entries");
    for (from, seen) in followed {
        ensure!(seen.iter().copied().eq(from + 1..=last), "after {from} came {seen:?}");
    }
    // Who comes late, from wherever.
    for from in [0, 1, 255, 256, 400, last - 1, last] {
        ensure!(follow(bench, task, from, 0).await?.into_iter().eq(from + 1..=last), "after {from} comes something else");
    }
    Ok(())
}

async fn a_task_that_is_not_there_has_nothing_to_follow(bench: &Bench) -> Result<()> {
    let tail = bench.store.tail(TaskId(bench.uuid()));
    let read = bench.store.read_tail(&tail, 0, 0).await?;
    ensure!(read.entries.is_empty() && read.state.is_none(), "{read:?}");
    Ok(())
}

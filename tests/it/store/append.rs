//! Task streams: each entry once, in order, byte for byte.

use super::bench::{Bench, Daemon, entry, on_both, says, text};
use anyhow::{Result, bail, ensure};
use muster::store::stream::AppendOutcome;
use muster_protocol::digest::OutputDigest;
use muster_protocol::stream::{Entry, StreamEntry};
use muster_protocol::task::{Assignment, OnLost, ReportStatus, ReportedStatus};
use serde_json::json;

on_both! {
    entries_are_taken_once_each_and_a_repetition_is_skipped,
    a_gap_is_refused_with_the_place_that_is_expected_next,
    entries_of_another_worker_or_attempt_are_stale,
    places_in_the_task_rise_without_gaps_over_all_attempts,
    zero_bytes_and_a_megabyte_of_text_come_back_byte_for_byte,
    entries_are_read_page_by_page,
}

async fn given(bench: &Bench) -> Result<(Daemon, Assignment)> {
    let worker = bench.worker("w", 1, &[]).await?;
    bench.submit(bench.task("say something")).await?;
    let assigned = bench.pull_one(&worker).await?;
    Ok((worker, assigned))
}

fn texts(bench: &Bench, seqs: std::ops::Range<u64>) -> Vec<Entry> {
    seqs.map(|seq| text(bench, seq, &seq.to_string())).collect()
}

fn taken(outcome: &AppendOutcome) -> Result<u64> {
    match outcome {
        AppendOutcome::Taken { next_seq, .. } => Ok(*next_seq),
        other => bail!("not taken: {other:?}"),
    }
}

/// What the worker sent, without the server's own notes.
async fn stored(bench: &Bench, at: &Assignment) -> Result<Vec<StreamEntry>> {
    let all = bench.store.entries(at.task.id, 0, 10_000).await?;
    for (place, entry) in (1..).zip(&all) {
        ensure!(entry.task_seq == place, "place {place} holds {}", entry.task_seq);
    }
    ensure!(bench.record(at.task.id).await?.task.entries == all.len() as u64, "the task counts other entries than it has");
    Ok(all.into_iter().filter(|entry| entry.kind.as_str() == "text").collect())
}

async fn entries_are_taken_once_each_and_a_repetition_is_skipped(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    ensure!(taken(&bench.append(&worker, &at, texts(bench, 0..5)).await?)? == 5, "not all were taken");
    ensure!(taken(&bench.append(&worker, &at, texts(bench, 0..5)).await?)? == 5, "a repetition moved on");
    ensure!(taken(&bench.append(&worker, &at, texts(bench, 3..8)).await?)? == 8, "the new part of a repetition was not taken");
    ensure!(taken(&bench.append(&worker, &at, texts(bench, 1..3)).await?)? == 8, "an old part moved on");
    let deltas: Vec<_> = stored(bench, &at).await?.iter().map(|e| e.data.get().to_owned()).collect();
    let sent: Vec<_> = texts(bench, 0..8).iter().map(|e| e.data.get().to_owned()).collect();
    ensure!(deltas == sent, "{deltas:?}");
    Ok(())
}

async fn a_gap_is_refused_with_the_place_that_is_expected_next(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    bench.append(&worker, &at, texts(bench, 0..2)).await?;
    let outcome = bench.append(&worker, &at, texts(bench, 3..5)).await?;
    ensure!(outcome == AppendOutcome::Gap { next_seq: 2 }, "{outcome:?}");
    ensure!(stored(bench, &at).await?.len() == 2, "entries after a gap were stored");
    Ok(())
}

async fn entries_of_another_worker_or_attempt_are_stale(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    let other = bench.worker("other", 1, &[]).await?;
    ensure!(bench.append(&other, &at, texts(bench, 0..1)).await? == AppendOutcome::Stale, "another worker wrote");
    for attempt in [0, 2] {
        let wrong = Assignment { attempt, ..at.clone() };
        ensure!(bench.append(&worker, &wrong, texts(bench, 0..1)).await? == AppendOutcome::Stale, "attempt {attempt} wrote");
    }
    bench.complete(&worker, &at).await?;
    ensure!(bench.append(&worker, &at, texts(bench, 0..1)).await? == AppendOutcome::Stale, "an ended attempt wrote");
    ensure!(stored(bench, &at).await?.is_empty(), "a stale entry was stored");
    Ok(())
}

async fn places_in_the_task_rise_without_gaps_over_all_attempts(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    bench.submit(muster::store::submit::NewTask { on_lost: OnLost::Restart, ..bench.task("again and again") }).await?;
    let mut last = None;
    for attempt in 1..=3 {
        let at = bench.pull_one(&worker).await?;
        ensure!(at.attempt == attempt, "attempt {}", at.attempt);
        bench.start(&worker, &at, "ses_1").await?;
        bench.append(&worker, &at, texts(bench, 0..4)).await?;
        if attempt < 3 {
            bench.report(&at, says(&worker, &at, ReportedStatus::Interrupted)).await?;
        }
        last = Some(at);
    }
    let Some(at) = last else { bail!("no attempt") };
    bench.complete(&worker, &at).await?;
    let attempts: Vec<u64> = stored(bench, &at).await?.iter().map(|entry| entry.attempt).collect();
    ensure!(attempts == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], "{attempts:?}");
    Ok(())
}

async fn zero_bytes_and_a_megabyte_of_text_come_back_byte_for_byte(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    let odd: String = (0..=0x2_ff_u32).filter_map(char::from_u32).chain("\u{10ffff}\u{fffe}\u{2028} '\"\\ $1 \\u0000".chars()).collect();
    let long = odd.repeat(1_200);
    ensure!(long.len() > 1_000_000, "{} bytes are no megabyte", long.len());
    let spaced = serde_json::value::RawValue::from_string("{ \"delta\" :\t\"a\\u0000b\\u0041\",  \"n\": 1.0e2 }".to_owned())?;
    let mut sent = vec![text(bench, 0, "a\0b"), entry(bench, 1, &json!({ "delta": odd })), text(bench, 2, &long)];
    sent.push(Entry { seq: 3, data: spaced, ..text(bench, 3, "") });
    taken(&bench.append(&worker, &at, sent.clone()).await?)?;
    let stored = stored(bench, &at).await?;
    let mut digest = OutputDigest::default();
    for (sent, stored) in sent.iter().zip(&stored) {
        ensure!(sent.data.get() == stored.data.get(), "entry {} came back with other bytes", sent.seq);
        digest.add(sent);
    }
    let OutputDigest { bytes, hash } = digest;
    let report = ReportStatus { entries: Some(4), bytes: Some(bytes), hash: Some(hash), ..says(&worker, &at, ReportedStatus::Completed) };
    ensure!(bench.report(&at, report).await?.task.verified == Some(true), "the digests differ");
    Ok(())
}

async fn entries_are_read_page_by_page(bench: &Bench) -> Result<()> {
    let (worker, at) = given(bench).await?;
    bench.append(&worker, &at, texts(bench, 0..25)).await?;
    let (mut seen, mut after) = (0, 0);
    loop {
        let page = bench.store.entries(at.task.id, after, 10).await?;
        let Some(last) = page.last() else { break };
        ensure!(page.len() <= 10 && page[0].task_seq == after + 1, "{page:?}");
        seen += page.len();
        after = last.task_seq;
    }
    ensure!(seen == 26, "{seen} entries were read");
    Ok(())
}

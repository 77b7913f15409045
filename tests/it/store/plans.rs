//! How the statements are carried out: by index where tables grow, and in bounded time.

use super::bench::{Bench, Daemon};
use crate::support::{Cx, cases};
use anyhow::{Context as _, Result, ensure};
use muster::store::sessions::SessionFilter;
use muster::store::statements;
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};
use std::time::{Duration, Instant};

cases! {
    [] => no_statement_reads_all_tasks_events_or_entries_but_those_that_count_them;
    [] => a_list_of_sessions_is_read_in_the_order_of_an_index;
    [] => a_pull_finds_its_task_among_ten_thousand_queued_and_a_hundred_thousand_finished within 300;
}

/// They answer for everything there is, or page over it in the order of an index.
const READ_ALL: [&str; 5] = ["LIST", "BY_PRIORITY", "NEWEST", "COUNT_BY_KIND", "ALL_SESSIONS"];
/// Tables that grow, and what statements call them.
const LARGE: [&str; 12] =
    ["tasks", "events", "stream_entries", "attempts", "contexts", "sessions", "session_messages", "t", "e", "w", "s", "c"];
/// Small by their nature: what runs, what a worker has, what waits for its time, what this server answers.
const SMALL: [&str; 5] = ["tasks_held", "tasks_writing", "tasks_due", "tasks_answering", "interactions_open"];

async fn no_statement_reads_all_tasks_events_or_entries_but_those_that_count_them(cx: &Cx) -> Result<()> {
    let bench = Bench::sqlite(cx).await?;
    let mut connection = AnyConnection::connect(&bench.url).await?;
    let mut broken = Vec::new();
    for (name, sql) in statements().filter(|(name, sql)| !sql.sqlite.is_empty() && !READ_ALL.contains(name)) {
        for row in sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.sqlite))).fetch_all(&mut connection).await? {
            let step: String = row.try_get("detail")?;
            let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            let is_large = LARGE.contains(&table);
            if is_large && !SMALL.iter().any(|index| step.ends_with(&format!("INDEX {index}"))) {
                broken.push(format!("{name}: {step}\n{}", sql.sqlite));
            }
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// Among ten thousand sessions on each of two workers.
async fn a_list_of_sessions_is_read_in_the_order_of_an_index(cx: &Cx) -> Result<()> {
    let bench = Bench::sqlite(cx).await?;
    let (one, other) = (bench.worker("one", 1, &["app"]).await?, bench.worker("other", 1, &[]).await?);
    for (worker, codebase) in [(&one, &one.codebases["app"]), (&other, &other.global)] {
        let told: Vec<_> =
            (0..10_000).map(|n| json!({ "id": format!("ses_{n:05}"), "title": "T", "updated": 1_700_000_000_000_i64 + n })).collect();
        for piece in told.chunks(100) {
            super::sessions::put(&bench, &worker.id, codebase, json!(piece)).await?;
        }
    }
    let mut connection = AnyConnection::connect(&bench.url).await?;
    for name in ["ALL_SESSIONS", "SESSIONS_OF_WORKER", "SESSIONS_OF_CODEBASE", "SESSIONS_OF_WORKERS", "SESSIONS_OF_CODEBASES"] {
        let (_, sql) = statements().find(|(found, _)| *found == name).context(name)?;
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.sqlite))).fetch_all(&mut connection).await?;
        let steps: Vec<String> = plan.iter().map(|row| row.try_get("detail")).collect::<Result<_, _>>()?;
        ensure!(steps.iter().any(|step| step.contains(" s USING INDEX sessions_")), "{name} is carried out as {steps:?}");
        let is_sorted = steps.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY"));
        ensure!(name.ends_with("KERS") || name.ends_with("BASES") || !is_sorted, "{name} is carried out as {steps:?}");
    }
    let list = async |filter: SessionFilter| -> Result<Duration> {
        let begin = Instant::now();
        let found = bench.store.sessions(&SessionFilter { limit: 501, ..filter }).await?;
        ensure!(found.len() == 501, "{} sessions", found.len());
        Ok(begin.elapsed())
    };
    let everything = list(SessionFilter::default()).await?;
    let worker = list(SessionFilter { workers: Some(vec![one.id.clone()]), ..SessionFilter::default() }).await?;
    let codebase = list(SessionFilter { codebases: Some(vec![other.global.clone()]), ..SessionFilter::default() }).await?;
    println!("a page of 500 sessions takes {everything:?} of all, {worker:?} of a worker, {codebase:?} of a codebase");
    Ok(())
}

/// Copies a task under other ids, straight into the table.
async fn copies(bench: &Bench, prompt: &str, count: u32, state: &str) -> Result<()> {
    let mut connection = AnyConnection::connect(&bench.url).await?;
    let columns = "owner, parent_id, retry_of, title, prompt, mode, model, target, target_worker, target_codebase, capabilities, labels, lane, \
        priority, not_before, deadline, on_lost, max_attempts, metadata, writing, held, attempt, losses, holder, codebase_id, session_id, \
        continuation, changes, entries, created_at, updated_at";
    let statement = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO tasks (id, context_id, state, completed_at, {columns})
         SELECT printf('%s%08x', substr(t.id, 1, 28), n.i), lower(hex(randomblob(16))), '{state}',
            CASE '{state}' WHEN 'submitted' THEN NULL ELSE 1 END, {columns} FROM tasks t, n WHERE t.prompt = '{prompt}'"
    );
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
    Ok(())
}

async fn time_of_a_pull(bench: &Bench, worker: &Daemon, expected: usize) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        let given = bench.pull(worker).await?;
        best = best.min(begin.elapsed());
        ensure!(given.len() == expected, "{} tasks were given, not {expected}", given.len());
        for at in given {
            bench.complete(worker, &at).await?;
        }
    }
    Ok(best)
}

async fn a_pull_finds_its_task_among_ten_thousand_queued_and_a_hundred_thousand_finished(cx: &Cx) -> Result<()> {
    let bench = Bench::sqlite(cx).await?;
    let (worker, busy) = (bench.worker("w", 2, &["app"]).await?, bench.worker("busy", 2, &["app"]).await?);
    bench.submit(bench.task("any")).await?;
    bench.submit(bench.task_in("app", &busy, &busy.codebases["app"])).await?;
    copies(&bench, "any", 100_000, "completed").await?;
    let only = bench.pull_one(&worker).await?;
    bench.complete(&worker, &only).await?;
    let nothing = time_of_a_pull(&bench, &worker, 0).await?;
    copies(&bench, "app", 10_000, "submitted").await?;
    let at = bench.pull_one(&busy).await?;
    let has = [super::bench::running(&at)];
    let begin = Instant::now();
    ensure!(bench.pull_with(&busy, &has).await?.assign.is_empty(), "a full codebase got more");
    let full = begin.elapsed();
    bench.complete(&busy, &at).await?;
    let long = time_of_a_pull(&bench, &busy, 1).await?;
    println!("a pull takes {nothing:?} in vain, {full:?} beside a full codebase, {long:?} from a long queue");
    // Five times what it may take, for a machine that does other things at the same time.
    for took in [nothing, full, long] {
        ensure!(took < Duration::from_millis(100), "a pull took {took:?}");
    }
    Ok(())
}

//! Random walks: whatever workers, callers and clocks do in whatever order, what must always hold holds.

use super::bench::{Bench, Daemon, home, on_both, says, text};
use super::group_commit::log_is_whole;
use anyhow::{Result, ensure};
use futures_util::future::join_all;
use muster::domain::loss::Loss;
use muster::store::attempts::{CancelTask, LoseAttempt, MarkReconnected, state};
use muster::store::submit::NewTask;
use muster::store::tasks::{TaskFilter, TaskRecord};
use muster_protocol::ids::TaskId;
use muster_protocol::task::{Assignment, OnLost, ReportedStatus, TaskState};
use muster_protocol::worker::{AttemptState, RegisterWorker as Registration, RunningAttempt};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::collections::{BTreeMap, HashMap};

on_both! { whatever_happens_in_whatever_order_what_must_hold_holds within 300 }

#[derive(Debug, Clone)]
enum Step {
    Submit { on_lost: OnLost, codebase: bool, turn_of: Option<usize>, worker: Option<usize> },
    Pull { worker: usize, forget: bool },
    Append { attempt: usize, from: u64, count: u64 },
    Report { attempt: usize, status: ReportedStatus },
    Cancel { task: usize },
    Lose { attempt: usize, loss: Loss },
    Reconnect { attempt: usize },
    Register { worker: usize, new_instance: bool },
    Pass { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let on_lost = prop_oneof![Just(OnLost::Wait), Just(OnLost::Resume), Just(OnLost::Restart)];
    let submit = (on_lost, any::<bool>(), proptest::option::of(0..20_usize), proptest::option::of(0..WORKERS))
        .prop_map(|(on_lost, codebase, turn_of, worker)| Step::Submit { on_lost, codebase, turn_of, worker });
    let status = prop_oneof![
        4 => Just(ReportedStatus::Running),
        4 => Just(ReportedStatus::Completed),
        1 => Just(ReportedStatus::Failed),
        1 => Just(ReportedStatus::Cancelled),
        1 => Just(ReportedStatus::Pending),
        1 => Just(ReportedStatus::Interrupted),
    ];
    let loss = prop_oneof![3 => Just(Loss::Expired), 1 => Just(Loss::GaveUp), 1 => Just(Loss::Interrupted)];
    let step = prop_oneof![
        4 => submit,
        6 => (0..WORKERS, proptest::bool::weighted(0.1)).prop_map(|(worker, forget)| Step::Pull { worker, forget }),
        5 => (0..8_usize, 0..6_u64, 1..4_u64).prop_map(|(attempt, from, count)| Step::Append { attempt, from, count }),
        6 => (0..8_usize, status).prop_map(|(attempt, status)| Step::Report { attempt, status }),
        1 => (0..30_usize).prop_map(|task| Step::Cancel { task }),
        2 => (0..8_usize, loss).prop_map(|(attempt, loss)| Step::Lose { attempt, loss }),
        1 => (0..8_usize).prop_map(|attempt| Step::Reconnect { attempt }),
        1 => (0..WORKERS, any::<bool>()).prop_map(|(worker, new_instance)| Step::Register { worker, new_instance }),
        1 => (1..100_u64).prop_map(|seconds| Step::Pass { seconds }),
    ];
    proptest::collection::vec(proptest::collection::vec(step, 1..12), 40)
}

const WORKERS: usize = 3;
const ROUNDS: usize = 5;

/// What the callers and the workers know.
struct World {
    workers: Vec<Daemon>,
    tasks: Vec<TaskId>,
    /// Newest first are looked at.
    attempts: Vec<(usize, Assignment)>,
    /// How tasks looked when they were looked at last.
    seen: HashMap<TaskId, (TaskState, String)>,
}

impl World {
    fn attempt(&self, back: usize) -> Option<&(usize, Assignment)> {
        self.attempts.iter().rev().nth(back)
    }

    async fn register(bench: &Bench, worker: usize, registration: Registration) -> Result<Daemon> {
        let codebases = vec![home(), super::bench::codebase("app")];
        let id = format!("w{worker}").as_str().into();
        bench.register(Registration { worker_id: id, slots: Some(3), codebases, ..registration }).await
    }
}

/// Does a step; whatever the store answers is right as long as what must hold holds.
async fn step(bench: &Bench, world: &World, step: &Step) -> Result<Option<(usize, Vec<Assignment>)>> {
    let now = bench.now();
    match step {
        Step::Pull { worker, forget } => {
            let daemon = &world.workers[*worker];
            let has = |(_, at): &&(usize, Assignment)| at.task.worker_id.as_ref() == Some(&daemon.id);
            let running = |(_, at): &(usize, Assignment)| RunningAttempt {
                task_id: at.task.id,
                attempt: at.attempt,
                state: AttemptState::Started,
                next_seq: 0,
                stopping: false,
            };
            let running: Vec<_> = if *forget { Vec::new() } else { world.attempts.iter().filter(has).map(running).collect() };
            return Ok(Some((*worker, bench.pull_with(daemon, &running).await?.assign)));
        }
        Step::Append { attempt, from, count } => {
            if let Some((worker, at)) = world.attempt(*attempt) {
                let entries = (*from..from + count).map(|seq| text(bench, seq, &format!("{} {seq}", at.attempt))).collect();
                bench.append(&world.workers[*worker], at, entries).await?;
            }
        }
        Step::Report { attempt, status } => {
            if let Some((worker, at)) = world.attempt(*attempt) {
                let session_id = Some(format!("ses_{}_{}", at.task.id, at.attempt).as_str().into());
                let report = says(&world.workers[*worker], at, status.clone());
                bench.report_outcome(at.task.id, muster_protocol::task::ReportStatus { session_id, ..report }).await?;
            }
        }
        Step::Cancel { task } => {
            if let Some(task) = world.tasks.iter().rev().nth(*task) {
                bench.store.write(CancelTask { task: *task, lease_ms: 45_000, now }).await?;
            }
        }
        Step::Lose { attempt, loss } => {
            if let Some((_, at)) = world.attempt(*attempt) {
                bench.store.write(LoseAttempt { task: at.task.id, attempt: at.attempt, loss: *loss, now }).await?;
            }
        }
        Step::Reconnect { attempt } => {
            if let Some((_, at)) = world.attempt(*attempt) {
                bench.store.write(MarkReconnected { task: at.task.id, attempt: at.attempt, now }).await?;
            }
        }
        Step::Submit { .. } | Step::Register { .. } | Step::Pass { .. } => {}
    }
    Ok(None)
}

/// The steps that change what the world knows.
async fn prepare(bench: &Bench, world: &mut World, step: &Step) -> Result<()> {
    match step {
        Step::Submit { on_lost, codebase, turn_of, worker } => {
            let task = match worker {
                Some(n) if *codebase => bench.task_in("work", &world.workers[*n], &world.workers[*n].codebases["app"]),
                Some(n) => NewTask { worker: Some(world.workers[*n].id.clone()), ..bench.task("work") },
                None => bench.task("work"),
            };
            let first = turn_of.and_then(|back| world.tasks.iter().rev().nth(back).copied());
            let context_id = match first {
                Some(first) => bench.record(first).await?.task.context_id,
                None => task.context_id.clone(),
            };
            let id = task.id;
            let outcome = bench.submitted(NewTask { on_lost: *on_lost, context_id, ..task }).await?;
            if matches!(outcome, muster::store::submit::Submitted::Accepted(_)) {
                world.tasks.push(id);
            }
        }
        Step::Register { worker, new_instance } => {
            let known = world.workers[*worker].instance;
            let mut registration = bench.registration("");
            if !new_instance {
                registration.instance = Some(known);
            }
            world.workers[*worker] = World::register(bench, *worker, registration).await?;
        }
        Step::Pass { seconds } => bench.pass(*seconds),
        _ => {}
    }
    Ok(())
}

async fn whatever_happens_in_whatever_order_what_must_hold_holds(bench: &Bench) -> Result<()> {
    let seed = seed()?;
    walk(bench, &seed).await.map_err(|e| e.context(format!("MUSTER_WALK_SEED={}", hex::encode(&seed))))
}

async fn walk(bench: &Bench, seed: &[u8]) -> Result<()> {
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), TestRng::from_seed(RngAlgorithm::ChaCha, seed));
    let mut world = World { workers: Vec::new(), tasks: Vec::new(), attempts: Vec::new(), seen: HashMap::new() };
    for n in 0..WORKERS {
        world.workers.push(World::register(bench, n, bench.registration("")).await?);
    }
    for round in 0..ROUNDS {
        let walk = steps().new_tree(&mut runner).map_err(|e| anyhow::anyhow!("{e}"))?.current();
        for (n, batch) in walk.iter().enumerate() {
            for each in batch {
                prepare(bench, &mut world, each).await?;
            }
            // Together: they share a transaction.
            let mut given = Vec::new();
            for outcome in join_all(batch.iter().map(|each| step(bench, &world, each))).await {
                given.extend(outcome?);
            }
            for (worker, assigned) in given {
                for at in assigned {
                    world.attempts.retain(|(_, known)| (known.task.id, known.attempt) != (at.task.id, at.attempt));
                    world.attempts.push((worker, at));
                }
            }
            must_hold(bench, &mut world).await.map_err(|e| e.context(format!("round {round}, batch {n}: {batch:?}")))?;
        }
    }
    log_is_whole(bench).await?;
    // Also what did not change is as it must be.
    world.seen.clear();
    must_hold(bench, &mut world).await?;
    let ended = world.seen.values().filter(|(state, _)| state.is_terminal()).count();
    ensure!(ended > 20, "only {ended} tasks of {} ended: the walk goes nowhere", world.tasks.len());
    Ok(())
}

/// New with each run unless `MUSTER_WALK_SEED` names one (32 bytes, hex), which makes the same walk again.
fn seed() -> Result<Vec<u8>> {
    match std::env::var("MUSTER_WALK_SEED") {
        Ok(given) => Ok(hex::decode(given)?),
        Err(_) => Ok(uuid::Uuid::new_v4().into_bytes().repeat(2)),
    }
}

async fn must_hold(bench: &Bench, world: &mut World) -> Result<()> {
    let all = bench.store.tasks(&TaskFilter { limit: 100_000, ..TaskFilter::default() }).await?;
    let mut held_in_context: BTreeMap<_, u32> = BTreeMap::new();
    let mut held_by: BTreeMap<_, u32> = BTreeMap::new();
    for record in &all {
        let id = record.task.id;
        if record.held {
            *held_in_context.entry(record.task.context_id.clone()).or_default() += 1;
            *held_by.entry(record.holder.clone()).or_default() += 1;
        }
        let looks = format!("{record:?}");
        if let Some((state, before)) = world.seen.get(&id) {
            if *before == looks {
                continue;
            }
            ensure!(!state.is_terminal(), "an ended task changed:\n{before}\n{looks}");
        }
        one_holds(bench, record).await.map_err(|e| e.context(looks.clone()))?;
        world.seen.insert(id, (record.task.state, looks));
    }
    ensure!(held_in_context.values().all(|n| *n == 1), "a conversation runs two tasks: {held_in_context:?}");
    ensure!(held_by.values().all(|n| *n <= 3), "a worker has more than its slots: {held_by:?}");
    ensure!(bench.store.writing_by_codebase().await?.values().all(|n| *n == 1), "a codebase has two writers");
    let mut by_state: BTreeMap<String, u64> = BTreeMap::new();
    for record in &all {
        *by_state.entry(record.task.state.as_str().to_owned()).or_default() += 1;
    }
    let counted = bench.store.count_tasks().await?;
    ensure!(counted == by_state, "{counted:?} are counted, {by_state:?} are there");
    ensure!(world.tasks.len() == all.len(), "{} tasks were accepted, {} are there", world.tasks.len(), all.len());
    Ok(())
}

async fn one_holds(bench: &Bench, record: &TaskRecord) -> Result<()> {
    let task = &record.task;
    let attempts = bench.store.attempts(task.id).await?;
    let open: Vec<_> = attempts.iter().filter(|attempt| attempt.state != state::ENDED).map(|attempt| attempt.attempt).collect();
    ensure!(open.len() == usize::from(record.held), "held is {}, open attempts are {open:?}", record.held);
    ensure!(open.iter().all(|open| *open == task.attempt), "attempt {open:?} is open, the current one is {}", task.attempt);
    ensure!(attempts.iter().map(|a| a.attempt).eq(1..=task.attempt), "{attempts:?}");
    ensure!(record.held == (task.state.as_str() == "working"), "held is {}", record.held);
    ensure!(task.state.is_terminal() == task.completed_at.is_some(), "it ended at {:?}", task.completed_at);
    ensure!(!task.disconnected || record.held, "nobody has it, and it is shown as disconnected");
    let entries = bench.store.entries(task.id, 0, 100_000).await?;
    ensure!(entries.iter().map(|entry| entry.task_seq).eq(1..=task.entries), "{} entries are counted: {entries:?}", task.entries);
    ensure!(entries.is_sorted_by_key(|entry| entry.attempt), "an entry of an older attempt follows: {entries:?}");
    for attempt in &attempts {
        let texts = entries.iter().filter(|entry| entry.attempt == attempt.attempt && entry.kind.as_str() == "text");
        let bytes: usize = texts.clone().map(|entry| entry.data.get().len()).sum();
        ensure!(texts.count() as u64 == attempt.next_seq && bytes as u64 == attempt.digest.bytes, "entries of {attempt:?} differ");
    }
    Ok(())
}

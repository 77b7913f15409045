//! Registering workers and their codebases.

use super::bench::{Bench, codebase, home, model, on_both, running, says};
use anyhow::{Result, bail, ensure};
use muster::store::codebases::{CodebaseFilter, PutCodebase, RemoveCodebase, RemoveOutcome};
use muster::store::submit::NewTask;
use muster::store::workers::{DrainWorker, RegisterOutcome, UnregisterWorker};
use muster_protocol::codebase::{Codebase, CodebaseStatus, RegisterCodebase};
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, InstanceId, WorkerId};
use muster_protocol::task::{OnLost, ReportedStatus, TaskState};
use muster_protocol::worker::RegisterWorker as Registration;

on_both! {
    the_same_registration_again_changes_nothing,
    what_changed_is_told_and_models_are_found_by_their_worker,
    a_codebase_that_is_left_out_goes_offline_and_comes_back_with_its_id,
    the_global_codebase_stays_when_it_is_not_named,
    a_codebase_that_is_added_while_its_worker_registers_is_there_once,
    one_path_on_two_workers_is_two_codebases,
    a_plain_worker_registers_its_home_before_itself,
    a_global_codebase_of_another_worker_is_refused,
    a_superseded_instance_may_not_come_back,
    two_machines_with_one_id_raise_an_alarm_that_names_both,
    a_restart_raises_no_alarm,
    what_is_wrong_with_a_worker_is_shown_as_its_alarm,
    what_a_worker_that_was_taken_off_may_still_run_is_waited_for,
    a_worker_that_leaves_ends_its_attempts_and_takes_its_codebases_offline,
    a_new_instance_takes_tasks_again,
    a_codebase_is_removed_but_not_a_home,
}

fn outcome_of(outcome: RegisterOutcome) -> Result<(muster::store::workers::WorkerRecord, Vec<Codebase>)> {
    match outcome {
        RegisterOutcome::Registered { record, codebases } => Ok((*record, codebases)),
        other => bail!("not registered: {other:?}"),
    }
}

async fn the_same_registration_again_changes_nothing(bench: &Bench) -> Result<()> {
    let registration = Registration { codebases: vec![home(), codebase("app")], models: vec![model("a/b")], ..bench.registration("w") };
    let (first, codebases) = outcome_of(bench.registered(registration.clone(), true).await?)?;
    let head = bench.store.log_head().await?;
    bench.pass(60);
    let (second, same) = outcome_of(bench.registered(registration, true).await?)?;
    ensure!(first.registration == second.registration && first.worker.registered_at == second.worker.registered_at, "{second:?}");
    ensure!(second.worker.last_seen == bench.now(), "it was not heard of");
    let ids = |list: &[Codebase]| list.iter().map(|c| (c.id.clone(), c.path.clone())).collect::<Vec<_>>();
    ensure!(ids(&codebases) == ids(&same) && same.len() == 2, "{same:?}");
    ensure!(bench.store.log_head().await? == head, "the same again is told");
    ensure!(bench.store.workers(None).await?.len() == 1, "it is there twice");
    Ok(())
}

async fn what_changed_is_told_and_models_are_found_by_their_worker(bench: &Bench) -> Result<()> {
    let with = |models: &[&str], from: &Registration| Registration { models: models.iter().map(|id| model(id)).collect(), ..from.clone() };
    let base = bench.registration("w");
    bench.register(with(&["a/b", "a/c"], &base)).await?;
    bench.register(bench.registration("other")).await?;
    let names = async |model: &str| -> Result<Vec<String>> {
        Ok(bench.store.workers(Some(model)).await?.into_iter().map(|record| record.worker.name).collect())
    };
    ensure!(names("a/b").await? == ["w"], "{:?}", names("a/b").await?);
    bench.register(with(&["a/c", "a/d", "a/d"], &base)).await?;
    ensure!(names("a/b").await?.is_empty() && names("a/d").await? == ["w"], "the models did not change");
    bench.register(with(&[], &base)).await?;
    ensure!(names("a/c").await?.is_empty(), "the models did not go");
    ensure!(bench.store.count_events().await?[kind::WORKER_CHANGED] == 2, "the changes are not told");
    Ok(())
}

async fn codebases_of(bench: &Bench, worker: &WorkerId) -> Result<Vec<Codebase>> {
    bench.store.codebases(&CodebaseFilter { worker: Some(worker.clone()), ..CodebaseFilter::default() }).await.map_err(Into::into)
}

async fn a_codebase_that_is_left_out_goes_offline_and_comes_back_with_its_id(bench: &Bench) -> Result<()> {
    let base = bench.registration("w");
    let with = |codebases: Vec<RegisterCodebase>| Registration { codebases, ..base.clone() };
    let first = bench.register(with(vec![home(), codebase("app"), codebase("lib")])).await?;
    bench.register(with(vec![home(), codebase("app")])).await?;
    let offline = |list: &[Codebase]| -> Vec<String> {
        list.iter().filter(|c| c.status == CodebaseStatus::Offline).map(|c| c.name.clone()).collect()
    };
    ensure!(offline(&codebases_of(bench, &first.id).await?) == ["lib"], "{:?}", codebases_of(bench, &first.id).await?);
    let back = bench.register(with(vec![home(), codebase("app"), codebase("lib")])).await?;
    ensure!(back.codebases == first.codebases && offline(&codebases_of(bench, &first.id).await?).is_empty(), "{back:?}");
    Ok(())
}

async fn the_global_codebase_stays_when_it_is_not_named(bench: &Bench) -> Result<()> {
    let base = Registration { codebases: vec![codebase("app")], ..bench.registration("w") };
    let first = bench.register(base.clone()).await?;
    let second = bench.register(base.clone()).await?;
    ensure!(first.global == second.global && !first.global.0.is_empty(), "{first:?} {second:?}");
    let Some(global) = bench.store.codebase(&first.global).await? else { bail!("it is gone") };
    ensure!(global.is_global && global.status == CodebaseStatus::Active, "{global:?}");
    // Once it says where its home is, that is the only global one.
    let third = bench.register(Registration { codebases: vec![home(), codebase("app")], ..base }).await?;
    let all = codebases_of(bench, &first.id).await?;
    let globals: Vec<_> = all.iter().filter(|c| c.is_global).map(|c| (c.path.as_str(), &c.id)).collect();
    ensure!(globals == [("/home/user", &third.global)], "{globals:?}");
    Ok(())
}

async fn a_codebase_that_is_added_while_its_worker_registers_is_there_once(bench: &Bench) -> Result<()> {
    let base = bench.registration("w");
    bench.register(Registration { codebases: vec![home()], ..base.clone() }).await?;
    for name in ["app", "lib", "web"] {
        let codebases = vec![home(), codebase(name)];
        let register = bench.registered(Registration { codebases, ..base.clone() }, true);
        // While the first write is committed the others come to wait, so that they are one batch.
        let (first, added, registered) = tokio::join!(bench.submit(bench.task(name)), put(bench, "w", codebase(name)), register);
        first?;
        let (added, (_, registered)) = (added?, outcome_of(registered?)?);
        let of_this_name: Vec<&CodebaseId> = registered.iter().filter(|known| known.name == name).map(|known| &known.id).collect();
        ensure!(of_this_name == [&added.id], "the registration has {of_this_name:?} instead of {}", added.id);
        let stored = codebases_of(bench, &"w".into()).await?;
        ensure!(stored.iter().filter(|known| known.name == name).count() == 1, "it is there twice: {stored:?}");
    }
    Ok(())
}

async fn one_path_on_two_workers_is_two_codebases(bench: &Bench) -> Result<()> {
    let (one, other) = (bench.worker("one", 1, &["app"]).await?, bench.worker("other", 1, &["app"]).await?);
    ensure!(one.codebases["app"] != other.codebases["app"], "one stole the other's codebase");
    let filter = CodebaseFilter { path: Some("/code/app".into()), ..CodebaseFilter::default() };
    let owners: Vec<_> = bench.store.codebases(&filter).await?.into_iter().map(|c| (c.id, c.worker_name)).collect();
    ensure!(owners.contains(&(one.codebases["app"].clone(), Some("one".into()))), "{owners:?}");
    ensure!(owners.contains(&(other.codebases["app"].clone(), Some("other".into()))), "{owners:?}");
    let filter = CodebaseFilter { text: Some("APP".into()), ..CodebaseFilter::default() };
    ensure!(bench.store.codebases(&filter).await?.len() == 2, "they are not found");
    Ok(())
}

async fn put(bench: &Bench, worker: &str, codebase: RegisterCodebase) -> Result<Codebase> {
    let new_id = CodebaseId(bench.uuid().to_string());
    Ok(bench.store.write(PutCodebase { worker: worker.into(), codebase, agent_config: None, new_id, now: bench.now() }).await?)
}

async fn a_plain_worker_registers_its_home_before_itself(bench: &Bench) -> Result<()> {
    let global = put(bench, "p", RegisterCodebase { is_global: false, ..home() }).await?;
    let plain = Registration { protocol_version: None, instance: None, codebases: Vec::new(), slots: None, ..bench.registration("p") };
    let plain = Registration { global_codebase_id: Some(global.id.clone()), ..plain };
    let worker = bench.register(plain.clone()).await?;
    ensure!(worker.global == global.id, "{worker:?}");
    put(bench, "p", codebase("app")).await?;
    bench.register(plain).await?;
    let all = codebases_of(bench, &worker.id).await?;
    ensure!(all.len() == 2 && all.iter().all(|c| c.status == CodebaseStatus::Active), "{all:?}");
    ensure!(all.iter().filter(|c| c.is_global).map(|c| &c.id).collect::<Vec<_>>() == [&global.id], "{all:?}");
    Ok(())
}

async fn a_global_codebase_of_another_worker_is_refused(bench: &Bench) -> Result<()> {
    let other = bench.worker("other", 1, &[]).await?;
    for id in [other.global, CodebaseId::from("nobody's")] {
        let registration = Registration { global_codebase_id: Some(id), ..bench.registration("w") };
        let outcome = bench.registered(registration, false).await?;
        ensure!(matches!(outcome, RegisterOutcome::ForeignGlobal), "{outcome:?}");
    }
    ensure!(bench.store.worker(&"w".into()).await?.is_none(), "a refused worker is there");
    ensure!(codebases_of(bench, &"w".into()).await?.is_empty(), "a refused worker left codebases");
    Ok(())
}

async fn a_superseded_instance_may_not_come_back(bench: &Bench) -> Result<()> {
    let older = bench.registration("w");
    let first = bench.register(older.clone()).await?;
    let second = bench.register(bench.registration("w")).await?;
    ensure!(second.registration > first.registration, "{second:?}");
    let outcome = bench.registered(older, false).await?;
    ensure!(matches!(outcome, RegisterOutcome::Superseded), "{outcome:?}");
    ensure!(bench.store.worker(&second.id).await?.is_some_and(|r| r.instance == Some(second.instance)), "it came back");
    Ok(())
}

async fn two_machines_with_one_id_raise_an_alarm_that_names_both(bench: &Bench) -> Result<()> {
    let on = |host: &str| {
        let instance = Some(InstanceId(bench.uuid()));
        Registration { hostname: Some(host.to_owned()), instance, ..bench.registration("w") }
    };
    let mut alarm = None;
    for n in 0..6 {
        bench.pass(5);
        let (record, _) = outcome_of(bench.registered(on(["alpha", "beta"][n % 2]), true).await?)?;
        alarm = record.worker.alarm;
    }
    let text = alarm.unwrap_or_default();
    ensure!(text.contains("alpha") && text.contains("beta"), "the alarm is {text:?}");
    ensure!(bench.store.count_events().await?.get(kind::WORKER_ALARM).is_some_and(|n| *n >= 1), "the alarm is not told");
    bench.pass(3_600);
    let (record, _) = outcome_of(bench.registered(on("alpha"), false).await?)?;
    ensure!(record.worker.alarm.is_none(), "the alarm stays: {:?}", record.worker.alarm);
    Ok(())
}

async fn a_restart_raises_no_alarm(bench: &Bench) -> Result<()> {
    for _ in 0..20 {
        let (record, _) = outcome_of(bench.registered(bench.registration("w"), false).await?)?;
        ensure!(record.worker.alarm.is_none(), "{:?}", record.worker.alarm);
    }
    Ok(())
}

async fn a_worker_that_leaves_ends_its_attempts_and_takes_its_codebases_offline(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 2, &["app"]).await?;
    let started = bench.submit(bench.task("started")).await?;
    let waiting = bench.submit(bench.task("waiting")).await?;
    let assigned = bench.pull(&worker).await?;
    bench.start(&worker, &assigned[0], "ses_1").await?;
    let leave = UnregisterWorker { worker: worker.id.clone(), now: bench.now() };
    ensure!(bench.store.write(leave.clone()).await?, "there is no such worker");
    let record = bench.record(started.id).await?;
    ensure!(record.task.state == TaskState::Failed && record.task.error_code.as_deref() == Some("worker_lost"), "{record:?}");
    ensure!(bench.record(waiting.id).await?.task.state == TaskState::Submitted, "what was not started is lost");
    ensure!(codebases_of(bench, &worker.id).await?.iter().all(|c| c.status == CodebaseStatus::Offline), "a codebase is online");
    let head = bench.store.log_head().await?;
    ensure!(bench.store.write(leave).await? && bench.store.log_head().await? == head, "leaving twice is told twice");
    let unknown = UnregisterWorker { worker: "nobody".into(), now: bench.now() };
    ensure!(!bench.store.write(unknown).await?, "nobody left");
    Ok(())
}

async fn what_a_worker_that_was_taken_off_may_still_run_is_waited_for(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let task = bench.submit(NewTask { on_lost: OnLost::Restart, ..bench.task("work") }).await?;
    let at = bench.pull_one(&worker).await?;
    bench.start(&worker, &at, "ses_1").await?;
    bench.store.write(UnregisterWorker { worker: worker.id.clone(), now: bench.now() }).await?;
    let record = bench.record(task.id).await?;
    ensure!(record.task.state == TaskState::Working && record.held && record.task.disconnected, "{record:?}");
    let other = bench.worker("other", 1, &[]).await?;
    ensure!(bench.pull(&other).await?.is_empty(), "another worker runs it at the same time");
    // Its worker says that it has stopped: there is nothing to wait for.
    bench.report(&at, says(&worker, &at, ReportedStatus::Interrupted)).await?;
    ensure!(bench.pull_one(&other).await?.attempt == 2, "it is not begun again");
    Ok(())
}

async fn what_is_wrong_with_a_worker_is_shown_as_its_alarm(bench: &Bench) -> Result<()> {
    let says = |problem: Option<&str>| {
        let instance = Some(InstanceId(uuid::Uuid::from_u128(7)));
        Registration { problem: problem.map(str::to_owned), instance, ..bench.registration("w") }
    };
    let (record, _) = outcome_of(bench.registered(says(Some("its OpenCode does not start")), true).await?)?;
    ensure!(record.worker.alarm.as_deref() == Some("its OpenCode does not start"), "{:?}", record.worker.alarm);
    let (record, _) = outcome_of(bench.registered(says(None), true).await?)?;
    ensure!(record.worker.alarm.is_none(), "{:?}", record.worker.alarm);
    ensure!(bench.store.count_events().await?[kind::WORKER_ALARM] == 1, "it is not told once");
    Ok(())
}

async fn a_new_instance_takes_tasks_again(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    bench.submit(bench.task("work")).await?;
    let at = bench.pull_one(&worker).await?;
    bench.store.write(DrainWorker { worker: worker.id.clone(), drain: Some("update".into()), now: bench.now() }).await?;
    let same = Registration { instance: Some(worker.instance), ..bench.registration("w") };
    let (record, _) = outcome_of(bench.registered(same, false).await?)?;
    ensure!(record.draining && record.worker.drain_reason.as_deref() == Some("update"), "{record:?}");
    ensure!(bench.pull_with(&worker, &[running(&at)]).await?.drop.is_empty(), "its run is to be dropped");
    bench.report(&at, says(&worker, &at, ReportedStatus::Completed)).await?;
    let (record, _) = outcome_of(bench.registered(bench.registration("w"), false).await?)?;
    ensure!(!record.draining && record.worker.drain_reason.is_none(), "{record:?}");
    Ok(())
}

async fn a_codebase_is_removed_but_not_a_home(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &["app"]).await?;
    let remove = async |id: &CodebaseId| bench.store.write(RemoveCodebase { id: id.clone(), now: bench.now() }).await;
    ensure!(remove(&worker.global).await? == RemoveOutcome::IsGlobal, "a home was removed");
    ensure!(remove(&worker.codebases["app"]).await? == RemoveOutcome::Removed, "it was not removed");
    ensure!(remove(&worker.codebases["app"]).await? == RemoveOutcome::NotFound, "it was removed twice");
    ensure!(codebases_of(bench, &worker.id).await?.len() == 1, "it is still there");
    Ok(())
}

//! The registry follows the machine without a restart: branches, changed files, directories, models, configured codebases.

use crate::support::{Cx, FakeLlm, Server, Worker, cases, follow, on_worker, run_task, until_entry, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::codebase::{Codebase, CodebaseStatus, GitState};
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{SubmitTask, TaskState};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

cases! {
    [Opencode, Python] =>
        what_changes_on_the_machine_shows_without_a_restart within 240,
        a_worker_that_is_never_idle_takes_a_changed_configuration_over within 240;
}

/// How long a change may take to show on a machine that does much else besides.
const SOON: Duration = Duration::from_mins(1);

async fn what_changes_on_the_machine_shows_without_a_restart(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let path = cx.make_repository("app")?;
    let worker = Worker::new(cx.dir(), "fresh", &server)?.with_llm(&llm).with_codebase("app", &path).launch().await?;
    let git_is = async |what: &str, wanted: fn(&GitState) -> bool| -> Result<Codebase> {
        let found = wait_for(what, SOON, async || Ok(codebase(&server, "app").await?.filter(|app| app.git.as_ref().is_some_and(wanted))));
        found.await
    };
    let first = git_is("the branch", |git| git.branch.as_deref() == Some("main") && !git.dirty).await?;
    git(&path, &["switch", "--quiet", "--create", "feature"])?;
    git_is("the new branch", |git| git.branch.as_deref() == Some("feature")).await?;
    fs::write(path.join("README"), "changed")?;
    git_is("the changed file", |git| git.dirty).await?;
    git(&path, &["checkout", "--quiet", "--", "README"])?;
    git_is("the file as it was", |git| !git.dirty).await?;

    let away = cx.dir().join("away");
    fs::rename(&path, &away)?;
    wait_for("the directory to be missed", SOON, async || Ok(codebase(&server, "app").await?.filter(|app| app.problem.is_some()))).await?;
    fs::rename(&away, &path)?;
    let back = git_is("the directory to be back", |git| git.branch.as_deref() == Some("feature")).await?;
    ensure!(back.id == first.id && back.problem.is_none() && back.status == CodebaseStatus::Active, "{back:?}");

    let config = cx.dir().join("fresh-state/opencode/home/.config/opencode/opencode.json");
    fs::write(&config, r#"{"provider":{"fake":{"models":{"late":{"name":"Late"}}}}}"#)?;
    let has = async |model: &str| -> Result<bool> {
        Ok(worker.info().await?.context("it is not registered")?.models.iter().any(|known| known.id == model))
    };
    wait_for("the model that was added", SOON, async || Ok(has("fake/late").await?.then_some(()))).await?;
    ensure!(has("fake/echo").await?, "the others are gone");
    fs::write(&config, r#"{"provider": {"#)?;
    wait_for("the complaint", SOON, async || Ok(worker.log().contains("is not taken over, it cannot be read").then_some(()))).await?;
    ensure!(has("fake/late").await?, "half a file was taken over");
    fs::write(&config, "{}")?;
    wait_for("the model to go", SOON, async || Ok((!has("fake/late").await?).then_some(()))).await?;

    let own = cx.dir().join("fresh.toml");
    let text = fs::read_to_string(&own)?;
    let second = cx.make_dir("second")?;
    fs::write(&own, format!("{text}\n[codebases]\nsecond = {:?}\n", second.display().to_string()))?;
    wait_for("the codebase that was added", SOON, async || codebase(&server, "second").await).await?;
    fs::write(&own, "slots = \n")?;
    wait_for("the complaint", SOON, async || Ok(worker.log().contains("is not taken over, all stays").then_some(()))).await?;
    ensure!(codebase(&server, "second").await?.is_some(), "a broken file was taken over");
    ensure!(worker.info().await?.is_some_and(|info| info.status.as_str() == "active"), "it is no longer there");
    Ok(())
}

async fn a_worker_that_is_never_idle_takes_a_changed_configuration_over(cx: &Cx) -> Result<()> {
    let (server, llm) = (Server::start(cx).await?, FakeLlm::start(cx).await?);
    let worker = Worker::new(cx.dir(), "busy", &server)?.with_llm(&llm).launch().await?;
    let client = server.client();
    let running = || -> Result<usize> { Ok(fs::read_to_string(worker.state_dir().join("opencode/process"))?.lines().count()) };
    let busy = client.submit(&on_worker("busy", "!slow 3000 100"), None).await?;
    until_entry(client, busy.id, |entry| entry.kind == EntryKind::Text).await?;
    ensure!(running()? == 1, "{} OpenCodes run", running()?);
    let config = worker.state_dir().join("opencode/home/.config/opencode/opencode.json");
    fs::write(&config, r#"{"provider":{"fake":{"models":{"late":{"name":"Late"}}}}}"#)?;
    wait_for("the model that was added", SOON, async || {
        let models = worker.info().await?.context("it is not registered")?.models;
        Ok(models.iter().any(|model| model.id == "fake/late").then_some(()))
    })
    .await?;
    // What ran goes on in the OpenCode that it began in; what is new begins in the other one.
    let late = SubmitTask { model: Some("fake/late".to_owned()), ..on_worker("busy", "with the late model") };
    let late = run_task(client, &late).await?.task;
    ensure!(late.result.as_deref() == Some("echo: with the late model"), "{late:?}");
    let still = client.task(busy.id).await?;
    ensure!(still.state == TaskState::Working && still.attempt == 1, "{still:?}");
    ensure!(running()? == 2, "{} OpenCodes run", running()?);
    client.cancel(busy.id).await?;
    let ended = follow(client, busy.id).await?.task;
    ensure!(ended.state == TaskState::Canceled && ended.confirmed == Some(true), "{ended:?}");
    wait_for("the older OpenCode to end", SOON, async || Ok((running()? == 1).then_some(()))).await?;
    let after = run_task(client, &on_worker("busy", "after all")).await?.task;
    ensure!(after.result.as_deref() == Some("echo: after all"), "{after:?}");
    Ok(())
}

async fn codebase(server: &Server, name: &str) -> Result<Option<Codebase>> {
    Ok(server.client().codebases(&[]).await?.into_iter().find(|codebase| codebase.name == name))
}

fn git(dir: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output()?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

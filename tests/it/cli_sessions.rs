//! `muster sessions`, `muster session` and `muster run --session`: read and go on with what is on a machine.

use crate::support::{Cx, Fleet, Terminal, cases, in_codebase, run_task};
use anyhow::{Context, Result, ensure};
use muster_protocol::session::{SessionMessage, SessionReport, SyncMessages, SyncSessions};
use muster_protocol::task::{Task, TaskState};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::process::Output;

cases! {
    [Opencode, Python] =>
        a_session_is_listed_and_read,
        a_session_is_continued_and_a_copy_of_it,
        a_chat_continues_a_session,
        a_chat_with_a_copy_stays_with_it_after_a_turn_that_was_left_running,
        nothing_that_was_said_moves_the_terminal;
}

async fn muster<A: Into<OsString>>(fleet: &Fleet, args: impl IntoIterator<Item = A>) -> Result<Output> {
    let mut command = fleet.server.muster(args);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

fn out(output: &Output) -> Result<String> {
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "it ended with {}: {err}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A task that has run, whose session its worker has told of.
async fn begun(fleet: &Fleet, place: &str, prompt: &str) -> Result<(Task, String)> {
    let client = fleet.server.client();
    let task = run_task(client, &in_codebase(place, prompt)).await?.task;
    ensure!(task.state == TaskState::Completed, "it is {}: {:?}", task.state, task.error);
    let (session, worker) = (task.session_id.clone().context("no session")?, task.worker_id.clone().context("no worker")?);
    let report: SessionReport = serde_json::from_value(json!({ "id": session, "title": format!("About {prompt}"), "messageCount": 2 }))?;
    let sync = SyncSessions { worker_id: worker.clone(), sessions: vec![report], deleted: Vec::new() };
    client.sync_sessions(&task.codebase_id, &sync).await?;
    let message = |id: &str, role: &str, text: &str| -> Result<SessionMessage> {
        let time = json!({ "created": task.created_at });
        Ok(serde_json::from_value(json!({ "id": id, "role": role, "time": time, "parts": [{ "type": "text", "text": text }] }))?)
    };
    let messages = vec![message("msg_1", "user", prompt)?, message("msg_2", "assistant", &format!("echo: {prompt}"))?];
    client.sync_messages(&task.codebase_id, &session, &SyncMessages { worker_id: worker, messages, deleted: Vec::new() }).await?;
    Ok((task, session.to_string()))
}

async fn a_session_is_listed_and_read(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let (_, session) = begun(fleet, &place.name, "the tree is a rowan").await?;
    let table = out(&muster(fleet, ["sessions", "--codebase", &place.name]).await?)?;
    let end = &session[session.len() - 12..];
    ensure!(table.lines().any(|line| line.starts_with(end) && line.contains(&place.name)), "{end} is not in {table}");
    let found: Value = serde_json::from_str(&out(&muster(fleet, ["sessions", "--search", &session, "--json"]).await?)?)?;
    ensure!(found.as_array().is_some_and(|all| all.len() == 1) && found[0]["id"] == session.as_str(), "it found {found}");
    let read = out(&muster(fleet, ["session", end]).await?)?;
    for wanted in [session.as_str(), &place.name, fleet.worker(), "> the tree is a rowan", "echo: the tree is a rowan"] {
        ensure!(read.contains(wanted), "{wanted:?} is not in {read}");
    }
    Ok(())
}

async fn a_session_is_continued_and_a_copy_of_it(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let (first, session) = begun(fleet, &place.name, "the stone is a garnet").await?;
    let output = muster(fleet, ["run", "--session", &session, "--json", "which garnet is it"]).await?;
    let next: Task = serde_json::from_str(out(&output)?.lines().last().context("nothing was said")?)?;
    ensure!(next.session_id == first.session_id && next.context_id == first.context_id, "it went on in {:?}", next.session_id);
    let output = muster(fleet, ["run", "--session", &session, "--fork", "--json", "a copy of garnet"]).await?;
    let copy: Task = serde_json::from_str(out(&output)?.lines().last().context("nothing was said")?)?;
    ensure!(copy.context_id != first.context_id, "the copy is in the same conversation");
    ensure!(copy.session_id.is_some() && copy.session_id != first.session_id, "the copy is in {:?}", copy.session_id);
    for prompt in ["which garnet is it", "a copy of garnet"] {
        let requests = fleet.llm.requests_with(prompt)?;
        ensure!(requests.iter().any(|request| request.says("user", "the stone is a garnet")), "{prompt:?} does not know what was said");
    }
    Ok(())
}

async fn a_chat_with_a_copy_stays_with_it_after_a_turn_that_was_left_running(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let (first, session) = begun(fleet, &place.name, "the flower is a peony").await?;
    let mut command = fleet.server.muster(["chat", "--session", &session, "--fork"]);
    command.env("HOME", cx.dir());
    let mut terminal = Terminal::start(&command, &cx.dir().join("terminal.log"))?;
    terminal.until_it_reads().await?;
    terminal.press("!slow 61 100\r").await?;
    terminal.until("tok2 ").await?;
    // The first one cancels, a second one leaves it to itself.
    terminal.press("\x03\x03").await?;
    terminal.until_it_reads().await?;
    for text in ["which peony", "and another peony"] {
        terminal.press(&format!("{text}\r")).await?;
        terminal.until(&format!("echo: {text}")).await?;
        terminal.until_it_reads().await?;
    }
    terminal.press("/quit\r").await?;
    ensure!(terminal.ended().await?.success(), "it failed: {}", terminal.text());
    let client = fleet.server.client();
    let next = client.tasks(&[("q", "which peony")]).await?.pop().context("it is no task")?;
    ensure!(next.context_id != first.context_id, "it is in the conversation of the original");
    let turns = client.tasks(&[("context_id", next.context_id.as_str())]).await?;
    let prompts: Vec<&str> = turns.iter().map(|task| task.prompt.as_str()).collect();
    ensure!(prompts == ["!slow 61 100", "which peony", "and another peony"], "the turns of the copy are {prompts:?}");
    ensure!(turns.iter().all(|task| task.session_id == turns[0].session_id), "they are in several sessions: {turns:?}");
    ensure!(turns[0].session_id.is_some() && turns[0].session_id != first.session_id, "they are in the original");
    Ok(())
}

/// What a model or a tool wrote may hold sequences that move the cursor, clear the screen or name the window.
async fn nothing_that_was_said_moves_the_terminal(cx: &Cx) -> Result<()> {
    const NAMES_THE_WINDOW: &str = "\x1b]0;";
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let (task, session) = begun(fleet, &place.name, "named \x1b]0;pwned\x07 in secret \u{9b}2J").await?;
    ensure!(task.result.as_ref().is_some_and(|said| said.contains(NAMES_THE_WINDOW)), "the answer has no sequence: {:?}", task.result);
    let commands = [
        vec!["session", &session],
        vec!["sessions", "--search", &session],
        vec!["chat", "--continue", task.context_id.as_str()],
        vec!["chat", "--session", &session],
    ];
    for (n, args) in commands.into_iter().enumerate() {
        let is_chat = args[0] == "chat";
        let (mut command, log) = (fleet.server.muster(args.clone()), cx.dir().join(format!("terminal-{n}.log")));
        command.env("HOME", cx.dir());
        let mut terminal = Terminal::start(&command, &log)?;
        if is_chat {
            terminal.until_it_reads().await?;
            // Live, as its answer comes and as a tool says it.
            terminal.press("!bash printf 'loud \\033]0;pwned\\007 and clear'\r").await?;
            terminal.until("tool said: ").await?;
            terminal.until("clear").await?;
            terminal.until_it_reads().await?;
            terminal.press("/history\r").await?;
            terminal.until_it_reads().await?;
            terminal.press("/quit\r").await?;
        }
        ensure!(terminal.ended().await?.success(), "{args:?} failed: {}", terminal.text());
        let written = std::fs::read(&log)?;
        let written = String::from_utf8_lossy(&written);
        ensure!(written.contains("pwned"), "{args:?} does not show what was said: {written:?}");
        ensure!(!written.contains(NAMES_THE_WINDOW) && !written.contains('\u{9b}'), "{args:?} wrote {written:?}");
    }
    Ok(())
}

async fn a_chat_continues_a_session(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let (first, session) = begun(fleet, &place.name, "the bird is a wren").await?;
    let mut command = fleet.server.muster(["chat", "--session", &session]);
    command.env("HOME", cx.dir());
    let mut terminal = Terminal::start(&command, &cx.dir().join("terminal.log"))?;
    terminal.until("echo: the bird is a wren").await?;
    terminal.until_it_reads().await?;
    for text in ["which wren", "and another wren"] {
        terminal.press(&format!("{text}\r")).await?;
        terminal.until(&format!("echo: {text}")).await?;
        terminal.until_it_reads().await?;
    }
    terminal.press("/quit\r").await?;
    ensure!(terminal.ended().await?.success(), "it failed: {}", terminal.text());
    let turns = fleet.server.client().tasks(&[("context_id", first.context_id.as_str())]).await?;
    ensure!(turns.len() == 3 && turns.iter().all(|task| task.session_id == first.session_id), "{} turns", turns.len());
    Ok(())
}

//! `muster chat`: a person at a terminal, and a script at a pipe.

use crate::support::{Cx, Fleet, Terminal, cases};
use anyhow::{Context, Result, ensure};
use muster_protocol::task::{Task, TaskState};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

cases! {
    [Opencode, Python] =>
        two_turns_share_a_session_and_are_remembered,
        ctrl_c_cancels_a_turn_and_the_next_one_works,
        many_lines_are_one_message,
        a_conversation_is_continued_where_it_was_left,
        a_script_gets_the_answers_and_nothing_else;
}

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";

/// `muster chat ARGS..` with a home directory of its own.
fn chat(cx: &Cx, fleet: &Fleet, args: &[&str]) -> Command {
    let mut command = fleet.server.muster([&["chat"], args].concat());
    command.env("HOME", cx.dir());
    command
}

async fn at_terminal(cx: &Cx, fleet: &Fleet, args: &[&str]) -> Result<Terminal> {
    let mut terminal = Terminal::start(&chat(cx, fleet, args), &cx.dir().join("terminal.log"))?;
    terminal.until_it_reads().await?;
    Ok(terminal)
}

/// Says something and waits for the echo and the next prompt.
async fn say(terminal: &mut Terminal, text: &str) -> Result<()> {
    terminal.press(&format!("{text}\r")).await?;
    terminal.until(&format!("echo: {text}")).await?;
    terminal.until_it_reads().await
}

/// The tasks with this in their prompt, in the order of their submit.
async fn tasks_with(fleet: &Fleet, text: &str) -> Result<Vec<Task>> {
    let mut tasks = fleet.server.client().tasks(&[("q", text)]).await?;
    tasks.sort_by_key(|task| task.created_at);
    Ok(tasks)
}

async fn two_turns_share_a_session_and_are_remembered(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let mut terminal = at_terminal(cx, fleet, &["--worker", fleet.worker()]).await?;
    say(&mut terminal, "the word is tangerine").await?;
    say(&mut terminal, "what was said of tangerine").await?;
    // What was said before comes back, and is given up again.
    terminal.press(&format!("{UP}{UP}")).await?;
    terminal.until("the word is tangerine").await?;
    terminal.press(CTRL_C).await?;
    terminal.until_it_reads().await?;
    terminal.press(CTRL_D).await?;
    terminal.until("continue with: muster chat --continue").await?;
    let status = terminal.ended().await?;
    ensure!(status.success(), "it ended with {status}: {}", terminal.text());

    let tasks = tasks_with(fleet, "tangerine").await?;
    ensure!(tasks.len() == 2, "{} tasks: {}", tasks.len(), terminal.text());
    ensure!(tasks[0].context_id == tasks[1].context_id, "{} and {}", tasks[0].context_id, tasks[1].context_id);
    ensure!(tasks[0].session_id.is_some() && tasks[0].session_id == tasks[1].session_id, "they are in two sessions");
    ensure!(terminal.text().contains(tasks[0].context_id.as_str()), "it does not name the conversation: {}", terminal.text());
    let requests = fleet.llm.requests_with("what was said of tangerine")?;
    ensure!(requests.iter().all(|request| request.says("user", "the word is tangerine")), "the first turn is forgotten");

    let history = cx.dir().join(".local/state/muster/chat-history");
    let text = fs::read_to_string(&history).with_context(|| format!("there is no {}", history.display()))?;
    ensure!(text.contains("the word is tangerine") && text.contains("what was said of tangerine"), "the history is {text:?}");
    let mode = fs::metadata(&history)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "others can read it: {mode:o}");
    Ok(())
}

async fn ctrl_c_cancels_a_turn_and_the_next_one_works(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let mut terminal = at_terminal(cx, fleet, &["--worker", fleet.worker()]).await?;
    terminal.press("!slow 602 100\r").await?;
    terminal.until("tok2 ").await?;
    terminal.press(CTRL_C).await?;
    terminal.until("canceled").await?;
    terminal.until_it_reads().await?;
    // Two at once: the second one waits for the first.
    terminal.press("and now pomegranate\rthen juice\r").await?;
    terminal.until("echo: and now pomegranate").await?;
    terminal.until("echo: then juice").await?;
    terminal.until_it_reads().await?;
    terminal.press("/quit\r").await?;
    ensure!(terminal.ended().await?.success(), "it failed: {}", terminal.text());
    let next = tasks_with(fleet, "pomegranate").await?.pop().context("the next message is no task")?;
    ensure!(next.state == TaskState::Completed, "the next turn is {}", next.state);
    let turns = fleet.server.client().tasks(&[("context_id", next.context_id.as_str())]).await?;
    let canceled = turns.iter().find(|task| task.prompt.starts_with("!slow")).context("the first turn is not in the conversation")?;
    ensure!(canceled.state == TaskState::Canceled && canceled.confirmed == Some(true), "the first turn is {}", canceled.state);
    Ok(())
}

async fn many_lines_are_one_message(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let mut terminal = at_terminal(cx, fleet, &["--worker", fleet.worker()]).await?;
    // Pasted, then Alt-Enter, then a backslash.
    terminal.press("\x1b[200~first apricot\nsecond \\\n/quit\x1b[201~\x1b\rfourth\\\rfifth größer\r").await?;
    terminal.until("echo: first apricot").await?;
    terminal.until_it_reads().await?;
    terminal.press(CTRL_C).await?;
    ensure!(terminal.ended().await?.success(), "it failed: {}", terminal.text());
    let tasks = tasks_with(fleet, "apricot").await?;
    let prompts: Vec<&str> = tasks.iter().map(|task| task.prompt.as_str()).collect();
    ensure!(prompts == ["first apricot\nsecond \\\n/quit\nfourth\nfifth größer"], "the messages are {prompts:?}");
    Ok(())
}

async fn a_conversation_is_continued_where_it_was_left(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let place = fleet.place()?;
    let mut terminal = at_terminal(cx, fleet, &["--codebase", &place.name, "--model", "fake/small"]).await?;
    say(&mut terminal, "the animal is a quokka").await?;
    terminal.press("/session\r").await?;
    terminal.until("conversation  ").await?;
    terminal.press(CTRL_D).await?;
    terminal.ended().await?;
    let first = tasks_with(fleet, "quokka").await?.pop().context("it is no task")?;
    ensure!(first.model.as_deref() == Some("fake/small"), "the model is {:?}", first.model);

    let mut terminal = at_terminal(cx, fleet, &["--continue", first.context_id.as_str()]).await?;
    ensure!(terminal.text().contains("echo: the animal is a quokka"), "what was said is not shown: {}", terminal.text());
    ensure!(terminal.text().contains(&format!("{} on {}", place.name, fleet.worker())), "the place is not told: {}", terminal.text());
    terminal.press("/nonsense\r").await?;
    terminal.until("there is no command /nonsense; there are /help").await?;
    terminal.press("which animal then\r").await?;
    terminal.until("echo: which animal then").await?;
    terminal.until_it_reads().await?;
    terminal.press(CTRL_D).await?;
    terminal.ended().await?;
    let next = tasks_with(fleet, "which animal then").await?.pop().context("it is no task")?;
    ensure!(next.session_id == first.session_id && next.codebase_id == first.codebase_id, "it went on elsewhere");
    Ok(())
}

async fn a_script_gets_the_answers_and_nothing_else(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let lines = "the metal is zinc\n\nin two \\\nlines of zinc\n!http 400\n/mode plan\nzinc at last\n";
    let output = piped(chat(cx, fleet, &["--worker", fleet.worker()]), lines).await?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // OpenCode adds a reminder to what is asked in plan mode, and the model echoes it.
    let expected = "echo: the metal is zinc\necho: in two \nlines of zinc\necho: zinc at last\n";
    ensure!(out.starts_with(expected) && !out.contains("on plan") && out.ends_with('\n'), "it wrote {out:?}, beside it {err}");
    ensure!(output.status.code() == Some(1), "it ended with {}: {err}", output.status);
    let tasks = tasks_with(fleet, "zinc").await?;
    ensure!(tasks.len() == 3 && tasks.iter().all(|task| task.context_id == tasks[0].context_id), "{} tasks", tasks.len());
    ensure!(tasks[2].mode == "plan" && tasks[1].mode == "build", "the modes are {} and {}", tasks[1].mode, tasks[2].mode);
    let history = cx.dir().join(".local/state/muster/chat-history");
    ensure!(!history.exists(), "a script is remembered");
    Ok(())
}

async fn piped(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("there is no standard input")?.write_all(input.as_bytes())?;
    Ok(tokio::task::spawn_blocking(move || child.wait_with_output()).await??)
}

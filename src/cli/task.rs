//! `muster task`: one task in full, or followed.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::follow::follow;
use super::lookup::{self, short};
use super::render::{ago, cost, count, one_line, printable, took};
use super::session::{Session, now};
use super::signal::Interrupts;
use super::style::Style;
use super::summary::changes;
use super::table::{self, Table, dim, plain};
use clap::Args;
use muster_protocol::task::{OnLost, PENDING_CODEBASE, Target, Task};
use muster_protocol::time::Timestamp;

/// Options of `muster task`.
#[derive(Debug, Args)]
#[command(after_help = "With --follow the output and the exit code are those of \"muster run\".")]
pub(crate) struct Show {
    /// The task's id, or enough of its beginning or end
    #[arg(value_name = "TASK")]
    task: String,
    /// Show all that it has said, and go on until it has ended
    #[arg(long, short)]
    follow: bool,
    /// With --follow: only the answer and errors
    #[arg(long, short, requires = "follow")]
    quiet: bool,
}

pub(crate) async fn run(args: &Show, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let task = lookup::task(session, &args.task).await?;
    if args.follow {
        session.client.task(task).await?;
        let mut interrupts = Interrupts::new().map_err(|error| Failure::Other(format!("cannot listen for Ctrl-C: {error}")))?;
        return follow(session, task, args.quiet, &mut interrupts).await;
    }
    if session.json {
        return session.show(&format!("v1/opencode/tasks/{task}"), &[], |_: Task, _| String::new()).await;
    }
    let task = session.client.task(task).await?;
    let mut text = render(&task, session.console, now());
    if task.metadata.contains_key("coordination") {
        let parent = task.id.to_string();
        let page = session.client.get_text("v1/opencode/tasks", &[("parent", &parent), ("limit", "100")]).await?;
        let parts: Vec<Task> = session.client.read(&page.text)?;
        text.push_str(&render_parts(&parts, session.console, now()));
    }
    session.console.line(&text)?;
    Ok(Exit::Done)
}

/// The tasks that are parts of a coordination.
fn render_parts(parts: &[Task], console: &Console, now: Timestamp) -> String {
    let mut table = Table::new(&["ID", "STATE", "~AGENT", "TOOK", "~RESULT"]);
    for part in parts {
        let agent = part.metadata.get("agent").and_then(serde_json::Value::as_str).unwrap_or("-");
        let end = part.completed_at.unwrap_or(now);
        let said = part.result.as_ref().or(part.error.as_ref()).map(String::as_str).unwrap_or_default();
        table.row([
            plain(short(part.id)),
            table::state(part.state.as_str()),
            plain(agent),
            dim(took(end.since(part.created_at))),
            plain(said),
        ]);
    }
    format!("\n\n{}\n{}", Style::Dim.paint("parts", console.out.is_coloured), table.render(&console.out).trim_end())
}

fn render(task: &Task, console: &Console, now: Timestamp) -> String {
    let coloured = console.out.is_coloured;
    let mut lines: Vec<String> = facts(task, now)
        .into_iter()
        .map(|(name, value)| {
            let style = if name == "state" { Style::of_word(task.state.as_str()) } else { Style::Plain };
            format!("{}  {}", Style::Dim.paint(&format!("{name:<9}"), coloured), style.paint(&printable(&value), coloured))
        })
        .collect();
    let texts = [("prompt", Some(&task.prompt)), ("result", task.result.as_ref()), ("error", task.error.as_ref())];
    for (name, text) in texts {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            lines.push(format!("\n{}\n{}", Style::Dim.paint(name, coloured), printable(text).trim_end()));
        }
    }
    lines.join("\n")
}

/// What is known of a task, each in one line; what is not, is left out.
fn facts(task: &Task, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut facts = vec![("task", task.id.to_string()), ("title", one_line(&task.title, 200)), ("state", state(task))];
    facts.push(("submitted", format!("{} by {}", ago(task.created_at, now), task.owner)));
    if let Some(start) = task.started_at {
        let end = task.completed_at;
        facts.push((if end.is_some() { "took" } else { "running" }, took(end.unwrap_or(now).since(start))));
    }
    facts.extend(target(&task.target).map(|target| ("target", target)));
    facts.extend(task.worker_id.as_ref().map(|worker| ("worker", worker.to_string())));
    facts.extend((task.codebase_id.as_str() != PENDING_CODEBASE).then(|| ("codebase", task.codebase_id.to_string())));
    facts.extend(task.metadata.get("forwarded").map(|to| ("forwarded", forwarded(to))));
    facts.push(("mode", task.mode.clone()));
    facts.extend(task.model.clone().map(|model| ("model", model)));
    let labels = task.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let needs: Vec<String> = task.capabilities.iter().cloned().chain(labels).collect();
    facts.extend((!needs.is_empty()).then(|| ("needs", needs.join(" "))));
    facts.extend((task.priority != 0).then(|| ("priority", task.priority.to_string())));
    facts.extend((task.on_lost != OnLost::default()).then(|| ("on lost", task.on_lost.as_str().to_owned())));
    facts.extend(task.not_before.map(|at| ("not before", ago(at, now))));
    facts.extend(task.deadline.map(|at| ("deadline", ago(at, now))));
    facts.push(("context", task.context_id.to_string()));
    facts.extend(task.session_id.as_ref().map(|session| ("session", session.to_string())));
    facts.extend(task.retry_of.map(|other| ("retry of", other.to_string())));
    facts.extend(task.parent_id.map(|other| ("part of", other.to_string())));
    if let Some(usage) = task.usage {
        let (input, output) = (usage.input + usage.cache_read + usage.cache_write, usage.output + usage.reasoning);
        facts.push(("usage", format!("{} tokens in, {} out, {}", count(input), count(output), cost(usage.cost))));
    }
    facts.extend(changes(&task.changes).map(|changes| ("files", changes)));
    facts
}

/// To which machine of which server, and why.
fn forwarded(to: &serde_json::Value) -> String {
    let text = |key: &str| one_line(to[key].as_str().unwrap_or("?"), 200);
    format!("to {} of {}: {}", text("agent"), text("server"), text("reason"))
}

/// The state with what is special about it.
fn state(task: &Task) -> String {
    let attempt = (task.attempt > 1).then(|| format!("attempt {} of {}", task.attempt, task.max_attempts));
    let notes = [
        attempt.as_deref(),
        task.disconnected.then_some("its worker is not heard of"),
        (task.cancel_requested && !task.state.is_terminal()).then_some("cancel requested"),
        (task.confirmed == Some(false)).then_some("not confirmed by its worker"),
        (task.verified == Some(false)).then_some("the stored output differs from what the worker sent"),
        task.error_code.as_deref(),
    ];
    let notes: Vec<&str> = notes.into_iter().flatten().collect();
    if notes.is_empty() { task.state.to_string() } else { format!("{} ({})", task.state, notes.join(", ")) }
}

fn target(target: &Target) -> Option<String> {
    let parts = [("codebase", &target.codebase), ("worker", &target.worker), ("agent", &target.agent)];
    let parts: Vec<String> = parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_deref()?))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::render;
    use crate::cli::console::{Channel, Console};
    use muster_protocol::task::Task;
    use muster_protocol::time::Timestamp;
    use serde_json::json;
    use std::io::sink;

    /// A task that ended well.
    pub(crate) fn example() -> Task {
        let at = |ms: i64| Timestamp(1_700_000_000_000 + ms);
        serde_json::from_value(json!({
            "id": "0199aaaa-0001-7000-8000-00000000beef", "codebase_id": "cb_1", "title": "Fix the tests", "prompt": "Fix the tests", "agent_type": "build",
            "mode": "build", "status": "completed", "state": "completed", "priority": 0, "created_at": at(0), "updated_at": at(9_000),
            "started_at": at(1_000), "completed_at": at(9_500), "result": "All 12 pass now.\n", "error": null, "session_id": "ses_1", "metadata": {},
            "attempt": 1, "worker_id": "w1", "context_id": "ctx-1", "target": {"codebase": "web"}, "owner": "local",
            "usage": {"input": 1_200, "output": 340, "reasoning": 60, "cost": 0.0123},
            "changes": [{"path": "src/a.rs", "change": "modified", "additions": 10, "deletions": 2}],
        }))
        .unwrap()
    }

    #[test]
    fn a_task_shows_what_is_known_of_it() {
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        insta::assert_snapshot!(render(&example(), &console, Timestamp(1_700_000_120_000)), @r"
        task       0199aaaa-0001-7000-8000-00000000beef
        title      Fix the tests
        state      completed
        submitted  2 min ago by local
        took       8.5 s
        target     codebase web
        worker     w1
        codebase   cb_1
        mode       build
        context    ctx-1
        session    ses_1
        usage      1,200 tokens in, 400 out, $0.0123
        files      1 file changed, +10 -2

        prompt
        Fix the tests

        result
        All 12 pass now.
        ");
    }

    #[test]
    fn what_is_special_about_a_state_stands_beside_it() {
        let mut task = example();
        task.state = muster_protocol::task::TaskState::Working;
        (task.attempt, task.max_attempts, task.disconnected, task.cancel_requested) = (2, 3, true, true);
        assert_eq!(super::state(&task), "working (attempt 2 of 3, its worker is not heard of, cancel requested)");
    }
}

//! `muster tasks`: the list of tasks.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::lookup::{self, short};
use super::render::{ago, took};
use super::session::{Session, now};
use super::style::Style;
use super::table::{Table, dim, plain, state};
use clap::Args;
use muster_protocol::ids::{CodebaseId, WorkerId};
use muster_protocol::task::{PENDING_CODEBASE, Task};
use muster_protocol::time::Timestamp;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// Options of `muster tasks`.
#[derive(Debug, Args)]
#[command(after_help = "People get the newest tasks first; --json gives the server's order: by priority, then the oldest first.")]
pub(crate) struct Tasks {
    /// Only those with this status: pending, running, waiting, completed, failed, cancelled
    #[arg(long, short)]
    status: Option<String>,
    /// Only those of this codebase, by name or id
    #[arg(long, short = 'C', value_name = "NAME|ID")]
    codebase: Option<String>,
    /// Only those of this worker, by name or id
    #[arg(long, short, value_name = "NAME|ID")]
    worker: Option<String>,
    /// Only those of this conversation
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Only those that have this in their id, title or prompt
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

/// Names for ids, as far as they are known.
#[derive(Default)]
struct Names {
    workers: HashMap<WorkerId, String>,
    codebases: HashMap<CodebaseId, String>,
}

pub(crate) async fn run(args: &Tasks, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (filters, worker) = filters(args, session).await?;
    let query: Vec<(&str, &str)> = filters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let is_wanted = |task: &Task| worker.is_none() || task.worker_id.as_ref().map(WorkerId::as_str) == worker.as_deref();
    if session.json {
        return print_json(session, query, args.limit, is_wanted).await;
    }
    let names = names(session).await;
    let limit = args.limit.to_string();
    let page = session.client.get_text("v1/opencode/tasks", &[&query[..], &[("order", "newest"), ("limit", &limit)]].concat()).await?;
    let mut tasks: Vec<Task> = session.client.read(&page.text)?;
    tasks.retain(is_wanted);
    let text = render(&tasks, &names, session.console, now());
    session.console.line(&text)?;
    if page.next.is_some() {
        session
            .console
            .note(Style::Dim, "There are older ones; show more with --limit, or narrow them with --status, --codebase or --worker.");
    }
    Ok(Exit::Done)
}

/// The server's filters, and the worker to look for among what they give.
async fn filters(args: &Tasks, session: &Session<'_>) -> Result<(Vec<(&'static str, String)>, Option<String>), Failure> {
    let worker = match &args.worker {
        Some(typed) => Some(lookup::worker(session, typed).await?),
        None => None,
    };
    let given = [("status", &args.status), ("context_id", &args.context), ("q", &args.text)];
    let mut query: Vec<(&str, String)> = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    if let Some(typed) = &args.codebase {
        query.push(("codebase_id", lookup::codebase(session, typed, worker.as_deref()).await?));
    }
    if args.status.as_deref() == Some("pending") {
        // Asked for together with a worker, these would be handed out to it: that is how plain workers poll.
        return Ok((query, worker));
    }
    query.extend(worker.map(|worker| ("worker_id", worker)));
    Ok((query, None))
}

/// The server's page, each task as it came.
async fn print_json(
    session: &mut Session<'_>,
    mut query: Vec<(&str, &str)>,
    limit: u32,
    is_wanted: impl Fn(&Task) -> bool,
) -> Result<Exit, Failure> {
    let limit = limit.to_string();
    query.push(("limit", &limit));
    let page = session.client.get_text("v1/opencode/tasks", &query).await?;
    let mut tasks: Vec<Box<RawValue>> = session.client.read(&page.text)?;
    tasks.retain(|task| serde_json::from_str(task.get()).is_ok_and(|task| is_wanted(&task)));
    session.print_json(&tasks)?;
    Ok(Exit::Done)
}

/// Asked for beside the tasks; where that fails the ids are shown.
async fn names(session: &Session<'_>) -> Names {
    let (workers, codebases) = tokio::join!(session.client.workers(&[]), session.client.codebases(&[]));
    Names {
        workers: workers.unwrap_or_default().into_iter().map(|worker| (worker.worker_id, worker.name)).collect(),
        codebases: codebases.unwrap_or_default().into_iter().map(|codebase| (codebase.id, codebase.name)).collect(),
    }
}

fn render(tasks: &[Task], names: &Names, console: &Console, now: Timestamp) -> String {
    if tasks.is_empty() {
        return "No such task. Give one with: muster run \"..\"".to_owned();
    }
    let mut table = Table::new(&["ID", "STATE", "~WORKER", "~CODEBASE", "SUBMITTED", "TOOK", "~TITLE"]);
    for task in tasks {
        let worker = task.worker_id.as_ref().map(|id| names.workers.get(id).map_or(id.as_str(), String::as_str));
        let codebase = names.codebases.get(&task.codebase_id).map_or(task.codebase_id.as_str(), String::as_str);
        let codebase = if codebase == PENDING_CODEBASE { "-" } else { codebase };
        let running = task.started_at.map_or(String::new(), |start| took(task.completed_at.unwrap_or(now).since(start)));
        let shown = if task.disconnected { (Style::Warn, format!("{}, lost", task.state)) } else { state(task.state.as_str()) };
        table.row([
            plain(short(task.id)),
            shown,
            plain(worker.unwrap_or("-")),
            plain(codebase),
            dim(ago(task.created_at, now)),
            dim(running),
            plain(&task.title),
        ]);
    }
    table.render(&console.out)
}

#[cfg(test)]
mod tests {
    use super::{Names, render};
    use crate::cli::console::{Channel, Console};
    use crate::cli::task::tests::example;
    use muster_protocol::task::{PENDING_CODEBASE, TaskState};
    use muster_protocol::time::Timestamp;
    use std::io::sink;

    #[test]
    fn tasks_show_names_where_they_are_known() {
        let done = example();
        let mut waiting = example();
        waiting.id = "0199aaaa-0001-7000-8000-0000000000ff".parse().unwrap();
        waiting.state = TaskState::Submitted;
        waiting.codebase_id = PENDING_CODEBASE.into();
        (waiting.worker_id, waiting.started_at, waiting.completed_at) = (None, None, None);
        let mut names = Names::default();
        names.workers.insert("w1".into(), "build-box".to_owned());
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        let now = Timestamp(done.created_at.0 + 300_000);
        insta::assert_snapshot!(render(&[waiting, done], &names, &console, now), @r"
        ID            STATE      WORKER     CODEBASE  SUBMITTED  TOOK   TITLE
        0000000000ff  submitted  -          -         5 min ago         Fix the tests
        00000000beef  completed  build-box  cb_1      5 min ago  8.5 s  Fix the tests
        ");
    }
}

//! `muster sessions` and `muster session`: the OpenCode sessions of all machines.

mod find;
mod messages;
mod one;

pub(crate) use find::{find, short};
pub(crate) use messages::transcript;
pub(crate) use one::{Show, last, run as show};

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::{ago, count};
use super::session::{Session, now};
use super::style::Style;
use super::table::{Table, dim, plain};
use clap::Args;
use muster_protocol::client::Page;
use muster_protocol::ids::{CodebaseId, WorkerId};
use muster_protocol::session::Session as OpencodeSession;
use muster_protocol::task::{SubmitTask, Target};
use muster_protocol::time::Timestamp;
use serde_json::value::RawValue;

const PATH: &str = "v1/opencode/sessions";
/// How many pages `--all` reads.
const MOST_PAGES: usize = 200;

/// Options of `muster sessions`.
#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// Only those of this worker, by name or id
    #[arg(long, short, value_name = "NAME|ID")]
    worker: Option<String>,
    /// Only those of this codebase, by name or id
    #[arg(long, short = 'C', value_name = "NAME|ID")]
    codebase: Option<String>,
    /// Only those that have this in their id, title or directory
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Also those that are a part of another one: those of subagents
    #[arg(long)]
    children: bool,
    /// At most so many, the newest first
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// All there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

pub(crate) async fn run(args: &Sessions, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let given = [("worker", &args.worker), ("codebase", &args.codebase), ("q", &args.search)];
    let mut query: Vec<(&str, &str)> = given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
    if args.children {
        query.push(("children", "true"));
    }
    let (sessions, is_all) = if args.all {
        session.pages::<Box<RawValue>>(PATH, &query, MOST_PAGES).await?
    } else {
        let limit = args.limit.to_string();
        query.push(("limit", &limit));
        let Page { text, next } = session.client.get_text(PATH, &query).await?;
        (session.client.read(&text)?, next.is_none())
    };
    if session.json {
        session.print_json(&sessions)?;
        return Ok(Exit::Done);
    }
    let sessions = sessions.iter().map(|raw| session.client.read(raw.get())).collect::<Result<Vec<OpencodeSession>, _>>()?;
    let text = render(&sessions, session.console, now());
    session.console.line(&text)?;
    if !is_all {
        session.console.note(Style::Dim, "There are older ones; show more with --limit or --all, or narrow them with --search.");
    }
    Ok(Exit::Done)
}

fn render(sessions: &[OpencodeSession], console: &Console, now: Timestamp) -> String {
    if sessions.is_empty() {
        return "No such session. Begin one with: muster chat".to_owned();
    }
    let mut table = Table::new(&["ID", "~WORKER", "~CODEBASE", "MESSAGES", "UPDATED", "~TITLE"]);
    for session in sessions {
        let report = &session.report;
        let worker = session.worker_name.as_deref().unwrap_or(session.worker_id.as_str());
        let codebase = session.codebase_name.as_deref().or(session.codebase_id.as_ref().map(CodebaseId::as_str)).unwrap_or("-");
        table.row([
            plain(short(report.id.as_str())),
            plain(worker),
            plain(codebase),
            plain(report.message_count.map_or(String::new(), count)),
            dim(report.updated.map_or(String::new(), |at| ago(at, now))),
            plain(report.title.as_deref().unwrap_or_default()),
        ]);
    }
    table.render(&console.out)
}

/// Makes a task the next turn of a session, or of a copy of it: what `POST ../sessions/{sid}/resume` does, with all that a task can ask for.
pub(crate) fn resume(session: &OpencodeSession, fork: bool, request: &mut SubmitTask) {
    request.target = Some(match &session.codebase_id {
        Some(codebase) => Target { codebase: Some(codebase.to_string()), ..Target::default() },
        None => Target { worker: Some(session.worker_id.to_string()), ..Target::default() },
    });
    (request.resume_session_id, request.fork) = (Some(session.report.id.clone()), fork);
}

/// The machine of a session, for people.
pub(crate) fn machine(session: &OpencodeSession) -> &str {
    session.worker_name.as_deref().unwrap_or_else(|| WorkerId::as_str(&session.worker_id))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::render;
    use crate::cli::console::{Channel, Console};
    use muster_protocol::session::Session;
    use muster_protocol::time::Timestamp;
    use serde_json::json;
    use std::io::sink;

    pub(crate) fn example(id: &str) -> Session {
        serde_json::from_value(json!({
            "id": id, "title": "Fix the tests", "directory": "/srv/web", "updated": Timestamp(1_700_000_000_000), "messageCount": 12,
            "worker_id": "w1", "worker_name": "build-box", "codebase_id": "cb_1", "codebase_name": "web", "context_id": "ctx-1",
        }))
        .unwrap()
    }

    #[test]
    fn sessions_show_where_they_are_and_the_end_of_their_id() {
        let mut bare = example("ses_2b");
        (bare.worker_name, bare.codebase_name, bare.codebase_id) = (None, None, None);
        (bare.report.title, bare.report.message_count, bare.report.updated) = (None, None, None);
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        let sessions = [example("ses_54e1aabbccddeeffGHIJKLMN"), bare];
        insta::assert_snapshot!(render(&sessions, &console, Timestamp(1_700_000_180_000)), @r"
        ID            WORKER     CODEBASE  MESSAGES  UPDATED    TITLE
        eeffGHIJKLMN  build-box  web       12        3 min ago  Fix the tests
        ses_2b        w1         -
        ");
    }
}

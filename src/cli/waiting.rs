//! `muster waiting`, `approve`, `deny` and `answer`: what running tasks ask people.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::{ago, printable};
use super::session::{Session, now};
use super::style::Style;
use super::table::{Table, dim, plain};
use clap::Args;
use muster_protocol::ids::InteractionId;
use muster_protocol::interaction::{Interaction, QUESTION, Reply, ReplyInteraction};
use muster_protocol::time::Timestamp;

const PATH: &str = "v1/interactions";
const OPEN: &[(&str, &str)] = &[("state", "open")];
/// The fewest characters by which an interaction is looked for.
const SHORTEST: usize = 4;

/// Options of `muster waiting`.
#[derive(Debug, Args)]
pub(crate) struct Waiting {}

/// Options of `muster approve`.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The request, as "muster waiting" shows it: its id, or enough of its beginning or end
    #[arg(value_name = "REQUEST")]
    id: String,
    /// Also whatever OpenCode counts as the same, until its server ends
    #[arg(long)]
    always: bool,
}

/// Options of `muster deny`.
#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// The request or question, as "muster waiting" shows it
    #[arg(value_name = "REQUEST")]
    id: String,
    /// What the model is told, for example what to do instead
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
}

/// Options of `muster answer`.
#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// The question, as "muster waiting" shows it
    #[arg(value_name = "QUESTION")]
    id: String,
    /// The answer: one of the labels, or words of your own; one for each part of the question
    #[arg(value_name = "ANSWER", required = true)]
    answers: Vec<String>,
}

pub(crate) async fn list(_args: &Waiting, session: &mut Session<'_>) -> Result<Exit, Failure> {
    session.show(PATH, OPEN, |open: Vec<Interaction>, console| render(&open, console, now())).await
}

pub(crate) async fn approve(args: &Approve, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let reply = Some(if args.always { Reply::Always } else { Reply::Once });
    send(&args.id, ReplyInteraction { reply, ..ReplyInteraction::default() }, session).await
}

pub(crate) async fn deny(args: &Deny, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let reply = ReplyInteraction { reply: Some(Reply::Reject), message: args.message.clone(), ..ReplyInteraction::default() };
    send(&args.id, reply, session).await
}

pub(crate) async fn answer(args: &Answer, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let answers = args.answers.iter().map(|answer| vec![answer.clone()]).collect();
    send(&args.id, ReplyInteraction { answers, ..ReplyInteraction::default() }, session).await
}

async fn send(typed: &str, reply: ReplyInteraction, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let id = match typed.parse() {
        Ok(id) => id,
        Err(_) => find(typed, &session.client.interactions(OPEN).await?)?,
    };
    let replied = session.client.reply(id, &reply).await?;
    if session.json {
        session.print_json(&replied.interaction)?;
    } else {
        session.console.line(&printable(&format!("{}: {}", replied.interaction.title, replied.message)))?;
    }
    Ok(Exit::Done)
}

/// The short form of an id in tables: its last group; the beginning is the time.
fn short(id: InteractionId) -> String {
    let id = id.to_string();
    id.rsplit_once('-').map_or(id.clone(), |(_, last)| last.to_owned())
}

fn find(typed: &str, open: &[Interaction]) -> Result<InteractionId, Failure> {
    let typed = typed.to_ascii_lowercase();
    let is_meant = |id: &InteractionId| {
        let whole = id.to_string();
        typed.len() >= SHORTEST && (whole.starts_with(&typed) || whole.ends_with(&typed) || short(*id).starts_with(&typed))
    };
    let mut matching = open.iter().map(|interaction| interaction.id).filter(is_meant);
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Failure::NotFound(format!("nothing that waits is called `{typed}`; see \"muster waiting\""))),
        (Some(one), Some(other)) => Err(Failure::NotFound(format!("`{typed}` is not enough to tell {one} and {other} apart"))),
    }
}

fn render(open: &[Interaction], console: &Console, now: Timestamp) -> String {
    if open.is_empty() {
        return "Nothing waits for an answer.".to_owned();
    }
    let mut table = Table::new(&["ID", "~MACHINE", "~DIRECTORY", "~ASKS", "~TASK", "ASKED", "UNTIL"]);
    for one in open {
        let machine = one.worker_name.as_deref().unwrap_or(one.worker_id.as_str());
        table.row([
            plain(short(one.id)),
            plain(machine),
            plain(one.directory.as_deref().unwrap_or("")),
            (Style::Warn, format!("{}: {}", one.kind, one.title)),
            plain(&one.task_title),
            dim(ago(one.created_at, now)),
            dim(one.deadline.map_or(String::new(), |deadline| left(deadline, now))),
        ]);
    }
    let example = open.first().map_or("", |one| if one.kind == QUESTION { "muster answer ID ANSWER" } else { "muster approve ID" });
    format!("{}\n{example}, or muster deny ID", table.render(&console.out))
}

/// How long there is.
fn left(deadline: Timestamp, now: Timestamp) -> String {
    match deadline.since(now) / 1_000 {
        0 => "now".to_owned(),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{find, render};
    use crate::cli::console::{Channel, Console};
    use muster_protocol::interaction::Interaction;
    use muster_protocol::time::Timestamp;
    use serde_json::json;
    use std::io::sink;

    fn asked(id: &str) -> Interaction {
        serde_json::from_value(json!({
            "id": id, "task_id": "018f0000-0000-7000-8000-000000000002", "task_title": "clean up", "attempt": 1, "worker_id": "w",
            "worker_name": "laptop", "kind": "permission", "state": "open", "title": "bash: rm -rf build", "directory": "/home/ada/app",
            "request": {"command": "rm -rf build"}, "created_at": 1_700_000_000_000_i64, "deadline": 1_700_000_300_000_i64
        }))
        .unwrap()
    }

    #[test]
    fn what_waits_is_shown_with_machine_directory_and_the_time_left() {
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        let open = [asked("0199aaaa-0001-7000-8000-00000000beef")];
        insta::assert_snapshot!(render(&open, &console, Timestamp(1_700_000_060_000)), @r"
        ID            MACHINE  DIRECTORY      ASKS                            TASK      ASKED      UNTIL
        00000000beef  laptop   /home/ada/app  permission: bash: rm -rf build  clean up  1 min ago  4 min
        muster approve ID, or muster deny ID
        ");
        assert_eq!(render(&[], &console, Timestamp(0)), "Nothing waits for an answer.");
    }

    #[test]
    fn a_request_is_found_by_a_part_of_its_id_if_that_is_clear() {
        let open = [asked("0199aaaa-0001-7000-8000-00000000beef"), asked("0199aaaa-0002-7000-8000-00000000cafe")];
        assert_eq!(find("beef", &open).unwrap(), open[0].id);
        assert!(find("0199aaaa", &open).unwrap_err().message().unwrap().contains("not enough"));
        assert!(find("dead", &open).unwrap_err().message().unwrap().contains("muster waiting"));
        assert!(find("ef", &open).is_err());
    }
}

//! `muster session`: one session and its last messages.

use super::{find, machine, transcript};
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{ago, count, one_line};
use crate::cli::session::{Session, now};
use crate::cli::style::Style;
use clap::Args;
use muster_protocol::session::{MessageList, Session as OpencodeSession};
use muster_protocol::time::Timestamp;
use serde_json::json;

const HELP: &str = "\
Go on with it: muster run --session ID \"..\", or muster chat --session ID; with --fork in a copy of it.";

/// Options of `muster session`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Show {
    /// The session's id, or enough of its beginning or end
    #[arg(value_name = "SESSION")]
    id: String,
    /// How many of its last messages are shown
    #[arg(long, short = 'm', default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    messages: u32,
}

pub(crate) async fn run(args: &Show, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let found = find(session, &args.id).await?;
    let messages = last(session, &found, args.messages).await?;
    if session.json {
        let messages = messages.map(|list| list.messages).unwrap_or_default();
        session.print_json(&json!({ "session": found, "messages": messages }))?;
        return Ok(Exit::Done);
    }
    let coloured = session.console.out.is_coloured;
    let mut text = head(&found, now(), coloured);
    let messages = messages.map(|list| transcript(&list.messages, coloured)).unwrap_or_default();
    if !messages.is_empty() {
        text = format!("{text}\n\n{messages}");
    }
    session.console.line(&text)?;
    session.console.note(Style::Dim, &format!("\ncontinue with: {} chat --session {}", session.program, found.report.id));
    Ok(Exit::Done)
}

/// The last messages; none of a session that belongs to no codebase.
pub(crate) async fn last(session: &Session<'_>, of: &OpencodeSession, most: u32) -> Result<Option<MessageList>, Failure> {
    match &of.codebase_id {
        Some(codebase) if most > 0 => Ok(Some(session.client.session_messages(codebase, &of.report.id, most).await?)),
        _ => Ok(None),
    }
}

fn head(session: &OpencodeSession, now: Timestamp, coloured: bool) -> String {
    let report = &session.report;
    let codebase = session.codebase_name.clone().or(session.codebase_id.as_ref().map(ToString::to_string));
    let facts = [
        ("session", Some(report.id.to_string())),
        ("title", report.title.clone()),
        ("machine", Some(machine(session).to_owned())),
        ("codebase", codebase),
        ("directory", report.directory.clone()),
        ("created", report.created.map(|at| ago(at, now))),
        ("updated", report.updated.map(|at| ago(at, now))),
        ("messages", report.message_count.map(count)),
        ("part of", report.parent_id.as_ref().map(ToString::to_string)),
        ("context", session.context_id.as_ref().map(ToString::to_string)),
    ];
    let known = facts.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)));
    let lines = known.map(|(name, value)| format!("{}  {}", Style::Dim.paint(&format!("{name:<9}"), coloured), one_line(&value, 200)));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::head;
    use crate::cli::sessions::tests::example;
    use muster_protocol::time::Timestamp;

    #[test]
    fn a_session_shows_what_is_known_of_it() {
        insta::assert_snapshot!(head(&example("ses_1"), Timestamp(1_700_000_180_000), false), @r"
        session    ses_1
        title      Fix the tests
        machine    build-box
        codebase   web
        directory  /srv/web
        updated    3 min ago
        messages   12
        context    ctx-1
        ");
    }
}

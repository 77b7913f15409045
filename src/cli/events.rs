//! `muster events`: the server's event log.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::reader::Reader;
use super::render::{ago, one_line};
use super::session::{Session, now};
use super::style::Style;
use super::table::{Table, dim, plain};
use clap::Args;
use futures_util::StreamExt;
use muster_protocol::client::Incoming;
use muster_protocol::event::Event;
use muster_protocol::time::Timestamp;

/// How many of the newest events are shown if nothing else is asked for.
const NEWEST: u64 = 30;

/// Options of `muster events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Go on with what happens after these, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Only those of this type, such as task.completed
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only those after this place in the log; without it the newest are shown
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// At most so many at once
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: Option<u32>,
}

pub(crate) async fn run(args: &Events, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let after = match args.after {
        Some(after) => after,
        // Asked first, so that a server that is not there is told at once also where it would be waited for.
        None => session.client.status().await?.events.saturating_sub(args.limit.map_or(NEWEST, u64::from)),
    };
    let kind: Vec<(&str, &str)> = args.kind.iter().map(|kind| ("type", kind.as_str())).collect();
    if args.follow {
        return follow(session, &kind, after).await;
    }
    let (after, limit) = (after.to_string(), args.limit.unwrap_or(500).to_string());
    let query = [kind, vec![("after", after.as_str()), ("limit", limit.as_str())]].concat();
    session.show("v1/events", &query, |events: Vec<Event>, console| render(&events, console, now())).await
}

fn render(events: &[Event], console: &Console, now: Timestamp) -> String {
    if events.is_empty() {
        return "No such event.".to_owned();
    }
    let mut table = Table::new(&["N", "WHEN", "TYPE", "~SUBJECT", "~DATA"]);
    for event in events {
        let (kind, style) = (&event.kind, style(&event.kind));
        let data = event.data.to_string();
        table.row([dim(event.sequence.to_string()), dim(ago(event.time, now)), (style, kind.clone()), plain(&event.subject), dim(data)]);
    }
    table.render(&console.out)
}

fn style(kind: &str) -> Style {
    Style::of_word(kind.rsplit_once('.').map_or(kind, |(_, word)| word))
}

async fn follow(session: &mut Session<'_>, query: &[(&str, &str)], after: u64) -> Result<Exit, Failure> {
    let mut stream = session.client.follow_events(query, Some(after)).into_stream();
    let reader = Reader::of(session.console);
    let mut is_lost = false;
    loop {
        let incoming = tokio::select! {
            incoming = stream.next() => incoming,
            () = reader.gone() => return Err(Reader::failure()),
        };
        let message = match incoming {
            Some(Incoming::Message(message)) => message,
            Some(Incoming::Lost(error)) => {
                if !std::mem::replace(&mut is_lost, true) {
                    session.console.note(Style::Warn, &format!("! {error}; connecting again"));
                }
                continue;
            }
            Some(Incoming::Refused(error)) => return Err(error.into()),
            None => return Ok(Exit::Done),
        };
        if std::mem::take(&mut is_lost) {
            session.console.note(Style::Dim, "· connected again");
        }
        if session.json {
            session.console.line(&message.data)?;
        } else if let Ok(event) = serde_json::from_str::<Event>(&message.data) {
            let line = line(&event, session.console.out.is_coloured, session.console.out.width);
            session.console.line(&line)?;
        }
    }
}

/// One event as it happens; the time of day is UTC.
fn line(event: &Event, coloured: bool, width: Option<u16>) -> String {
    let time = event.time.to_string();
    let time = time.get(11..19).unwrap_or(&time);
    let kind = style(&event.kind).paint(&format!("{:<22}", one_line(&event.kind, 40)), coloured);
    let head = format!("{time}Z {:>6} ", event.sequence);
    let rest = format!("{} {}", event.subject, event.data);
    let room = width.map_or(400, |width| usize::from(width).saturating_sub(head.len() + 24));
    format!("{}{kind} {}", Style::Dim.paint(&head, coloured), one_line(&rest, room.max(20)))
}

#[cfg(test)]
mod tests {
    use super::{line, render};
    use crate::cli::console::{Channel, Console};
    use muster_protocol::event::Event;
    use muster_protocol::time::Timestamp;
    use serde_json::json;
    use std::io::sink;

    fn event() -> Event {
        let id = "0199aaaa-0001-7000-8000-000000000001";
        serde_json::from_value(json!({
            "specversion": "1.0", "id": id, "source": format!("/servers/{id}"), "type": "task.completed", "subject": "tasks/0199aaaa",
            "time": Timestamp(1_700_000_000_000), "datacontenttype": "application/json", "data": {"worker": "build-box"}, "sequence": 42, "origin": id, "epoch": "e",
        }))
        .unwrap()
    }

    #[test]
    fn a_page_of_events_is_a_table() {
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        insta::assert_snapshot!(render(&[event()], &console, Timestamp(1_700_000_180_000)), @r#"
        N   WHEN       TYPE            SUBJECT         DATA
        42  3 min ago  task.completed  tasks/0199aaaa  {"worker":"build-box"}
        "#);
    }

    #[test]
    fn an_event_that_happens_is_a_line_with_the_time_of_day() {
        insta::assert_snapshot!(line(&event(), false, None), @r#"22:13:20Z     42 task.completed         tasks/0199aaaa {"worker":"build-box"}"#);
        assert!(line(&event(), false, Some(50)).chars().count() <= 60);
    }
}

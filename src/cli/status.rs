//! `muster status`: the server at a glance.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::{count, printable, span};
use super::session::Session;
use super::style::Style;
use clap::Args;
use muster_protocol::status::ServerStatus;
use std::collections::BTreeMap;

/// Options of `muster status`.
#[derive(Debug, Args)]
pub(crate) struct Status {}

pub(crate) async fn run(_args: &Status, session: &mut Session<'_>) -> Result<Exit, Failure> {
    session.show("v1/opencode/status", &[], |status: ServerStatus, console| render(&status, console)).await
}

fn render(status: &ServerStatus, console: &Console) -> String {
    let coloured = console.out.is_coloured;
    let style = if status.available { Style::Good } else { Style::Warn };
    let facts = [
        ("server", format!("{} {} ({})", status.name, status.version, status.server_id)),
        ("database", status.database.clone()),
        ("up for", span(status.uptime_s.saturating_mul(1_000))),
        ("workers", tally(&status.workers)),
        ("codebases", count(status.codebases)),
        ("models", count(status.models)),
        ("tasks", tally(&status.tasks)),
        ("peers", tally(&status.peers)),
        ("events", count(status.events)),
    ];
    let mut lines = vec![style.paint(&printable(&status.message), coloured)];
    lines.extend(facts.map(|(name, value)| format!("{}  {}", Style::Dim.paint(&format!("{name:<9}"), coloured), printable(&value))));
    lines.join("\n")
}

fn tally(numbers: &BTreeMap<String, u64>) -> String {
    let some: Vec<String> = numbers.iter().filter(|(_, n)| **n > 0).map(|(word, n)| format!("{} {word}", count(*n))).collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::console::{Channel, Console};
    use serde_json::json;
    use std::io::sink;

    #[test]
    fn the_server_at_a_glance() {
        let status = json!({
            "available": true, "message": "1 worker is ready.", "name": "Server-A", "server_id": "0199aaaa-0001-7000-8000-000000000001", "version": "0.1.0",
            "database": "sqlite", "workers": {"active": 1, "stale": 0}, "codebases": 3, "models": 12, "tasks": {"completed": 1_234, "running": 2},
            "peers": {"up": 2, "down": 1}, "events": 5_678, "uptime_s": 7_300,
        });
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        insta::assert_snapshot!(render(&serde_json::from_value(status).unwrap(), &console), @r"
        1 worker is ready.
        server     Server-A 0.1.0 (0199aaaa-0001-7000-8000-000000000001)
        database   sqlite
        up for     2 h
        workers    1 active
        codebases  3
        models     12
        tasks      1,234 completed, 2 running
        peers      1 down, 2 up
        events     5,678
        ");
    }
}

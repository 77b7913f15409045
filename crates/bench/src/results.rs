//! The table: which rows there are, what was measured, and how it compares.

use crate::machine::Machine;
use crate::stats::Reading;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Its name in the results.
    pub(crate) id: &'static str,
    /// What is measured, for people.
    pub(crate) label: &'static str,
    /// The unit of its numbers.
    pub(crate) unit: &'static str,
    /// What it should reach.
    pub(crate) target: Option<Target>,
}

/// What a row should reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// So much, or more.
    AtLeast(f64),
    /// So much, or less.
    AtMost(f64),
}

use Target::{AtLeast, AtMost};

const fn row(id: &'static str, label: &'static str, unit: &'static str, target: Option<Target>) -> Row {
    Row { id, label, unit, target }
}

/// All rows. What is before the dot of an id is the measure that fills it.
pub(crate) const ROWS: [Row; 43] = [
    row("lives.rate", "whole task lives at 64 clients (create, claim, ten entries in one request, finish)", "/s", Some(AtLeast(2_000.0))),
    row("creates.rate", "durable creates at 64 clients", "/s", Some(AtLeast(8_000.0))),
    row("registrations.new", "registrations of new workers at 64 clients, 10 models each", "/s", Some(AtLeast(4_000.0))),
    row("registrations.same", "the same workers again, unchanged", "/s", None),
    row("held.p50", "create -> held by a waiting worker, 100 tasks/s, p50", "ms", Some(AtMost(1.5))),
    row("held.p99", "the same, p99", "ms", Some(AtMost(8.0))),
    row("list.p50", "`GET workers?model=` among 10,000, p50", "ms", Some(AtMost(5.0))),
    row("list.p99", "the same, p99", "ms", None),
    row("viewer.p50", "entry written by the worker -> seen by a viewer, 50 entries/s, p50", "ms", None),
    row("viewer.p99", "the same, p99", "ms", Some(AtMost(10.0))),
    row("bytes.rate", "entries of 64 KiB through one server, written and seen", "MB/s", Some(AtLeast(20.0))),
    row("token.over", "prompt -> first token, over the bare warm OpenCode, p50", "ms", Some(AtMost(10.0))),
    row("token.over95", "the same, p95 over p95", "ms", None),
    row("token.ours", "prompt -> first token through Muster, p50", "ms", None),
    row("freshness.branch", "another branch on a machine -> in the registry, p50", "ms", None),
    row("freshness.branch_max", "the same, the longest", "ms", Some(AtMost(10_000.0))),
    row("freshness.files", "work tree changed, or clean again -> in the registry, p50", "ms", None),
    row("freshness.files_max", "the same, the longest", "ms", Some(AtMost(10_000.0))),
    row("freshness.codebase", "codebase added to worker.toml -> in the registry, p50", "ms", None),
    row("freshness.codebase_max", "the same, the longest", "ms", Some(AtMost(10_000.0))),
    row("freshness.model", "model added to OpenCode's configuration -> in the registry, p50", "ms", None),
    row("freshness.model_max", "the same, the longest", "ms", Some(AtMost(10_000.0))),
    row("sends.one", "A2A: `SendMessage` answered by an agent of the server, durable, 1 client", "/s", None),
    row("sends.sixteen", "the same, 16 clients", "/s", None),
    row("sends.rate", "the same, 64 clients", "/s", Some(AtLeast(5_000.0))),
    row("subscribers.p50", "A2A: entry written by the worker -> seen by each of 200 subscribers, 20 entries/s, p50", "ms", None),
    row("subscribers.p99", "the same, p99", "ms", Some(AtMost(10.0))),
    row("tasks.p50", "A2A: `ListTasks`, first page of 100,000 tasks, p50", "ms", Some(AtMost(5.0))),
    row("tasks.p99", "the same, p99", "ms", None),
    row("events.p50", "event of one server -> in the log of another, 500/s, p50", "ms", Some(AtMost(5.0))),
    row("events.p99", "the same, p99", "ms", Some(AtMost(50.0))),
    row("catchup.rate", "events that a server missed, caught up", "/s", Some(AtLeast(20_000.0))),
    row("coordination.p50", "a coordination over three servers, six worker agents that answer themselves, p50", "ms", Some(AtMost(15.0))),
    row("coordination.p99", "the same, p99", "ms", None),
    row("idlenet.cores", "20 servers, all connected and idle, together", "% of a core", Some(AtMost(10.0))),
    row("memory.idle", "memory, idle", "MB", Some(AtMost(25.0))),
    row("memory.at1000", "memory per waiting worker, 1,000 wait", "KB", Some(AtMost(25.0))),
    row("memory.at5000", "memory per waiting worker, 5,000 wait", "KB", Some(AtMost(25.0))),
    row("startup.empty", "start-up to first answer, new database", "ms", Some(AtMost(100.0))),
    row("startup.full", "start-up to first answer, 100,000 tasks", "ms", Some(AtMost(100.0))),
    row("raw.fsync", "the disk: fdatasync of 4 KiB", "/s", None),
    row("raw.http", "bare axum handler at 64 clients", "/s", None),
    row("raw.trip", "bare axum handler, one after the other, p50", "ms", None),
];

/// What one run measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// When it began.
    pub(crate) date: String,
    /// The options of the run.
    pub(crate) options: String,
    /// What it ran on.
    pub(crate) machine: Machine,
    /// By row, then by column: `sqlite`, `postgres`, or what the raw limit is.
    pub(crate) readings: BTreeMap<String, BTreeMap<String, Reading>>,
    /// Measures that broke, and how.
    pub(crate) broken: Vec<String>,
}

const COLUMNS: [&str; 2] = ["sqlite", "postgres"];

impl Run {
    /// Keeps a number.
    pub(crate) fn put(&mut self, row: &str, column: &str, reading: Reading) {
        self.readings.entry(row.to_owned()).or_default().insert(column.to_owned(), reading);
    }

    /// Reads an earlier run.
    ///
    /// # Errors
    /// If the file is none.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no result of a run", path.display()))
    }

    /// Whether every operation of every measure succeeded.
    ///
    /// # Errors
    /// Names what did not.
    pub(crate) fn check(&self) -> Result<()> {
        let readings = self.readings.iter().flat_map(|(row, columns)| columns.iter().map(move |(column, reading)| (row, column, reading)));
        let failed = readings.filter(|(_, _, reading)| reading.errors > 0).map(|(row, column, reading)| {
            format!("{row} ({column}): {} errors, the first: {}", reading.errors, reading.first_error.as_deref().unwrap_or("?"))
        });
        let all: Vec<_> = failed.chain(self.broken.iter().cloned()).collect();
        if all.is_empty() { Ok(()) } else { bail!("not valid:\n  {}", all.join("\n  ")) }
    }

    /// The table as Markdown, under the facts of the machine.
    #[must_use]
    pub(crate) fn table(&self, earlier: Option<&Self>) -> String {
        let mut text = format!("Run of {}, {}\n\n", self.date, self.options);
        for (name, value) in &self.machine.0 {
            let _ = writeln!(text, "- {name}: {value}");
        }
        let change = if earlier.is_some() { " SQLite before | PostgreSQL before |" } else { "" };
        let line = if earlier.is_some() { " ---: | ---: |" } else { "" };
        let _ = writeln!(text, "\n| measure | target | SQLite | PostgreSQL | raw limit in the same run | met |{change}");
        let _ = writeln!(text, "| --- | ---: | ---: | ---: | --- | --- |{line}");
        for row in ROWS {
            let Some(columns) = self.readings.get(row.id) else { continue };
            let target = row.target.map_or_else(String::new, |target| target.text(row.unit));
            let own = COLUMNS.map(|column| columns.get(column));
            let cells = own.map(|reading| reading.map_or_else(|| "-".to_owned(), |reading| shown(reading, row.unit)));
            let raw = columns.iter().filter(|(name, _)| !COLUMNS.contains(&name.as_str()));
            let raw: Vec<_> = raw.map(|(what, reading)| format!("{what}: {}", shown(reading, row.unit))).collect();
            let met = row.target.map_or_else(String::new, |target| target.verdict(own));
            let _ = write!(text, "| {} | {target} | {} | {} | {} | {met} |", row.label, cells[0], cells[1], raw.join("; "));
            if let Some(earlier) = earlier {
                let before = earlier.readings.get(row.id);
                for (column, now) in COLUMNS.iter().zip(own) {
                    let _ = write!(text, " {} |", changed(before.and_then(|columns| columns.get(*column)), now, row.unit));
                }
            }
            text.push('\n');
        }
        text
    }
}

impl Target {
    fn text(self, unit: &str) -> String {
        match self {
            AtLeast(value) => format!(">= {}", number(value, unit)),
            AtMost(value) => format!("<= {}", number(value, unit)),
        }
    }

    fn is_met(self, reading: &Reading) -> bool {
        reading.errors == 0
            && match self {
                AtLeast(value) => reading.value >= value,
                AtMost(value) => reading.value <= value,
            }
    }

    fn verdict(self, own: [Option<&Reading>; 2]) -> String {
        let words: Vec<_> = own.into_iter().flatten().map(|reading| if self.is_met(reading) { "yes" } else { "**no**" }).collect();
        words.join(" / ")
    }
}

fn shown(reading: &Reading, unit: &str) -> String {
    if reading.errors > 0 {
        return format!("INVALID ({} errors)", reading.errors);
    }
    let value = number(reading.value, unit);
    match (reading.low, reading.high) {
        (Some(low), Some(high)) => format!("{value} ({}-{})", digits(low), digits(high)),
        _ => value,
    }
}

fn changed(before: Option<&Reading>, now: Option<&Reading>, unit: &str) -> String {
    match (before, now) {
        (Some(before), Some(now)) if before.value > 0.0 => {
            format!("{} ({:+.0} %)", number(before.value, unit), (now.value / before.value - 1.0) * 100.0)
        }
        (Some(before), _) => number(before.value, unit),
        (None, _) => "-".to_owned(),
    }
}

fn number(value: f64, unit: &str) -> String {
    match unit {
        "/s" => format!("{}/s", digits(value)),
        unit => format!("{} {unit}", digits(value)),
    }
}

/// Three digits that matter, thousands parted.
fn digits(value: f64) -> String {
    let size = value.abs();
    if size < 10.0 {
        return format!("{value:.2}");
    }
    if size < 100.0 {
        return format!("{value:.1}");
    }
    let whole = format!("{size:.0}");
    let mut parted = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            parted.push(',');
        }
        parted.push(digit);
    }
    parted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_what_matters() {
        assert_eq!([1.234, 45.67, 1_234.5, 1_234_567.0, -2_000.0].map(digits), ["1.23", "45.7", "1,234", "1,234,567", "-2,000"]);
    }

    #[test]
    fn a_run_with_an_error_is_not_valid_and_says_so_in_its_table() {
        let mut run = Run::default();
        run.put("creates.rate", "sqlite", Reading { errors: 3, first_error: Some("answered 503".into()), ..Reading::single(9_000.0) });
        assert!(run.table(None).contains("INVALID (3 errors)"), "{}", run.table(None));
        let error = run.check().unwrap_err().to_string();
        assert!(error.contains("creates.rate (sqlite): 3 errors, the first: answered 503"), "{error}");
    }

    #[test]
    fn a_run_is_compared_with_an_earlier_one() {
        let (mut before, mut now) = (Run::default(), Run::default());
        before.put("creates.rate", "sqlite", Reading::single(2_000.0));
        now.put("creates.rate", "sqlite", Reading::single(3_000.0));
        let table = now.table(Some(&before));
        assert!(table.contains("2,000/s (+50 %)"), "{table}");
    }
}

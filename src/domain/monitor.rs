//! The event log as the earlier system's monitor told it: an event becomes a message, and messages are counted.

use muster_protocol::event::{Event, kind};
use muster_protocol::monitor::MonitorMessage;
use muster_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The types of messages, by the kinds of events. What is in none is of the type `system`.
const HUMAN: [&str; 4] = [kind::TASK_SUBMITTED, kind::TASK_CANCEL_REQUESTED, kind::MESSAGE_RECEIVED, kind::AGENT_INTERVENTION];
const AGENT: [&str; 5] =
    [kind::TASK_STARTED, kind::TASK_COMPLETED, kind::TASK_FAILED, kind::COORDINATION_STARTED, kind::COORDINATION_COMPLETE];
/// The kinds of events that tell of an error.
const ERRORS: [&str; 2] = [kind::TASK_FAILED, kind::TASK_OUTPUT_DIFFERS];
/// Over how many tasks the time is averaged.
const AVERAGED: usize = 100;

/// Which kinds of events are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds {
    /// These; all if there are none.
    pub kinds: Vec<&'static str>,
    /// All but these.
    pub excluded: bool,
}

impl Kinds {
    /// The kinds of events whose messages have a type. The log has none of the types `tool` and `error`, nor of a word that is no type.
    #[must_use]
    pub fn of_type(word: &str) -> Self {
        match word {
            "human" => Self { kinds: HUMAN.to_vec(), excluded: false },
            "agent" => Self { kinds: AGENT.to_vec(), excluded: false },
            "system" => Self { kinds: HUMAN.into_iter().chain(AGENT).collect(), excluded: true },
            _ => Self { kinds: vec![""], excluded: false },
        }
    }

    /// Whether events of a kind are among them.
    #[must_use]
    pub fn contain(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind) != self.excluded
    }

    /// Those of `all` that are among them; `None` if every kind is.
    pub fn among<'a>(&self, all: impl IntoIterator<Item = &'a String>) -> Option<Vec<String>> {
        (!self.kinds.is_empty()).then(|| all.into_iter().filter(|kind| self.contain(kind)).cloned().collect())
    }
}

fn type_of(kind: &str) -> &'static str {
    match kind {
        kind if HUMAN.contains(&kind) => "human",
        kind if AGENT.contains(&kind) => "agent",
        _ => "system",
    }
}

/// An event as a message. `server` is this server's name, `worker` the name of the worker that the event is about.
#[must_use]
pub fn message(event: &Event, server: &str, worker: Option<&str>) -> MonitorMessage {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str);
    let error = text("error").filter(|_| ERRORS.contains(&event.kind.as_str()));
    let agent_name = match event.kind.as_str() {
        kind::AGENT_INTERVENTION => "Human Operator",
        kind::TASK_SUBMITTED | kind::TASK_CANCEL_REQUESTED => "User",
        _ => text("agent").or(worker).unwrap_or(server),
    };
    MonitorMessage {
        id: event.id.to_string(),
        timestamp: event.time,
        kind: type_of(&event.kind).to_owned(),
        agent_name: agent_name.to_owned(),
        content: sentence(event, worker),
        metadata: metadata(event),
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a task")]
        response_time: took(event).map(|ms| ms as f64),
        tokens: tokens(event),
        error: error
            .or_else(|| (event.kind == kind::TASK_OUTPUT_DIFFERS).then_some("the stored output is not what was sent"))
            .map(str::to_owned),
    }
}

fn sentence(event: &Event, worker: Option<&str>) -> String {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str);
    let (of, id) = event.subject.split_once('/').unwrap_or(("", &event.subject));
    let task = text("title").map_or_else(|| format!("Task {id}"), |title| format!("Task '{title}'"));
    let by = worker.map(|worker| format!(" by {worker}")).unwrap_or_default();
    let on = worker.map(|worker| format!(" on {worker}")).unwrap_or_default();
    match event.kind.as_str() {
        kind::TASK_SUBMITTED => format!("{task} submitted"),
        kind::TASK_ASSIGNED => format!("{task} taken{by}"),
        kind::TASK_STARTED => format!("{task} started{on}"),
        kind::TASK_COMPLETED => format!("{task} completed{on}"),
        kind::TASK_FAILED => format!("{task} failed{on}: {}", text("error").unwrap_or("no reason was given")),
        kind::TASK_CANCELED => format!("{task} canceled"),
        kind::TASK_CANCEL_REQUESTED => format!("{task} is to be canceled"),
        kind::TASK_REQUEUED => format!("{task} waits again: its attempt{on} was {}", text("outcome").unwrap_or("lost").replace('_', " ")),
        kind::MESSAGE_RECEIVED => format!("A message to {id}"),
        kind::COORDINATION_STARTED => format!("Coordination of {task} started: {} parts", parts(event)),
        kind::COORDINATION_COMPLETE => format!("Coordination of {task} {}: {} parts", text("state").unwrap_or("ended"), parts(event)),
        kind::AGENT_INTERVENTION => format!("Intervention to {}: {}", text("agent").unwrap_or(id), text("text").unwrap_or_default()),
        kind => {
            let what = match of {
                "tasks" => task,
                "workers" => format!("Worker '{}'", worker.unwrap_or(id)),
                "codebases" => format!("Codebase '{}'", text("name").unwrap_or(id)),
                "servers" => format!("Server '{}'", text("name").unwrap_or(id)),
                _ => event.subject.clone(),
            };
            let happened = kind.split_once('.').map_or(kind, |(_, happened)| happened).replace('_', " ");
            let more = text("message").or_else(|| text("hostname")).map(|more| format!(" ({more})")).unwrap_or_default();
            format!("{what} {happened}{more}")
        }
    }
}

/// How many parts a coordination has.
fn parts(event: &Event) -> usize {
    event.data.get("parts").and_then(Value::as_array).map_or(0, Vec::len)
}

/// What the event holds beside, as texts.
fn metadata(event: &Event) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("event".to_owned(), event.kind.clone()), ("sequence".to_owned(), event.sequence.to_string())]);
    if let Some((of, id)) = event.subject.split_once('/') {
        all.insert(format!("{}_id", of.trim_end_matches('s')), id.to_owned());
    }
    if event.kind == kind::AGENT_INTERVENTION {
        all.insert("intervention".to_owned(), "true".to_owned());
    }
    for (name, value) in event.data.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => continue,
        };
        all.insert(name.clone(), text);
    }
    all
}

fn took(event: &Event) -> Option<u64> {
    event.data.get("took_ms").and_then(Value::as_u64)
}

fn tokens(event: &Event) -> Option<u64> {
    let usage = event.data.get("usage").filter(|usage| usage.is_object())?;
    let of = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
    Some(of("input").saturating_add(of("output")))
}

/// Who an event tells of, among the agents that the monitor lists: `workers/{id}` or `agents/{name}`.
#[must_use]
pub fn told_of(event: &Event) -> Option<String> {
    if event.subject.starts_with("workers/") || event.subject.starts_with("agents/") {
        return Some(event.subject.clone());
    }
    let worker = event.data.get("worker_id").and_then(Value::as_str);
    worker
        .map(|id| format!("workers/{id}"))
        .or_else(|| event.data.get("agent").and_then(Value::as_str).map(|name| format!("agents/{name}")))
}

/// What the log comes to, counted as far as `seq`. It is kept in the database, so whoever changes its fields, or what they count, gives it a new
/// [`Self::FORM`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The last event that is counted.
    pub seq: u64,
    /// How many events there are of each kind.
    pub kinds: BTreeMap<String, u64>,
    /// How many events there are of each server, by its id.
    pub origins: BTreeMap<String, u64>,
    /// Events that tell of an error.
    pub errors: u64,
    /// Tokens of tasks that have ended.
    pub tokens: u64,
    /// Interventions.
    pub interventions: u64,
    /// How often and when last each of [`told_of`] was told of.
    pub agents: HashMap<String, (u64, Timestamp)>,
    times: VecDeque<u64>,
}

impl Tally {
    /// The number of its form.
    pub const FORM: u32 = 2;

    /// How many events there are of some kinds.
    #[must_use]
    pub fn count(&self, kinds: &Kinds) -> u64 {
        self.kinds.iter().filter(|(kind, _)| kinds.contain(kind)).map(|(_, n)| n).sum()
    }

    /// How often one of [`told_of`] was told of.
    #[must_use]
    pub fn told_of(&self, who: &str) -> u64 {
        self.agents.get(who).map_or(0, |(count, _)| *count)
    }

    /// Counts the next event of the log.
    pub fn add(&mut self, event: &Event) {
        self.seq = event.sequence;
        match self.kinds.get_mut(&event.kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(event.kind.clone(), 1)),
        }
        *self.origins.entry(event.origin.to_string()).or_default() += 1;
        self.errors += u64::from(ERRORS.contains(&event.kind.as_str()));
        self.interventions += u64::from(event.kind == kind::AGENT_INTERVENTION);
        self.tokens = self.tokens.saturating_add(tokens(event).unwrap_or(0));
        if let Some(who) = told_of(event) {
            let (count, last) = self.agents.entry(who).or_insert((0, event.time));
            (*count, *last) = (*count + 1, event.time);
        }
        if let Some(took) = took(event) {
            self.times.push_back(took);
            if self.times.len() > AVERAGED {
                self.times.pop_front();
            }
        }
    }

    /// How long the last hundred tasks took on average, in milliseconds; 0 if there was none.
    #[must_use]
    pub fn average_ms(&self) -> f64 {
        let count = u32::try_from(self.times.len()).unwrap_or(u32::MAX).max(1);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of tasks")]
        let sum = self.times.iter().sum::<u64>() as f64;
        sum / f64::from(count)
    }
}

/// A cell of a CSV file: quoted, and never taken for a formula by a spreadsheet.
pub fn csv_cell(out: &mut String, text: &str) {
    out.push('"');
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        out.push('\'');
    }
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::{Kinds, Tally, csv_cell, message};
    use muster_protocol::event::{Event, kind};
    use muster_protocol::time::Timestamp;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn event(kind: &str, subject: &str, data: &Value) -> Event {
        let id = Uuid::nil();
        serde_json::from_value(json!({
            "specversion": "1.0", "id": id, "source": format!("/servers/{id}"), "type": kind, "subject": subject,
            "time": Timestamp(1_700_000_000_000), "datacontenttype": "application/json", "data": data, "sequence": 7, "origin": id, "epoch": "e",
        }))
        .unwrap()
    }

    #[test]
    fn a_task_that_failed_tells_who_what_and_why() {
        let data = json!({ "title": "t", "worker_id": "w1", "error": "no", "took_ms": 1500, "usage": { "input": 3, "output": 4 } });
        let message = message(&event(kind::TASK_FAILED, "tasks/42", &data), "here", Some("alice"));
        assert_eq!((message.kind.as_str(), message.agent_name.as_str()), ("agent", "alice"));
        assert_eq!(message.content, "Task 't' failed on alice: no");
        assert_eq!((message.response_time, message.tokens, message.error.as_deref()), (Some(1500.0), Some(7), Some("no")));
        assert_eq!(message.metadata["task_id"], "42");
        assert_eq!(message.metadata["took_ms"], "1500");
    }

    #[test]
    fn every_kind_of_event_has_one_type() {
        for kind in [kind::TASK_SUBMITTED, kind::TASK_FAILED, kind::WORKER_LOST, kind::SERVER_STARTED, "peer.joined"] {
            let shown = message(&event(kind, "x/1", &json!({})), "here", None);
            let fitting: Vec<_> =
                ["human", "agent", "system", "tool"].into_iter().filter(|word| Kinds::of_type(word).contain(kind)).collect();
            assert_eq!(fitting, [shown.kind.as_str()], "{kind}");
            assert!(!shown.content.is_empty(), "{kind}");
        }
    }

    #[test]
    fn every_kind_is_among_those_that_are_not_limited_and_none_among_those_of_an_unknown_type() {
        let all: Vec<_> = [kind::TASK_SUBMITTED, kind::TASK_ASSIGNED, kind::TASK_FAILED].map(str::to_owned).into();
        let among = |word: &str| Kinds::of_type(word).among(&all);
        assert_eq!((among("human"), among("system")), (Some(vec![all[0].clone()]), Some(vec![all[1].clone()])));
        assert_eq!((among("tool"), Kinds::default().among(&all)), (Some(Vec::new()), None));
    }

    #[test]
    fn an_intervention_is_the_operators() {
        let data = json!({ "agent": "alice", "text": "stop that" });
        let message = message(&event(kind::AGENT_INTERVENTION, "workers/w1", &data), "here", Some("alice"));
        assert_eq!(message.agent_name, "Human Operator");
        assert_eq!(message.content, "Intervention to alice: stop that");
        assert_eq!(message.metadata["intervention"], "true");
    }

    #[test]
    fn the_tally_counts_what_the_statistics_show() {
        let mut tally = Tally::default();
        tally.add(&event(
            kind::TASK_COMPLETED,
            "tasks/1",
            &json!({ "worker_id": "w", "took_ms": 100, "usage": { "input": 1, "output": 2 } }),
        ));
        tally.add(&event(kind::TASK_FAILED, "tasks/2", &json!({ "worker_id": "w", "took_ms": 300 })));
        assert_eq!((tally.errors, tally.tokens, tally.agents["workers/w"].0), (1, 3, 2));
        assert!(tally.origins.iter().eq([(&Uuid::nil().to_string(), &2)]), "{:?}", tally.origins);
        assert_eq!([Kinds::default(), Kinds::of_type("agent"), Kinds::of_type("tool")].map(|kinds| tally.count(&kinds)), [2, 2, 0]);
        assert_eq!(serde_json::from_value::<Tally>(json!(tally)).unwrap(), tally);
        assert!((tally.average_ms() - 200.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_cell_is_quoted_and_is_no_formula() {
        let cell = |text: &str| {
            let mut out = String::new();
            csv_cell(&mut out, text);
            out
        };
        assert_eq!(cell("a \"b\",\nc"), "\"a \"\"b\"\",\nc\"");
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"] {
            assert!(cell(formula).starts_with("\"'"), "{formula}");
        }
        assert_eq!(cell(""), "\"\"");
    }
}

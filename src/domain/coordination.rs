//! What became of the parts of a coordination, and how that is told.

use super::plan::{Part, Plan};
use muster_protocol::ids::TaskId;
use muster_protocol::task::TaskState;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How much of a result the answer shows: its first lines, and so many characters of them.
const SHOWN_LINES: usize = 12;
const SHOWN_CHARS: usize = 1_000;
/// How much of a result the answer's data holds, in characters.
const KEPT_CHARS: usize = 8_000;

/// How a part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// Its task was completed.
    Completed,
    /// Its task failed or was rejected, or could not be begun.
    Failed,
    /// Its task was canceled.
    Canceled,
    /// It was not waited for any longer.
    Missing,
}

impl PartState {
    /// How it ended with its task; `None` if that has not ended.
    #[must_use]
    pub fn of(state: TaskState) -> Option<Self> {
        match state {
            TaskState::Completed => Some(Self::Completed),
            TaskState::Failed | TaskState::Rejected => Some(Self::Failed),
            TaskState::Canceled => Some(Self::Canceled),
            _ => None,
        }
    }

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Missing => "missing",
        }
    }
}

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub state: PartState,
    /// Its task, if one was begun.
    pub task: Option<TaskId>,
    /// The machine that did it.
    pub machine: Option<String>,
    /// How long it took.
    pub took_ms: u64,
    /// The result, or why there is none.
    pub text: String,
}

/// How the coordination as a whole ends: it is done if any part is.
#[must_use]
pub fn end_state(outcomes: &[Outcome]) -> TaskState {
    let is_any_done = outcomes.iter().any(|outcome| outcome.state == PartState::Completed);
    if is_any_done { TaskState::Completed } else { TaskState::Failed }
}

/// Who is given what, for the stream.
#[must_use]
pub fn begins(plan: &Plan) -> String {
    let who: Vec<_> = plan.parts.iter().map(|part| part.agent.as_str()).collect();
    format!("{} for {}{}", counted(who.len(), "part"), who.join(", "), left_out(plan))
}

/// That a part was given out, for the stream.
#[must_use]
pub fn given(part: &Part, task: TaskId) -> String {
    format!("{} has its part (task {task})", who(part))
}

/// That a part has ended, for the stream.
#[must_use]
pub fn ended(part: &Part, outcome: &Outcome) -> String {
    let why = if outcome.state == PartState::Completed { String::new() } else { format!(": {}", first_line(&outcome.text)) };
    format!("{}: {} after {}{why}", who(part), outcome.state.as_str(), took(outcome.took_ms))
}

/// The answer in words: who did what, how long it took, and what is missing.
#[must_use]
pub fn report(plan: &Plan, outcomes: &[Outcome], took_ms: u64) -> String {
    let mut by_state = String::new();
    for state in [PartState::Completed, PartState::Failed, PartState::Canceled, PartState::Missing] {
        let count = outcomes.iter().filter(|outcome| outcome.state == state).count();
        if count > 0 {
            // Writing to a string does not fail.
            let _ = write!(by_state, ", {count} {}", state.as_str());
        }
    }
    let mut text = format!("{}{by_state}, in {}{}:", counted(plan.parts.len(), "part"), took(took_ms), left_out(plan));
    for (part, outcome) in plan.parts.iter().zip(outcomes) {
        let machine = outcome.machine.as_ref().filter(|machine| **machine != part.agent);
        let machine = machine.map(|machine| format!(", on {machine}")).unwrap_or_default();
        let _ = write!(text, "\n- {}{machine}: {} after {}", who(part), outcome.state.as_str(), took(outcome.took_ms));
        let said = shown(&outcome.text);
        if outcome.state != PartState::Completed {
            let _ = write!(text, ": {}", said.replace('\n', " "));
            continue;
        }
        for line in said.lines() {
            let _ = write!(text, "\n  {line}");
        }
    }
    text
}

/// The same as data.
#[must_use]
pub fn data(coordination: TaskId, plan: &Plan, outcomes: &[Outcome], took_ms: u64) -> Value {
    let parts = plan.parts.iter().zip(outcomes).map(|(part, outcome)| {
        let text: String = outcome.text.chars().take(KEPT_CHARS).collect();
        let is_done = outcome.state == PartState::Completed;
        json!({
            "agent": part.agent, "server": part.server, "task_id": outcome.task, "machine": outcome.machine,
            "state": outcome.state.as_str(), "duration_ms": outcome.took_ms,
            (if is_done { "result" } else { "error" }): text,
        })
    });
    json!({ "coordination": coordination, "duration_ms": took_ms, "parts": parts.collect::<Vec<_>>() })
}

/// Who takes part, for the event log: no prompts.
#[must_use]
pub fn planned(plan: &Plan) -> Value {
    plan.parts.iter().map(|part| json!({ "agent": part.agent, "server": part.server })).collect()
}

/// What became of each, for the event log: no results.
#[must_use]
pub fn summary(plan: &Plan, outcomes: &[Outcome]) -> Value {
    let parts = plan.parts.iter().zip(outcomes).map(|(part, outcome)| {
        json!({
            "agent": part.agent, "server": part.server, "task_id": outcome.task, "state": outcome.state.as_str(),
            "duration_ms": outcome.took_ms,
        })
    });
    parts.collect()
}

fn who(part: &Part) -> String {
    format!("{} ({})", part.agent, part.server)
}

fn left_out(plan: &Plan) -> String {
    if plan.left_out == 0 { String::new() } else { format!(" (none for {} more)", plan.left_out) }
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(200).collect()
}

/// The first lines of a text.
fn shown(text: &str) -> String {
    let text = text.trim();
    let lines: Vec<_> = text.lines().take(SHOWN_LINES).collect();
    let shown: String = lines.join("\n").chars().take(SHOWN_CHARS).collect();
    if shown.chars().count() < text.chars().count() { format!("{shown} ..") } else { shown }
}

fn took(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, PartState, begins, data, end_state, ended, report};
    use crate::domain::plan::{Part, Plan};
    use muster_protocol::ids::TaskId;
    use muster_protocol::task::TaskState;
    use muster_protocol::time::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    fn plan() -> Plan {
        let part = |agent: &str, server: &str| Part { agent: agent.into(), server: server.into(), prompt: String::new() };
        let parts = vec![part("Worker-A-Server-A", "Server-A"), part("alice", "Server-B")];
        Plan { intro: "count".into(), data: vec![], model: None, mode: None, deadline: Timestamp(0), parts, left_out: 0 }
    }

    fn outcome(state: PartState, text: &str) -> Outcome {
        Outcome { state, task: Some(TaskId(Uuid::nil())), machine: Some("alice".into()), took_ms: 1_250, text: text.into() }
    }

    #[test]
    fn the_answer_says_who_did_what_and_what_is_missing() {
        let outcomes = [outcome(PartState::Completed, "two\nlines\n"), outcome(PartState::Missing, "its machine was lost")];
        assert_eq!(
            report(&plan(), &outcomes, 61_000),
            "2 parts, 1 completed, 1 missing, in 1 min 1 s:\n- Worker-A-Server-A (Server-A), on alice: completed after 1.2 s\n  two\n  lines\n\
             - alice (Server-B): missing after 1.2 s: its machine was lost"
        );
        assert_eq!(ended(&plan().parts[1], &outcomes[1]), "alice (Server-B): missing after 1.2 s: its machine was lost");
        assert_eq!(begins(&Plan { left_out: 3, ..plan() }), "2 parts for Worker-A-Server-A, alice (none for 3 more)");
        let told = data(TaskId(Uuid::nil()), &plan(), &outcomes, 61_000);
        assert_eq!(told["parts"][0]["result"], "two\nlines\n");
        assert_eq!(told["parts"][1]["error"], "its machine was lost");
        assert_eq!((&told["parts"][1]["server"], &told["parts"][1]["state"]), (&json!("Server-B"), &json!("missing")));
    }

    #[test]
    fn long_results_are_cut() {
        let outcomes = [outcome(PartState::Completed, &"é\n".repeat(100_000)), outcome(PartState::Failed, &"x".repeat(100_000))];
        let said = report(&plan(), &outcomes, 0);
        assert!(said.len() < 2_000 && said.contains("é .."), "{}", said.len());
        let told = data(TaskId(Uuid::nil()), &plan(), &outcomes, 0).to_string();
        assert!(told.len() < 50_000, "{}", told.len());
    }

    #[test]
    fn a_coordination_is_done_if_any_part_is() {
        let of = |states: &[PartState]| end_state(&states.iter().map(|state| outcome(*state, "")).collect::<Vec<_>>());
        assert_eq!(of(&[PartState::Missing, PartState::Completed]), TaskState::Completed);
        assert_eq!(of(&[PartState::Failed, PartState::Missing, PartState::Canceled]), TaskState::Failed);
        for state in TaskState::ALL {
            assert_eq!(PartState::of(state).is_some(), state.is_terminal(), "{state}");
        }
    }
}

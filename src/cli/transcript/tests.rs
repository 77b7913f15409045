use super::{Piece, Transcript};
use crate::cli::style::Style;
use muster_protocol::stream::{EntryKind, StreamEntry};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json, value::to_raw_value};

fn entry(attempt: u64, kind: &str, data: &Value) -> StreamEntry {
    let (kind, data) = (EntryKind::from(kind), to_raw_value(data).unwrap());
    StreamEntry { task_seq: 1, attempt, at: Timestamp(1_000), kind, data }
}

fn pieces(transcript: &mut Transcript, attempt: u64, kind: &str, data: &Value) -> Vec<Piece> {
    transcript.entry(&entry(attempt, kind, data))
}

fn note(transcript: &mut Transcript, attempt: u64, kind: &str, data: &Value) -> String {
    match pieces(transcript, attempt, kind, data).as_slice() {
        [Piece::Note(_, line)] => line.clone(),
        other => panic!("not one note: {other:?}"),
    }
}

#[test]
fn deltas_of_a_part_follow_each_other_and_a_new_part_is_a_new_paragraph() {
    let mut transcript = Transcript::new();
    let mut text = |attempt, part: &str, delta: &str| pieces(&mut transcript, attempt, "text", &json!({"part": part, "delta": delta}));
    let answer = |text: &str| Piece::Answer(text.to_owned());
    assert_eq!(text(1, "a", "Hel"), [answer("Hel")]);
    assert_eq!(text(1, "a", "lo\u{1b}[0m\n"), [answer("lo\u{1b}[0m\n")], "the transcript changes no byte");
    assert_eq!(text(1, "b", "More"), [Piece::Paragraph, answer("More")]);
    assert_eq!(text(2, "b", "More"), [Piece::Paragraph, answer("More")], "another attempt begins again");
}

#[test]
fn other_entries_between_the_deltas_of_a_part_do_not_break_it() {
    let mut transcript = Transcript::new();
    pieces(&mut transcript, 1, "text", &json!({"part": "a", "delta": "one "}));
    pieces(&mut transcript, 1, "reasoning", &json!({"part": "r", "delta": "hm"}));
    pieces(&mut transcript, 1, "usage", &json!({"input": 10, "output": 2}));
    let more = pieces(&mut transcript, 1, "text", &json!({"part": "a", "delta": "two"}));
    assert_eq!(more, [Piece::Answer("two".to_owned())]);
    assert_eq!(transcript.progress(), "writing · 12 tokens");
}

#[test]
fn a_tool_call_is_one_line_when_it_has_ended() {
    let mut transcript = Transcript::new();
    let call = |state: &str| json!({"call": "c", "tool": "bash", "state": state, "input": {"command": "cargo test\n--all"}, "error": "exit 1\nat line 3"});
    assert_eq!(pieces(&mut transcript, 1, "tool", &call("running")), []);
    assert_eq!(transcript.progress(), "running bash cargo test --all");
    assert_eq!(note(&mut transcript, 1, "tool", &call("completed")), "✓ bash cargo test --all");
    assert_eq!(note(&mut transcript, 1, "tool", &call("error")), "✗ bash cargo test --all: exit 1 at line 3");
}

#[test]
fn a_task_waits_until_a_worker_has_it_and_again_when_it_is_given_back() {
    let mut transcript = Transcript::new();
    assert_eq!(pieces(&mut transcript, 0, "status", &json!({"state": "submitted"})), []);
    assert!(transcript.is_waiting());
    assert_eq!(note(&mut transcript, 1, "status", &json!({"state": "working", "worker": "build-box"})), "· build-box has the task");
    assert!(!transcript.is_waiting());
    assert_eq!(note(&mut transcript, 1, "status", &json!({"state": "submitted"})), "↻ waiting for a worker again");
    assert!(transcript.is_waiting());
    assert_eq!(note(&mut transcript, 2, "status", &json!({"state": "working"})), "· a worker has the task (attempt 2)");
}

#[test]
fn a_worker_is_called_by_its_name_where_that_is_known() {
    let (mut transcript, working) = (Transcript::new(), entry(1, "status", &json!({"state": "working", "worker": "w1"})));
    assert_eq!(transcript.nameless_worker(&working), Some("w1".to_owned()));
    transcript.name_worker("w1".to_owned(), "build-box".to_owned());
    assert_eq!(transcript.nameless_worker(&working), None);
    assert_eq!(transcript.entry(&working), [Piece::Note(Style::Dim, "· build-box has the task".to_owned())]);
}

#[test]
fn a_retry_of_the_provider_says_why_and_when() {
    let data = json!({"state": "retry", "message": "Overloaded", "retry": 2, "next_at": Timestamp(5_200)});
    assert_eq!(note(&mut Transcript::new(), 1, "status", &data), "↻ retry 2: Overloaded, again in 4.2 s");
}

#[test]
fn files_todos_and_questions_are_told_in_a_line() {
    let mut transcript = Transcript::new();
    let change = json!({"path": "src/a.rs", "change": "edited", "additions": 3, "deletions": 1});
    assert_eq!(note(&mut transcript, 1, "file", &change), "± edited src/a.rs +3 -1");
    let todos = json!({"items": [{"content": "read", "status": "completed"}, {"content": "write", "status": "in_progress"}]});
    assert_eq!(note(&mut transcript, 1, "todo", &todos), "☐ 1 of 2 steps done: write");
    let asked = json!({"request": "r", "kind": "permission", "title": "bash rm *", "outcome": "rejected", "reason": "nobody answers here"});
    assert_eq!(note(&mut transcript, 1, "interaction", &asked), "? permission: bash rm *: rejected (nobody answers here)");
}

#[test]
fn unknown_entries_and_shapes_say_nothing_and_unknown_states_are_shown() {
    let mut transcript = Transcript::new();
    assert_eq!(pieces(&mut transcript, 1, "from-the-future", &json!({"x": 1})), []);
    assert_eq!(pieces(&mut transcript, 1, "text", &json!(["no delta"])), []);
    let unknown = pieces(&mut transcript, 1, "status", &json!({"state": "compacted", "message": "to 2,000 tokens"}));
    assert_eq!(unknown, [Piece::Note(Style::Dim, "· compacted: to 2,000 tokens".to_owned())]);
}

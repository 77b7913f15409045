mod asked;
mod catch_up;

use super::{Action, Phase, Run, Settled, Verdict};
use crate::opencode::client::Message;
use crate::opencode::events::{Event, Incoming, SessionEvent, parse};
use crate::policy::Limits;
use muster_protocol::ids::InteractionId;
use muster_protocol::interaction::{Reply, ReplyInteraction};
use muster_protocol::stream::EntryKind;
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

const EVENTS: &str = include_str!("../../../tests/data/events.jsonl");

/// The events that a real OpenCode sent, as lines `from` to `to` of the recording.
fn recorded(from: usize, to: usize) -> Vec<SessionEvent> {
    let lines = EVENTS.lines().skip(from).take(to - from);
    let global = lines.map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        if value["payload"].is_object() { value } else { json!({"directory": "/home/dev/proj/a", "payload": value}) }
    });
    global
        .filter_map(|event| match parse(&event.to_string()) {
            Some(Incoming::Session(event)) => Some(*event),
            _ => None,
        })
        .collect()
}

const SESSION: &str = "ses_dfd9271b4ffecyLMsd4rXEF2PH";

fn limits() -> Limits {
    Limits { unfinished_steps: 3, steps: 10, compactions: 2, ..Limits::default() }
}

fn run(message: &str) -> Run {
    Run::new(SESSION, message, PathBuf::from("/home/dev/proj/a"), limits(), 0)
}

fn feed(run: &mut Run, events: &[SessionEvent]) -> Vec<Action> {
    events.iter().flat_map(|event| run.on_event(event, 0)).collect()
}

fn said(actions: &[Action]) -> String {
    let delta = |action: &Action| match action {
        Action::Say { kind: EntryKind::Text, delta, .. } => Some(delta.clone()),
        _ => None,
    };
    actions.iter().filter_map(delta).collect()
}

fn told(actions: &[Action], wanted: &EntryKind) -> Vec<Value> {
    let data = |action: &Action| match action {
        Action::Tell(kind, data) if kind == wanted => Some(data.clone()),
        _ => None,
    };
    actions.iter().filter_map(data).collect()
}

fn own(event: Event) -> SessionEvent {
    SessionEvent { session: SESSION.to_owned(), directory: "/d".to_owned(), event }
}

fn event(kind: &str, properties: Value) -> SessionEvent {
    let mut properties = properties;
    if properties["sessionID"].is_null() {
        properties["sessionID"] = SESSION.into();
    }
    match parse(&json!({"directory": "/d", "payload": {"type": kind, "properties": properties}}).to_string()) {
        Some(Incoming::Session(event)) => *event,
        other => panic!("{other:?}"),
    }
}

fn user() -> SessionEvent {
    event("message.updated", json!({"info": {"id": "msg_u", "role": "user", "time": {"created": 10}}}))
}

fn assistant(id: &str, completed: bool, finish: Option<&str>, error: &Value) -> SessionEvent {
    let mut info = json!({"id": id, "role": "assistant", "time": {"created": 11}, "error": error, "tokens": {"input": 100, "output": 10}, "cost": 0.5});
    if completed {
        info["time"]["completed"] = json!(12);
    }
    if let Some(finish) = finish {
        info["finish"] = json!(finish);
    }
    event("message.updated", json!({"info": info}))
}

/// A run whose prompt is accepted.
fn accepted() -> Run {
    let mut run = run("msg_u");
    feed(&mut run, &[user()]);
    run
}

fn text_part(id: &str, message: &str, text: &str) -> SessionEvent {
    event("message.part.updated", json!({"part": {"id": id, "messageID": message, "type": "text", "text": text}}))
}

fn delta(part: &str, message: &str, delta: &str) -> SessionEvent {
    event("message.part.delta", json!({"messageID": message, "partID": part, "field": "text", "delta": delta}))
}

#[test]
fn a_recorded_text_run_is_said_once_and_answered() {
    let mut run = run("msg_2026d8e82001EHp97A52JXiyG6");
    let actions = feed(&mut run, &recorded(0, 27));
    assert_eq!(*run.phase(), Phase::Working, "an idle status alone is not the end");
    assert_eq!(said(&actions), "echo: hello streaming world one two three");
    assert_eq!(told(&actions, &EntryKind::Status), [json!({"state": "busy", "session_id": SESSION})]);
    feed(&mut run, &recorded(27, 28));
    assert_eq!(run.verdict(), Some(&Verdict::Answered("msg_2026d8e9e001s1eWhMZ63SxbCg".to_owned())));
    assert_eq!((run.usage().input, run.usage().output), (2404, 7));
}

#[test]
fn a_recorded_tool_run_tells_the_call_in_each_state_and_ends_with_the_second_answer() {
    let mut run = run("msg_2026d9084001dMIiY3xKIAEU1O");
    let actions = feed(&mut run, &recorded(28, 71));
    let states: Vec<Value> = told(&actions, &EntryKind::Tool).iter().map(|call| call["state"].clone()).collect();
    assert_eq!(states, ["pending", "running", "completed"]);
    assert_eq!(told(&actions, &EntryKind::Tool)[2]["output"], "hi\n");
    assert_eq!(said(&actions), "Running. tool said: hi\n");
    assert_eq!(run.verdict(), Some(&Verdict::Answered("msg_2026d92a8001nSAu8iYDxNwAYC".to_owned())));
}

#[test]
fn a_recorded_write_names_the_file_once_and_relative_to_the_codebase() {
    let events = recorded(71, 113);
    // The recording names the prompt's message first.
    let Event::Message(prompt) = &events[0].event else { panic!("{:?}", events[0]) };
    let mut run = run(&prompt.id);
    let actions = feed(&mut run, &events);
    assert_eq!(told(&actions, &EntryKind::File), [json!({"path": "new.txt", "change": "edited", "additions": 0, "deletions": 0})]);
    assert_eq!(run.files(), ["new.txt"]);
    assert!(matches!(run.verdict(), Some(Verdict::Answered(_))));
}

#[test]
fn late_news_of_the_prompt_before_does_not_end_this_one() {
    let mut run = run("msg_u");
    let stale = event(
        "message.updated",
        json!({"info": {"id": "msg_old", "role": "assistant", "time": {"created": 1, "completed": 2}, "finish": "stop"}}),
    );
    let aborted = event("session.error", json!({"error": {"name": "MessageAbortedError", "data": {"message": "Aborted"}}}));
    feed(&mut run, &[aborted, own(Event::Idle), user(), stale, own(Event::Idle)]);
    assert!(run.on_tick(1_400).is_empty());
    assert_eq!(run.verdict(), None);
}

#[test]
fn idle_that_comes_before_the_error_is_stored_is_not_the_end() {
    let mut run = accepted();
    let error = json!({"name": "APIError", "data": {"message": "no", "statusCode": 401}});
    feed(&mut run, &[assistant("a", false, None, &Value::Null), own(Event::Idle)]);
    assert_eq!(run.verdict(), None);
    feed(&mut run, &[assistant("a", true, None, &error), own(Event::Idle)]);
    assert!(matches!(run.verdict(), Some(Verdict::Failed(failure)) if failure.code == "provider_auth"), "{:?}", run.verdict());
}

#[test]
fn an_error_without_any_answer_is_a_failure_after_a_second_even_without_idle() {
    let mut run = run("msg_u");
    let error = event("session.error", json!({"error": {"name": "UnknownError", "data": {"message": "Agent not found: \"x\""}}}));
    feed(&mut run, &[error]);
    run.on_tick(900);
    assert_eq!(run.verdict(), None);
    run.on_tick(1_000);
    assert!(matches!(run.verdict(), Some(Verdict::Failed(failure)) if failure.code == "mode_not_found"), "{:?}", run.verdict());
}

#[test]
fn an_answer_that_began_again_after_a_retry_is_another_part() {
    let mut run = accepted();
    let events = [
        assistant("a", false, None, &Value::Null),
        text_part("p", "a", ""),
        delta("p", "a", "broken"),
        event("session.status", json!({"status": {"type": "retry", "attempt": 1, "message": "reset", "next": 5}})),
    ];
    let actions = feed(&mut run, &events);
    assert_eq!(*run.phase(), Phase::Retrying);
    assert_eq!(told(&actions, &EntryKind::Status).last().unwrap()["discards"], json!(["p"]), "what was broken off does not count");
    let actions = feed(&mut run, &[own(Event::Busy), text_part("q", "a", ""), delta("q", "a", "whole")]);
    assert_eq!(actions, [Action::Say { kind: EntryKind::Text, part: "q".to_owned(), delta: "whole".to_owned() }]);
}

fn retry(attempt: u64, next: i64, wait: u64) -> SessionEvent {
    own(Event::Retry { attempt, message: "slow down".to_owned(), next, wait })
}

#[test]
fn a_retry_that_comes_too_late_for_the_run_ends_it_at_once() {
    let stopped = |limits: Limits, deadline: Option<i64>, wait: u64| {
        let mut run = Run::new(SESSION, "msg_u", PathBuf::from("/d"), limits, 0).with_deadline(deadline.map(Timestamp));
        feed(&mut run, &[user(), retry(1, 50_000, wait)]);
        match run.verdict() {
            Some(Verdict::Stop(failure)) => {
                assert!(failure.message.contains("slow down"), "{failure:?}");
                Some(failure.code)
            }
            other => {
                assert_eq!(other, None);
                None
            }
        }
    };
    let seconds = Duration::from_secs;
    let (none, wait, wall) =
        (Limits::default(), Limits { retry_wait: seconds(10), ..Limits::default() }, Limits { wall: seconds(10), ..Limits::default() });
    assert_eq!(stopped(wait, None, 10_001), Some("retry_limit"));
    assert_eq!(stopped(wait, None, 10_000), None);
    assert_eq!(stopped(wall, None, 2_147_483_648), Some("retry_limit"));
    assert_eq!(stopped(none, Some(49_999), 1), Some("retry_limit"));
    assert_eq!(stopped(none, Some(50_000), u64::MAX), None, "without a limit it is waited for");
}

#[test]
fn a_wait_that_was_announced_is_no_silence_and_is_told_once() {
    let limits = Limits { stall: Duration::from_secs(1), ..Limits::default() };
    let mut run = Run::new(SESSION, "msg_u", PathBuf::from("/d"), limits, 0);
    let actions = feed(&mut run, &[user(), retry(1, 60_000, 60_000)]);
    assert_eq!(told(&actions, &EntryKind::Status).last().unwrap()["next_at"], json!("1970-01-01T00:01:00.000Z"));
    assert_eq!(run.on_retry_shown(&retry(1, 60_000, 30_000).event, 30_000), [], "it is shown until it is made");
    run.on_tick(60_999);
    assert_eq!(run.verdict(), None);
    assert_eq!(run.on_retry_shown(&retry(2, 99_000, 100).event, 60_999).len(), 1, "one whose event was missed is told");
    run.on_tick(62_200);
    assert!(matches!(run.verdict(), Some(Verdict::Stop(failure)) if failure.code == "stall_limit"), "{:?}", run.verdict());
}

#[test]
fn an_answer_is_known_by_what_it_answers_when_the_clock_was_set_back_before_it() {
    let mut run = accepted();
    let answer = |parent: &str| {
        let time = json!({"created": 1, "completed": 2});
        event(
            "message.updated",
            json!({"info": {"id": format!("a_{parent}"), "role": "assistant", "parentID": parent, "time": time, "finish": "stop"}}),
        )
    };
    feed(&mut run, &[answer("msg_before"), own(Event::Idle)]);
    assert_eq!(run.verdict(), None, "an older prompt's answer is not this one's");
    feed(&mut run, &[answer("msg_u"), own(Event::Idle)]);
    assert_eq!(run.verdict(), Some(&Verdict::Answered("a_msg_u".to_owned())));
}

#[test]
fn answers_without_finish_reason_are_stopped_after_a_few() {
    let mut run = accepted();
    for (index, finish) in ["unknown", "tool-calls", "unknown", "unknown"].iter().enumerate() {
        feed(&mut run, &[assistant(&format!("a{index}"), true, Some(finish), &Value::Null)]);
        assert_eq!(run.verdict(), None, "one that ended well begins the count anew");
    }
    feed(&mut run, &[assistant("a9", true, Some("unknown"), &Value::Null)]);
    assert!(matches!(run.verdict(), Some(Verdict::Stop(failure)) if failure.code == "step_limit"), "{:?}", run.verdict());
}

#[test]
fn every_limit_stops_a_run_with_its_own_code() {
    let stopped = |limits: Limits, then: &dyn Fn(&mut Run)| {
        let mut run = Run::new(SESSION, "msg_u", PathBuf::from("/d"), limits, 0);
        feed(&mut run, &[user()]);
        then(&mut run);
        match run.verdict() {
            Some(Verdict::Stop(failure)) => failure.code,
            other => panic!("{other:?}"),
        }
    };
    let none = Limits::default();
    let second = Duration::from_secs(1);
    let answer = |run: &mut Run| {
        drop(feed(run, &[assistant("a", true, Some("tool-calls"), &Value::Null), assistant("b", true, Some("tool-calls"), &Value::Null)]));
    };
    let time = |run: &mut Run| drop(run.on_tick(1_000));
    let compacted = |run: &mut Run| drop(feed(run, &[own(Event::Compacted), own(Event::Compacted)]));
    assert_eq!(stopped(Limits { wall: second, ..none }, &time), "time_limit");
    assert_eq!(stopped(Limits { stall: second, ..none }, &time), "stall_limit");
    assert_eq!(stopped(Limits { steps: 1, ..none }, &answer), "step_limit");
    assert_eq!(stopped(Limits { tokens: 220, ..none }, &answer), "token_limit");
    assert_eq!(stopped(Limits { cost_usd: 1.0, ..none }, &answer), "cost_limit");
    assert_eq!(stopped(Limits { compactions: 2, ..none }, &compacted), "compaction_limit");
}

#[test]
fn the_summary_of_a_compaction_is_neither_said_nor_the_answer() {
    let mut run = accepted();
    let summary = |completed: bool| {
        let mut info = json!({"id": "s", "role": "assistant", "summary": true, "time": {"created": 12}});
        if completed {
            info["time"]["completed"] = json!(13);
            info["finish"] = json!("stop");
        }
        event("message.updated", json!({"info": info}))
    };
    let events = [
        assistant("a", true, Some("tool-calls"), &Value::Null),
        summary(false),
        text_part("p", "s", "all that happened"),
        summary(true),
        own(Event::Compacted),
    ];
    let actions = feed(&mut run, &events);
    assert_eq!(said(&actions), "");
    feed(&mut run, &[assistant("b", true, Some("stop"), &Value::Null), own(Event::Idle)]);
    assert_eq!(run.verdict(), Some(&Verdict::Answered("b".to_owned())));
}

#[test]
fn a_run_that_falls_silent_is_looked_up_and_given_up_when_nothing_works_on_it() {
    let mut run = accepted();
    assert!(run.on_tick(14_999).is_empty());
    assert_eq!(run.on_tick(15_000), [Action::Recheck]);
    run.observe(None, false, 15_010);
    let mut now = 15_010;
    for _ in 0..2 {
        now += 2_000;
        assert_eq!(run.on_tick(now), [Action::Recheck]);
        run.observe(None, false, now);
    }
    assert!(matches!(run.verdict(), Some(Verdict::Failed(failure)) if failure.code == "opencode_error"), "{:?}", run.verdict());
}

#[test]
fn long_outputs_and_inputs_are_cut() {
    let mut run = accepted();
    feed(&mut run, &[assistant("a", false, None, &Value::Null)]);
    let part = json!({"id": "t", "messageID": "a", "type": "tool", "tool": "bash", "callID": "c",
        "state": {"status": "completed", "input": {"command": "x".repeat(100_000)}, "output": "ü".repeat(100_000)}});
    let actions = feed(&mut run, &[event("message.part.updated", json!({"part": part}))]);
    let size = serde_json::to_string(&told(&actions, &EntryKind::Tool)[0]).unwrap().len();
    assert!(size < 100_000, "{size}");
}

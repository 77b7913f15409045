//! What a stream looks like in A2A.

use super::{Projection, changed_files, joined};
use muster_protocol::a2a::{Content, State, StreamResponse};
use muster_protocol::stream::{FileChange, StreamEntry};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};

const ID: &str = "018f0000-0000-7000-8000-000000000001";

fn entry(task_seq: u64, kind: &str, data: &Value) -> StreamEntry {
    serde_json::from_value(json!({ "task_seq": task_seq, "attempt": 1, "at": 1_000 + task_seq, "kind": kind, "data": data })).unwrap()
}

/// The entries folded, and all that is told of them as JSON.
fn told(entries: &[(&str, Value)]) -> (Projection, Vec<Value>) {
    let mut projection = Projection::new("t".into(), "c".into(), Timestamp(1_000));
    let entries = (1..).zip(entries).map(|(seq, (kind, data))| entry(seq, kind, data));
    let told: Vec<_> = entries.flat_map(|entry| projection.apply(&entry)).map(|event| json!(event)).collect();
    (projection, told)
}

#[test]
fn pieces_of_text_add_up_to_the_artifacts() {
    let (projection, told) = told(&[
        ("text", json!({ "part": "p1", "delta": "one " })),
        ("reasoning", json!({ "part": "r", "delta": "hm" })),
        ("text", json!({ "part": "p1", "delta": "two" })),
        ("text", json!({ "part": "p2", "delta": "three" })),
        ("output", json!({ "line": "a line" })),
    ]);
    let pieces: Vec<_> = told.iter().map(|event| &event["artifactUpdate"]).collect();
    let append: Vec<_> = pieces.iter().map(|piece| piece["append"] == true).collect();
    assert_eq!(append, [false, true, false, false]);
    assert_eq!(pieces[1]["artifact"], json!({ "artifactId": "p1", "parts": [{ "text": "two" }] }));
    let texts: Vec<_> = projection.artifacts.iter().map(|artifact| artifact.parts[0].as_text().unwrap()).collect();
    assert_eq!(texts, ["one two", "three", "a line\n"]);
}

#[test]
fn what_was_broken_off_is_taken_back() {
    let (projection, told) = told(&[
        ("text", json!({ "part": "p1", "delta": "half" })),
        ("status", json!({ "state": "retry", "message": "429", "discards": ["p1", "r"] })),
        ("text", json!({ "part": "p2", "delta": "whole" })),
    ]);
    let discarded = &told[1]["artifactUpdate"];
    assert_eq!(discarded["artifact"]["artifactId"], "p1");
    assert!(discarded.get("append").is_none() && discarded["artifact"]["parts"] == json!([{ "text": "" }]), "{discarded}");
    assert_eq!(told[2]["statusUpdate"]["metadata"]["note"], "retry");
    assert_eq!(projection.artifacts.len(), 1);
}

#[test]
fn each_state_of_a_tool_is_told_once() {
    let call = |state: &str, title: &str| json!({ "call": "c1", "tool": "bash", "state": state, "title": title });
    let (_, told) = told(&[
        ("tool", call("pending", "")),
        ("tool", call("running", "list files")),
        ("tool", call("running", "list files")),
        ("tool", call("completed", "list files")),
    ]);
    let said: Vec<_> = told.iter().map(|event| &event["statusUpdate"]["status"]).collect();
    assert_eq!(said.len(), 2);
    assert!(said.iter().all(|status| status["state"] == "TASK_STATE_WORKING"));
    assert_eq!(said[1]["message"]["parts"], json!([{ "text": "bash: list files (completed)" }]));
    assert_eq!(told[1]["statusUpdate"]["metadata"]["tool"]["call"], "c1");
}

#[test]
fn a_question_is_input_required_until_nothing_is_asked_any_more() {
    let asked = |id: u8, outcome: &str| {
        let id = format!("{}{id}", &ID[..ID.len() - 1]);
        json!({ "id": id, "request": "r", "kind": "permission", "title": "bash: rm x", "outcome": outcome, "directory": "/w", "detail": {} })
    };
    let (projection, told) = told(&[
        ("interaction", asked(1, "open")),
        ("interaction", asked(2, "open")),
        ("interaction", asked(1, "applied")),
        ("interaction", asked(2, "expired")),
        ("interaction", json!({ "request": "r", "kind": "permission", "title": "x", "outcome": "rejected", "detail": {} })),
    ]);
    let states: Vec<_> = told.iter().map(|event| event["statusUpdate"]["status"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["TASK_STATE_INPUT_REQUIRED", "TASK_STATE_INPUT_REQUIRED", "TASK_STATE_INPUT_REQUIRED", "TASK_STATE_WORKING"]);
    let message = &told[0]["statusUpdate"]["status"]["message"];
    assert!(message["messageId"] == ID && message["role"] == "ROLE_AGENT", "{message}");
    assert_eq!(message["parts"][0]["text"], "May it? bash: rm x (in /w)\nAnswer yes (this once), always or no.");
    assert_eq!(message["parts"][1]["data"]["interaction"], ID);
    assert_eq!(projection.status.state, State::Working);
}

#[test]
fn the_end_says_why() {
    let (projection, told) = told(&[
        ("status", json!({ "state": "working" })),
        ("status", json!({ "state": "failed", "message": "out of tokens", "code": "token_limit" })),
    ]);
    assert_eq!(told[0]["statusUpdate"]["status"], json!({ "state": "TASK_STATE_WORKING", "timestamp": "1970-01-01T00:00:01.001Z" }));
    let end = &told[1]["statusUpdate"];
    assert!(end["status"]["state"] == "TASK_STATE_FAILED" && end["metadata"]["code"] == "token_limit", "{end}");
    assert_eq!(end["status"]["message"]["parts"][0]["text"], "out of tokens");
    assert_eq!(projection.status.state, State::Failed);
}

#[test]
fn changed_files_are_file_parts_where_the_change_is_known() {
    let change = |patch: Option<&str>| FileChange {
        path: "src/a.rs".into(),
        change: "modified".into(),
        additions: 1,
        deletions: 2,
        patch: patch.map(str::to_owned),
    };
    let artifacts = changed_files(&[change(Some("@@")), change(None)]);
    assert_eq!(artifacts[0].parts[0].content, Content::Raw(b"@@".to_vec()));
    assert_eq!(artifacts[0].parts[0].filename.as_deref(), Some("src/a.rs"));
    assert_eq!(artifacts[0].artifact_id, "file:src/a.rs");
    assert!(matches!(&artifacts[1].parts[0].content, Content::Data(data) if data["additions"] == 1));
    let event = Projection::new("t".into(), "c".into(), Timestamp(0)).whole(artifacts[0].clone());
    assert!(matches!(event, StreamResponse::ArtifactUpdate(event) if event.last_chunk && !event.append));
}

/// The events of the entries with their places, joined, as (place, artifact, text).
fn pieces(entries: &[(&str, Value)], cut: Option<u64>) -> Vec<(u64, String, String)> {
    let mut projection = Projection::new("t".into(), "c".into(), Timestamp(1_000));
    let entries = (1..).zip(entries).map(|(seq, (kind, data))| entry(seq, kind, data));
    let events = entries.flat_map(|entry| projection.apply(&entry).into_iter().map(move |event| (Some(entry.task_seq), event)));
    let joined = joined(events.collect(), cut).into_iter().map(|(place, event)| {
        let event = json!(event);
        let artifact = &event["artifactUpdate"]["artifact"];
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        (place.unwrap(), word(&artifact["artifactId"]), word(&artifact["parts"][0]["text"]))
    });
    joined.collect()
}

#[test]
fn pieces_that_follow_each_other_are_joined_and_nothing_else_is() {
    let text = |part: &str, delta: &str| ("text", json!({ "part": part, "delta": delta }));
    let tool = ("tool", json!({ "call": "c", "tool": "bash", "state": "running" }));
    let entries = [
        text("p1", "a"),
        text("p1", "b"),
        text("p1", "c"),
        tool,
        text("p1", "d"),
        text("p2", "e"),
        text("p1", "f"),
        text("p1", "g"),
        ("status", json!({ "state": "retry", "discards": ["p1"] })),
        text("p1", "h"),
    ];
    let told = pieces(&entries, None);
    let told: Vec<_> = told.iter().map(|(place, id, text)| (*place, id.as_str(), text.as_str())).collect();
    let wanted =
        [(3, "p1", "abc"), (4, "-", "-"), (5, "p1", "d"), (6, "p2", "e"), (8, "p1", "fg"), (9, "p1", ""), (9, "-", "-"), (10, "p1", "h")];
    assert_eq!(told, wanted);
}

#[test]
fn what_was_tried_in_vain_is_joined_as_it_was_then() {
    let entries = ["a", "b", "c", "d"].map(|delta| ("text", json!({ "part": "p1", "delta": delta })));
    let told = pieces(&entries, Some(2));
    assert!(told.iter().map(|(place, _, text)| (*place, text.as_str())).eq([(2, "ab"), (4, "cd")]), "{told:?}");
}

#[test]
fn what_was_let_go_of_changes_nothing_that_is_told() {
    let text = |delta: &str| json!({ "part": "p1", "delta": delta });
    let (mut projection, _) = told(&[("text", text("long"))]);
    projection.let_go();
    assert_eq!(json!(projection.artifacts[0].parts), json!([{ "text": "" }]));
    let next = json!(projection.apply(&entry(2, "text", &text("er"))));
    assert!(
        next[0]["artifactUpdate"]["append"] == true && next[0]["artifactUpdate"]["artifact"]["parts"] == json!([{ "text": "er" }]),
        "{next}"
    );
}

#[test]
fn what_an_agent_of_this_server_makes_is_told_as_it_is() {
    let made = |parts: Value, append: bool, last: bool| {
        ("artifact", json!({ "artifact": { "artifactId": "made", "parts": parts }, "append": append, "last": last }))
    };
    let file = json!({ "url": "https://example.com/a", "filename": "a", "mediaType": "text/plain" });
    let (projection, told) = told(&[
        // There is nothing yet that it could be added to.
        made(json!([{ "text": "one " }]), true, false),
        made(json!([{ "data": { "a": 1 } }, file]), true, true),
    ]);
    let pieces: Vec<_> = told.iter().map(|event| &event["artifactUpdate"]).collect();
    let flags: Vec<_> = pieces.iter().map(|piece| (piece["append"] == true, piece["lastChunk"] == true)).collect();
    assert_eq!(flags, [(false, false), (true, true)]);
    assert_eq!(pieces[1]["artifact"], json!({ "artifactId": "made", "parts": [{ "data": { "a": 1 } }, file] }));
    assert_eq!(json!(projection.artifacts), json!([{ "artifactId": "made", "parts": [{ "text": "one " }, { "data": { "a": 1 } }, file] }]));
}

#[test]
fn a_state_that_waits_for_the_client_says_what_for() {
    let (projection, told) = told(&[
        ("status", json!({ "state": "working" })),
        ("status", json!({ "state": "auth-required", "message": "Who are you?" })),
        ("status", json!({ "state": "rejected", "message": "no" })),
    ]);
    let states: Vec<_> = told.iter().map(|event| event["statusUpdate"]["status"]["state"].clone()).collect();
    assert_eq!(states, ["TASK_STATE_WORKING", "TASK_STATE_AUTH_REQUIRED", "TASK_STATE_REJECTED"]);
    assert_eq!(told[1]["statusUpdate"]["status"]["message"]["parts"][0]["text"], "Who are you?");
    assert_eq!(projection.status.state, State::Rejected);
}

#[test]
fn what_was_let_go_is_told_as_before_and_kept_no_more() {
    let made =
        |append| json!({ "artifact": { "artifactId": "m", "parts": [{ "data": { "large": true } }] }, "append": append, "last": false });
    let entries = [
        ("text", json!({ "part": "p1", "delta": "one " })),
        ("artifact", made(false)),
        ("text", json!({ "part": "p1", "delta": "two" })),
        ("text", json!({ "part": "p2", "delta": "three" })),
        ("artifact", made(true)),
        ("text", json!({ "part": "p2", "delta": "four" })),
    ];
    let (_, all) = told(&entries);
    let (mut projection, mut lean) = told(&entries[..2]);
    projection.let_go();
    for (seq, (kind, data)) in (3..).zip(&entries[2..]) {
        lean.extend(projection.apply(&entry(seq, kind, data)).into_iter().map(|event| json!(event)));
    }
    assert_eq!(lean, all);
    let kept: Vec<_> = projection.artifacts.iter().map(|artifact| (artifact.artifact_id.as_str(), json!(artifact.parts))).collect();
    let nothing = json!([{ "text": "" }]);
    assert_eq!(kept, [("p1", nothing.clone()), ("m", nothing.clone()), ("p2", nothing)]);
}

#[test]
fn who_works_on_it_is_known_from_its_notes() {
    let note = |state: &str, more: Value| {
        let mut note = json!({ "state": state });
        note.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("status", note)
    };
    let notes = [
        note("working", json!({ "worker": "w" })),
        note("started", json!({ "worker": "w", "session_id": "s" })),
        note("disconnected", json!({ "worker": "w" })),
        note("cancel-requested", json!({})),
        note("submitted", json!({})),
    ];
    let known = |upto: usize| json!(told(&notes[..upto]).0.known);
    assert_eq!(known(1), json!({ "worker": "w" }));
    assert_eq!(known(2), json!({ "worker": "w", "session": "s" }));
    assert_eq!(known(4), json!({ "worker": "w", "session": "s", "disconnected": true, "cancelRequested": true }));
    assert_eq!(known(5), json!({ "session": "s" }));
}

//! What a stream looks like in A2A.

use super::{Projection, changed_files};
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

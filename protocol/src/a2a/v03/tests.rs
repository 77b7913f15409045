//! Whatever one version says, the other gives back.

use super::{Event, File, FileContent, Message, MessageSendParams, Part, Task};
use crate::a2a as v1;
use crate::time::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn text() -> impl Strategy<Value = String> {
    "[a-z/ä:\\-\u{0}]{1,12}"
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), object_of(inner).prop_map(Value::from)]
    })
}

fn object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = v1::Metadata> {
    vec((text(), inner), 0..4).prop_map(|fields| fields.into_iter().collect::<Map<_, _>>())
}

fn metadata() -> impl Strategy<Value = v1::Metadata> {
    object_of(value())
}

fn part() -> impl Strategy<Value = v1::Part> {
    let words = text().prop_map(v1::Part::text);
    let data = value().prop_map(v1::Part::data);
    let content = prop_oneof![vec(any::<u8>(), 0..20).prop_map(v1::Content::Raw), text().prop_map(v1::Content::Url)];
    let file = (content, option::of(text()), option::of(text())).prop_map(|(content, filename, media_type)| v1::Part {
        filename,
        media_type,
        ..content.into()
    });
    (prop_oneof![words, data, file], metadata()).prop_map(|(part, metadata)| v1::Part { metadata, ..part })
}

fn message() -> impl Strategy<Value = v1::Message> {
    let role = prop_oneof![Just(v1::Role::User), Just(v1::Role::Agent)];
    (text(), option::of(text()), option::of(text()), role, vec(part(), 0..4), metadata(), vec(text(), 0..3), vec(text(), 0..3)).prop_map(
        |(message_id, context_id, task_id, role, parts, metadata, extensions, reference_task_ids)| v1::Message {
            message_id,
            context_id,
            task_id,
            role,
            parts,
            metadata,
            extensions,
            reference_task_ids,
        },
    )
}

fn artifact() -> impl Strategy<Value = v1::Artifact> {
    (text(), option::of(text()), option::of(text()), vec(part(), 1..3), metadata(), vec(text(), 0..2)).prop_map(
        |(artifact_id, name, description, parts, metadata, extensions)| v1::Artifact {
            artifact_id,
            name,
            description,
            parts,
            metadata,
            extensions,
        },
    )
}

fn status() -> impl Strategy<Value = v1::TaskStatus> {
    let at = option::of((0_i64..4_000_000_000_000).prop_map(Timestamp));
    (proptest::sample::select(v1::State::ALL), option::of(message()), at).prop_map(|(state, message, timestamp)| v1::TaskStatus {
        state,
        message: message.map(Box::new),
        timestamp,
    })
}

fn task() -> impl Strategy<Value = v1::Task> {
    (text(), text(), status(), option::of(vec(artifact(), 0..3)), vec(message(), 0..3), metadata()).prop_map(
        |(id, context_id, status, artifacts, history, metadata)| v1::Task { id, context_id, status, artifacts, history, metadata },
    )
}

fn event() -> impl Strategy<Value = v1::StreamResponse> {
    let changed = (text(), text(), status(), metadata()).prop_map(|(task_id, context_id, status, metadata)| {
        v1::StreamResponse::StatusUpdate(v1::TaskStatusUpdateEvent { task_id, context_id, status, metadata })
    });
    let made = (text(), text(), artifact(), any::<bool>(), any::<bool>(), metadata()).prop_map(
        |(task_id, context_id, artifact, append, last_chunk, metadata)| {
            v1::StreamResponse::ArtifactUpdate(v1::TaskArtifactUpdateEvent { task_id, context_id, artifact, append, last_chunk, metadata })
        },
    );
    prop_oneof![changed, made, task().prop_map(v1::StreamResponse::Task), message().prop_map(v1::StreamResponse::Message)]
}

/// Through the wire and back.
fn wired<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn an_event_of_1_0_survives_the_way_over_0_3(event in event()) {
        prop_assert_eq!(&wired(&event), &event);
        let old = Event::from(event.clone());
        prop_assert_eq!(&wired(&old), &old);
        prop_assert_eq!(v1::StreamResponse::from(old), event);
    }

    #[test]
    fn an_event_of_0_3_survives_the_way_over_1_0(event in event()) {
        // Those that 1.0 can make are those of 0.3 in which nothing is said that means nothing (`metadata: {}`, `append: null`).
        let old = Event::from(event);
        prop_assert_eq!(Event::from(v1::StreamResponse::from(old.clone())), old);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,200}") {
        let _ = serde_json::from_str::<Event>(&text);
        let _ = serde_json::from_str::<v1::StreamResponse>(&text);
    }

    #[test]
    fn no_json_makes_the_readers_panic(value in value()) {
        for value in [value.clone(), json!({ "parts": [value.clone()] }), json!({ "message": { "messageId": "m", "role": "user", "parts": [value] } })] {
            let _ = serde_json::from_value::<MessageSendParams>(value.clone());
            let _ = serde_json::from_value::<v1::SendMessageRequest>(value.clone());
            let _ = serde_json::from_value::<v1::AgentCard>(value);
        }
    }
}

#[test]
fn a_message_is_read_and_written_as_0_3_spells_it() {
    let wire = json!({
        "kind": "message", "messageId": "m", "role": "user", "contextId": "c",
        "parts": [
            { "kind": "text", "text": "hello" },
            { "kind": "file", "file": { "bytes": "aGk=", "name": "hi.txt", "mimeType": "text/plain" } },
            { "kind": "file", "file": { "uri": "https://x/y" } },
            { "kind": "data", "data": { "a": [1] }, "metadata": { "b": 2 } }
        ]
    });
    let old: Message = serde_json::from_value(wire.clone()).unwrap();
    assert_eq!(serde_json::to_value(&old).unwrap(), wire);
    let file = File { content: FileContent::Bytes(b"hi".to_vec()), name: Some("hi.txt".into()), mime_type: Some("text/plain".into()) };
    assert_eq!(old.parts[1], Part::File { file, metadata: None });
    let new = v1::Message::from(old);
    assert_eq!(new.parts[1].content, v1::Content::Raw(b"hi".to_vec()));
    for wrong in
        [json!({ "kind": "video" }), json!({ "text": "x" }), json!({ "kind": "file", "file": {} }), json!({ "kind": "data", "data": 7 })]
    {
        assert!(serde_json::from_value::<Part>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn data_that_is_no_object_is_wrapped_as_the_official_sdks_do() {
    let old = Part::from(v1::Part::data(json!([1, 2])));
    let wire = json!({ "kind": "data", "data": { "value": [1, 2] }, "metadata": { "data_part_compat": true } });
    assert_eq!(serde_json::to_value(&old).unwrap(), wire);
    assert_eq!(v1::Part::from(old), v1::Part::data(json!([1, 2])));
}

#[test]
fn a_status_is_final_where_nothing_follows_before_the_client_speaks() {
    for (state, is_final) in [(v1::State::Working, false), (v1::State::InputRequired, true), (v1::State::Completed, true)] {
        let status = v1::TaskStatus { state, ..v1::TaskStatus::default() };
        let event = v1::TaskStatusUpdateEvent { status, ..v1::TaskStatusUpdateEvent::default() };
        assert_eq!(super::TaskStatusUpdateEvent::from(event).is_final, is_final, "{state:?}");
    }
    let task = Task::from(v1::Task::default());
    assert_eq!(serde_json::to_value(task).unwrap(), json!({ "kind": "task", "id": "", "contextId": "", "status": { "state": "unknown" } }));
}

#[test]
fn history_length_0_means_all_in_0_3() {
    let params = json!({ "message": { "messageId": "m", "role": "user", "parts": [] },
        "configuration": { "historyLength": 0, "blocking": false, "pushNotificationConfig": { "url": "https://x" } } });
    let params: MessageSendParams = serde_json::from_value(params).unwrap();
    let configuration = v1::SendMessageRequest::from(params).configuration.unwrap();
    assert_eq!(configuration.history_length, None);
    assert!(configuration.return_immediately);
    assert_eq!(configuration.task_push_notification_config.unwrap().url, "https://x");
}

//! Whatever one version says, the other gives back.

use super::{Event, File, FileContent, Message, MessageSendParams, Part, Task};
use crate::a2a as v1;
use crate::a2a::arbitrary::{event, value};
use proptest::prelude::*;
use serde_json::json;

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
    // A client that sends a list as it is means the same.
    let bare: Part = serde_json::from_value(json!({ "kind": "data", "data": [1, 2] })).unwrap();
    assert_eq!(v1::Part::from(bare), v1::Part::data(json!([1, 2])));
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

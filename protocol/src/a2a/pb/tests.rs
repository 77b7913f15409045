//! Whatever the types of the JSON say, the messages give back; and the other way round.

use super::Misfit;
use crate::a2a::arbitrary::{card, event, list, listed, message, send, task, value, webhook};
use crate::a2a::{self as v1, MOST_DEPTH, depth, pb};
use crate::time::Timestamp;
use a2a_pb::proto as normative;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde_json::json;

/// There, over the wire to `N`, which is generated from the normative definition and drops what it does not know, and back; and once more from there.
fn there_and_back<A, B, N>(value: &A) -> Result<(), TestCaseError>
where
    A: Clone + PartialEq + std::fmt::Debug,
    B: From<A> + Message + Default + PartialEq + std::fmt::Debug,
    A: TryFrom<B>,
    A::Error: std::fmt::Debug,
    N: Message + Default,
{
    let spelled = B::from(value.clone());
    let normative = N::decode(spelled.encode_to_vec().as_slice()).unwrap();
    let wired = B::decode(normative.encode_to_vec().as_slice()).unwrap();
    prop_assert_eq!(&wired, &spelled);
    let back = A::try_from(wired).unwrap();
    prop_assert_eq!(&back, value);
    prop_assert_eq!(B::from(back), spelled);
    Ok(())
}

/// A list of no artifacts cannot be told from none.
fn plain(task: v1::Task) -> v1::Task {
    v1::Task { artifacts: task.artifacts.filter(|artifacts| !artifacts.is_empty()), ..task }
}

fn plain_event(event: v1::StreamResponse) -> v1::StreamResponse {
    match event {
        v1::StreamResponse::Task(task) => v1::StreamResponse::Task(plain(task)),
        other => other,
    }
}

proptest! {
    #[test]
    fn an_event_survives(event in event()) {
        there_and_back::<_, pb::StreamResponse, normative::StreamResponse>(&plain_event(event))?;
    }

    #[test]
    fn an_answer_survives(task in task(), message in message(), listed in listed()) {
        there_and_back::<_, pb::SendMessageResponse, normative::SendMessageResponse>(&v1::SendMessageResponse::Task(plain(task)))?;
        there_and_back::<_, pb::SendMessageResponse, normative::SendMessageResponse>(&v1::SendMessageResponse::Message(message))?;
        let tasks = listed.tasks.into_iter().map(plain).collect();
        there_and_back::<_, pb::ListTasksResponse, normative::ListTasksResponse>(&v1::ListTasksResponse { tasks, ..listed })?;
    }

    #[test]
    fn a_request_survives(send in send(), list in list(), id in "[a-z]{1,9}", other in "[a-z]{1,9}", tenant in option::of("[a-z]{1,9}"), n in option::of(1..101)) {
        there_and_back::<_, pb::SendMessageRequest, normative::SendMessageRequest>(&send)?;
        there_and_back::<_, pb::ListTasksRequest, normative::ListTasksRequest>(&list)?;
        there_and_back::<_, pb::CancelTaskRequest, normative::CancelTaskRequest>(&v1::CancelTaskRequest { tenant: tenant.clone(), id: id.clone(), metadata: send.metadata })?;
        there_and_back::<_, pb::GetTaskRequest, normative::GetTaskRequest>(&v1::GetTaskRequest { tenant: tenant.clone(), id: id.clone(), history_length: n })?;
        there_and_back::<_, pb::SubscribeToTaskRequest, normative::SubscribeToTaskRequest>(&v1::SubscribeRequest { tenant: tenant.clone(), id: id.clone() })?;
        let one = v1::GetPushConfigRequest { tenant: tenant.clone(), task_id: id.clone(), id: other.clone() };
        there_and_back::<_, pb::GetTaskPushNotificationConfigRequest, normative::GetTaskPushNotificationConfigRequest>(&one)?;
        there_and_back::<_, pb::DeleteTaskPushNotificationConfigRequest, normative::DeleteTaskPushNotificationConfigRequest>(&one)?;
        let all = v1::ListPushConfigsRequest { tenant: tenant.clone(), task_id: id, page_size: n, page_token: Some(other) };
        there_and_back::<_, pb::ListTaskPushNotificationConfigsRequest, normative::ListTaskPushNotificationConfigsRequest>(&all)?;
        there_and_back::<_, pb::GetExtendedAgentCardRequest, normative::GetExtendedAgentCardRequest>(&v1::GetExtendedCardRequest { tenant })?;
    }

    #[test]
    fn a_webhook_survives(webhook in webhook(), next in "[a-z]{0,9}") {
        there_and_back::<_, pb::TaskPushNotificationConfig, normative::TaskPushNotificationConfig>(&webhook)?;
        let all = v1::ListPushConfigsResponse { configs: vec![webhook], next_page_token: next };
        there_and_back::<_, pb::ListTaskPushNotificationConfigsResponse, normative::ListTaskPushNotificationConfigsResponse>(&all)?;
    }

    #[test]
    fn a_card_survives(card in card()) {
        there_and_back::<_, pb::AgentCard, normative::AgentCard>(&card)?;
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), value in value()) {
        let _ = pb::SendMessageRequest::decode(bytes.as_slice()).map(v1::SendMessageRequest::try_from);
        let _ = pb::StreamResponse::decode(bytes.as_slice()).map(v1::StreamResponse::try_from);
        let _ = pb::AgentCard::decode(bytes.as_slice()).map(v1::AgentCard::try_from);
        let wrong = serde_json::Map::from_iter([("flows".to_owned(), value.clone()), ("description".to_owned(), value)]);
        let _ = pb::SecurityScheme::from(v1::SecurityScheme::Oauth2(wrong));
    }
}

fn number(number: f64) -> Result<serde_json::Value, Misfit> {
    super::values::from_value(Value { kind: Some(Kind::NumberValue(number)) })
}

#[test]
fn whole_numbers_have_no_point_and_others_keep_theirs() {
    for (given, text) in [(0.0, "0"), (-3.0, "-3"), (0.5, "0.5"), (9_007_199_254_740_992.0, "9007199254740992"), (1e300, "1e+300")] {
        assert_eq!(number(given).unwrap().to_string(), text);
    }
    for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(number(none).unwrap_err().reason, "must be a finite number");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let infinite = Value { kind: Some(Kind::NumberValue(f64::INFINITY)) };
    let part = |content| pb::Part { content, ..pb::Part::default() };
    let send = |parts, fields: Vec<(String, Value)>| pb::SendMessageRequest {
        message: Some(pb::Message { parts, ..pb::Message::default() }),
        metadata: Some(Struct { fields: fields.into_iter().collect() }),
        ..pb::SendMessageRequest::default()
    };
    let text = || part(Some(pb::Content::Text("x".into())));
    for (wrong, field) in [
        (pb::SendMessageRequest::default(), "message"),
        (send(vec![text(), part(None)], vec![]), "message.parts[1]"),
        (send(vec![part(Some(pb::Content::Data(infinite.clone())))], vec![]), "message.parts[0].data"),
        (send(vec![text()], vec![("k".into(), infinite)]), "metadata.k"),
    ] {
        assert_eq!(v1::SendMessageRequest::try_from(wrong).unwrap_err().field, field);
    }
    let list = |list| v1::ListTasksRequest::try_from(list).map_err(|misfit: Misfit| misfit.field);
    assert_eq!(list(pb::ListTasksRequest { status: 9, ..Default::default() }), Err("status".to_owned()));
    for (seconds, nanos) in [(i64::MAX, 0), (0, -1), (0, 1_000_000_000), (253_402_300_800, 0)] {
        let after = Some(prost_types::Timestamp { seconds, nanos });
        let wrong = pb::ListTasksRequest { status_timestamp_after: after, ..Default::default() };
        assert_eq!(list(wrong), Err("statusTimestampAfter".to_owned()), "{seconds} {nanos}");
    }
}

#[test]
fn data_of_any_depth_can_be_read_by_those_who_take_a_hundred_levels() {
    let nested = |levels: usize| (0..levels).fold(json!("deepest"), |inner, _| json!({ "a": inner }));
    let told = |data: &serde_json::Value| {
        let parts = vec![v1::Part { metadata: [("m".to_owned(), data.clone())].into_iter().collect(), ..v1::Part::data(data.clone()) }];
        let message = v1::Message { parts, ..v1::Message::default() };
        let status = v1::TaskStatus { message: Some(Box::new(message.clone())), ..v1::TaskStatus::default() };
        let task = v1::Task { status, history: vec![message], ..v1::Task::default() };
        let wire = pb::StreamResponse::from(v1::StreamResponse::Task(task.clone())).encode_to_vec();
        (task, v1::StreamResponse::try_from(pb::StreamResponse::decode(wire.as_slice()).unwrap()).unwrap())
    };
    let (task, back) = told(&nested(MOST_DEPTH - 1));
    assert_eq!(back, v1::StreamResponse::Task(task));
    let (_, back) = told(&nested(MOST_DEPTH + 60));
    let v1::StreamResponse::Task(task) = back else { panic!("it is no task") };
    let v1::Content::Data(data) = &task.history[0].parts[0].content else { panic!("it is no data") };
    assert_eq!(depth(data), MOST_DEPTH);
    assert!(data.to_string().contains("deepest"));
}

#[test]
fn times_are_told_to_the_millisecond() {
    for at in [0, 1, 999, 1_000, -1, -1_001, 1_700_000_000_123] {
        let spelled = super::values::to_time(Timestamp(at));
        assert_eq!(super::values::from_time("at", Some(spelled)), Ok(Some(Timestamp(at))), "{at}");
    }
}

#[test]
fn a_state_or_a_speaker_of_a_later_version_is_an_unknown_one() {
    let status = pb::TaskStatus { state: 77, ..Default::default() };
    assert_eq!(v1::TaskStatus::try_from(status).unwrap().state, v1::State::Unspecified);
    let message = pb::Message { role: -1, ..Default::default() };
    assert_eq!(v1::Message::try_from(message).unwrap().role, v1::Role::Unspecified);
}

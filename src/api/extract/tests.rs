use super::*;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use muster_protocol::error::ErrorBody;
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::stream::AppendEntries;
use muster_protocol::task::SubmitTask;
use muster_protocol::worker::{Pull, RegisterWorker};
use proptest::prelude::*;
use rstest::rstest;
use serde::Deserialize;
use tower::ServiceExt;

const LIMIT: usize = 4096;

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    limit: Option<u32>,
}

fn app() -> Router {
    Router::new()
        .route("/register", post(|Json(body): Json<RegisterWorker>| async move { body.name }))
        .route("/submit", post(|Json(body): Json<SubmitTask>| async move { body.prompt }))
        .route("/pull", post(|Json(body): Json<Pull>| async move { body.pull_seq.to_string() }))
        .route("/stream", post(|JsonKeepNul(body): JsonKeepNul<AppendEntries>| async move { body.entries.len().to_string() }))
        .route("/optional", post(|OptionalJson(body): OptionalJson<SubmitTask>| async move { body.is_some().to_string() }))
        .route("/page", get(|Query(page): Query<Page>| async move { format!("{:?}", page.limit) }))
        .route("/tasks/{id}", get(|PathId(id): PathId<TaskId>| async move { id.to_string() }))
        .route("/workers/{id}/tasks/{task}", get(|PathIds(id, _): PathIds<WorkerId, TaskId>| async move { id.to_string() }))
        .layer(DefaultBodyLimit::max(LIMIT))
        .layer(axum::Extension(BodyLimit(LIMIT)))
}

async fn answer(request: Request<Body>) -> (StatusCode, String) {
    let response = app().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn post_json(path: &str, body: impl Into<Body>) -> (StatusCode, String) {
    answer(Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()).await
}

fn message(body: &str) -> String {
    serde_json::from_str::<ErrorBody>(body).unwrap().detail
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let body = r#"{"worker_id": 3, "models": [{"id": "a/b"}, {"id": 7}], "slots": "two", "labels": {"os": 1}}"#;
    let (status, body) = post_json("/register", body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let error: ErrorBody = serde_json::from_str(&body).unwrap();
    insta::assert_snapshot!(error.detail.replace("; ", "\n"), @r#"
    worker_id: expected a string, found integer `3`
    labels.os: expected a string, found integer `1`
    models[1].id: expected a string, found integer `7`
    slots: expected a whole number from 0 on, found string "two"
    name: is missing
    "#);
    assert_eq!(error.error.details["fields"][0]["field"], "worker_id");
}

#[rstest]
#[case("{", "the body is not JSON: EOF while parsing an object at line 1 column 1")]
#[case("{\"prompt\":\"\"}x", "the body is not JSON: trailing characters at line 1 column 14")]
#[case(" ", "the body is empty; this route reads a JSON object")]
#[case("{\"prompt\": tru}", "the body is not JSON: expected ident at line 1 column 15")]
#[tokio::test]
async fn what_is_no_json_is_told_with_its_place(#[case] body: &'static str, #[case] expected: &str) {
    let (status, body) = post_json("/submit", body).await;
    assert_eq!((status, message(&body).as_str()), (StatusCode::BAD_REQUEST, expected));
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_refused() {
    let (status, body) = post_json("/submit", b"{\"prompt\": \"\xff\"}".to_vec()).await;
    assert_eq!((status, message(&body).as_str()), (StatusCode::BAD_REQUEST, "the body is not UTF-8: the first wrong byte is at offset 12"));
}

#[tokio::test]
async fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    let body = format!("{{\"prompt\":\"x\",\"metadata\":{{\"a\":{}{}}}}}", "[".repeat(1000), "]".repeat(1000));
    let (status, _) = post_json("/submit", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_the_limit() {
    let (status, body) = post_json("/submit", format!("{{\"prompt\":\"{}\"}}", "x".repeat(LIMIT))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(message(&body).contains("4096 bytes"), "{body}");
}

#[rstest]
#[case(None, StatusCode::OK)]
#[case(Some("application/json; charset=utf-8"), StatusCode::OK)]
#[case(Some("Application/JSON"), StatusCode::OK)]
#[case(Some("application/vnd.muster+json"), StatusCode::OK)]
#[case(Some("text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[case(Some("application/x-www-form-urlencoded"), StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[tokio::test]
async fn only_json_is_read_and_no_type_means_json(#[case] content_type: Option<&str>, #[case] expected: StatusCode) {
    let mut request = Request::post("/submit");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let (status, _) = answer(request.body(Body::from(r#"{"prompt":"x"}"#)).unwrap()).await;
    assert_eq!(status, expected);
}

#[tokio::test]
async fn nul_is_refused_where_it_would_be_stored_as_text_and_kept_in_the_stream() {
    let (status, body) = post_json("/submit", r#"{"prompt":"x","metadata":{"a":["b","c\u0000d"]}}"#).await;
    assert_eq!((status, message(&body).as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "metadata.a[1]: must not contain U+0000"));
    let (status, _) = post_json("/submit", r#"{"prompt":"a backslash and u0000: \\u0000"}"#).await;
    assert_eq!(status, StatusCode::OK);
}

#[rstest]
#[case("", StatusCode::OK, "false")]
#[case("null", StatusCode::OK, "false")]
#[case(r#"{"prompt":"x"}"#, StatusCode::OK, "true")]
#[tokio::test]
async fn an_optional_body_may_be_absent(#[case] body: &'static str, #[case] expected: StatusCode, #[case] text: &str) {
    assert_eq!(post_json("/optional", body).await, (expected, text.to_owned()));
}

#[tokio::test]
async fn a_wrong_query_names_the_parameter() {
    let (status, body) = answer(Request::get("/page?limit=all").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message(&body).contains("limit"), "{body}");
}

#[rstest]
#[case("/tasks/42", "there is no task `42`")]
#[case("/tasks/%ff", "there is no resource `/tasks/%ff`")]
#[case("/workers/a%20b/tasks/42", "there is no worker `a b`")]
#[tokio::test]
async fn an_id_that_can_be_none_is_not_found(#[case] path: &str, #[case] expected: &str) {
    let (status, body) = answer(Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!((status, message(&body).as_str()), (StatusCode::NOT_FOUND, expected));
}

/// JSON of any shape, with the field names of real bodies among its keys.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let key = prop_oneof![Just("prompt"), Just("name"), Just("models"), Just("id"), Just("worker_id"), Just("target"), Just("entries")];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::hash_map(key.clone(), inner, 0..5).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

fn never_a_fault(path: &str, bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (status, body) = runtime.block_on(post_json(path, bytes.to_vec()));
    assert!(!status.is_server_error(), "{status}: {body}");
    if status.is_client_error() {
        assert!(!message(&body).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_are_never_a_fault_of_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for path in ["/register", "/submit", "/pull", "/stream", "/optional"] {
            never_a_fault(path, &bytes);
        }
    }

    #[test]
    fn random_json_is_never_a_fault_of_the_server(value in any_json()) {
        let bytes = serde_json::to_vec(&value).unwrap();
        for path in ["/register", "/submit", "/pull", "/stream", "/optional"] {
            never_a_fault(path, &bytes);
        }
    }

    #[test]
    fn a_real_body_with_a_piece_cut_out_is_never_a_fault_of_the_server(from in 0usize..200, len in 1usize..40) {
        let body = br#"{"worker_id":"w-1","name":"a","hostname":"h","capabilities":["opencode"],"models":[{"id":"a/b","name":"B"}],"slots":2,"labels":{"os":"linux"},"codebases":[{"name":"x","path":"/x"}]}"#;
        let from = from.min(body.len());
        let to = (from + len).min(body.len());
        never_a_fault("/register", &[&body[..from], &body[to..]].concat());
    }
}

#[tokio::test]
async fn an_array_is_no_object_at_any_depth() {
    for (body, field) in
        [("[\"x\"]", ""), ("{\"prompt\":\"x\",\"target\":[]}", "target"), ("{\"prompt\":\"x\",\"target\":[\"app\"]}", "target")]
    {
        let (status, answer) = post_json("/submit", body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        let error: ErrorBody = serde_json::from_str(&answer).unwrap();
        assert_eq!(error.error.details["fields"][0]["field"], field, "{body}");
        assert!(error.detail.ends_with("expected an object, found sequence"), "{}", error.detail);
    }
}

#[tokio::test]
async fn a_wrong_type_for_a_word_is_told_by_its_field() {
    let (status, body) = post_json("/submit", r#"{"prompt":"x","on_lost":7}"#).await;
    assert_eq!((status, message(&body).as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "on_lost: is of another type than this field has"));
}

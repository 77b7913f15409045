use super::http::is_loopback;
use super::script::{Act, answer, server};
use super::{Client, ClientError};
use crate::task::SubmitTask;
use std::time::Duration;
use tokio::net::TcpListener;

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn a_refusal_says_status_code_sentence_details_and_when_to_try_again() {
    let body = r#"{"error":{"code":"gap","message":"entries are missing","details":{"next_seq":7}},"detail":"entries are missing"}"#;
    let (client, _requests) = server(vec![answer("409 Conflict", "retry-after: 3\r\n", body)]).await;
    let error = client.status().await.unwrap_err();
    assert_eq!((error.code(), error.next_seq(), error.to_string().as_str()), ("gap", Some(7), "entries are missing"));
    assert!(!error.is_retryable());
    assert!(matches!(error, ClientError::Refused { status: 409, retry_after: Some(pause), .. } if pause == Duration::from_secs(3)));
}

#[tokio::test]
async fn an_answer_of_something_else_than_muster_is_told_as_such() {
    let acts = vec![answer("404 Not Found", "", "<html>"), answer("502 Bad Gateway", "", "<html>"), answer("200 OK", JSON, "[1")];
    let (client, _requests) = server(acts).await;
    let missing = client.status().await.unwrap_err();
    assert!(missing.to_string().contains("is this a Muster server?") && !missing.is_retryable(), "{missing}");
    assert!(client.status().await.unwrap_err().is_retryable());
    let malformed = client.status().await.unwrap_err();
    assert!(matches!(malformed, ClientError::Malformed { .. }) && !malformed.is_retryable(), "{malformed}");
}

#[tokio::test]
async fn no_connection_and_a_broken_one_are_told_in_plain_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let refused = Client::new(&address, None).unwrap().status().await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot reach the server at {address}: connection refused"));
    assert!(refused.is_retryable());
    let cut = Act::Send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"availa".to_owned());
    let (client, _requests) = server(vec![cut]).await;
    let broken = client.status().await.unwrap_err();
    assert!(matches!(broken, ClientError::Unreachable { .. }) && broken.is_retryable(), "{broken}");
}

#[tokio::test]
async fn a_submit_carries_its_key_and_the_token() {
    let (client, mut requests) = server(vec![answer("503 Service Unavailable", "", "{}")]).await;
    let body = SubmitTask { prompt: "p".to_owned(), ..SubmitTask::default() };
    assert!(client.submit(&body, Some("key-1")).await.is_err());
    let request = requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post /v1/opencode/tasks http/1.1"), "{request}");
    assert!(request.contains("idempotency-key: key-1\r\n") && request.contains("authorization: bearer secret\r\n"), "{request}");
}

#[tokio::test]
async fn a_page_is_its_bytes_and_the_place_of_the_next() {
    let (client, mut requests) = server(vec![answer("200 OK", "x-next-cursor: c2\r\n", "[ 1 ]\n"), answer("200 OK", JSON, "[]")]).await;
    let page = client.get_text("v1/opencode/tasks", &[("limit", "1"), ("q", "a b&c")]).await.unwrap();
    assert_eq!((page.text.as_str(), page.next.as_deref()), ("[ 1 ]\n", Some("c2")));
    assert!(client.get_text("v1/opencode/tasks", &[]).await.unwrap().next.is_none());
    assert!(requests.recv().await.unwrap().starts_with("GET /v1/opencode/tasks?limit=1&q=a+b%26c HTTP/1.1"));
}

#[test]
fn addresses_are_checked_when_they_are_given() {
    for wrong in ["", "127.0.0.1:5001", "ftp://host", "https://", "http://"] {
        assert!(matches!(Client::new(wrong, None), Err(ClientError::Address { .. })), "{wrong}");
    }
    assert_eq!(Client::new("http://h:1/muster/", None).unwrap().server(), "http://h:1/muster");
    assert_eq!(Client::new("https://h", None).unwrap().server(), "https://h");
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    for (address, expected) in
        [("http://localhost:1", true), ("http://127.8.0.1", true), ("http://[::1]:1", true), ("http://example.org", false)]
    {
        assert_eq!(is_loopback(&address.parse().unwrap()), expected, "{address}");
    }
}

use super::{EventStream, Incoming, StreamMessage};
use crate::client::script::{Act, EVENTS, answer, events, head, server};
use crate::client::{Client, ClientError};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

async fn next(stream: &mut EventStream) -> Result<StreamMessage, ClientError> {
    timeout(Duration::from_secs(10), stream.next(|_| ())).await.expect("no message within 10 s")
}

async fn data(stream: &mut EventStream) -> String {
    next(stream).await.unwrap().data
}

fn quick(mut stream: EventStream) -> EventStream {
    (stream.pause, stream.first_pause) = (Duration::from_millis(1), Duration::from_millis(1));
    stream
}

#[tokio::test]
async fn messages_come_with_name_id_and_data_and_comments_are_none() {
    let (client, mut requests) =
        server(vec![events(": hello\n\nevent: text\nid: 7\ndata: {\"a\":\ndata: 1}\n\n:\n\ndata: bare\n\n")]).await;
    let mut stream = client.follow_events(&[("type", "task.completed")], None);
    let message = next(&mut stream).await.unwrap();
    assert_eq!(message, StreamMessage { event: "text".to_owned(), id: "7".to_owned(), data: "{\"a\":\n1}".to_owned() });
    assert_eq!(next(&mut stream).await.unwrap().event, "message");
    let request = requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /v1/events?type=task.completed http/1.1"), "{request}");
    assert!(request.contains("accept: text/event-stream") && request.contains("authorization: bearer secret"), "{request}");
    assert!(!request.contains("last-event-id"), "{request}");
}

#[tokio::test]
async fn a_lost_connection_is_continued_after_the_last_message() {
    let acts = vec![events("id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: cut off"), Act::Close, events("id: 3\ndata: c\n\n")];
    let (client, mut requests) = server(acts).await;
    let mut stream = quick(client.follow_events(&[], Some(0)));
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(data(&mut stream).await);
    }
    assert_eq!(all, ["a", "b", "c"]);
    for last_seen in ["0", "2", "2"] {
        let request = requests.recv().await.unwrap().to_ascii_lowercase();
        assert!(request.contains(&format!("last-event-id: {last_seen}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn a_silent_connection_is_taken_for_dead() {
    let acts = vec![Act::Hold(format!("{EVENTS}id: 1\ndata: a\n\n: comment\n\n")), events("id: 2\ndata: b\n\n")];
    let (client, _requests) = server(acts).await;
    let mut stream = quick(client.follow_events(&[], None));
    stream.silence = Duration::from_millis(50);
    assert_eq!(data(&mut stream).await, "a");
    let mut lost = Vec::new();
    let message = timeout(Duration::from_secs(10), stream.next(|error| lost.push(error.to_string()))).await.unwrap().unwrap();
    assert_eq!(message.data, "b");
    assert!(lost[0].contains("nothing heard"), "{lost:?}");
}

#[tokio::test]
async fn overload_passes_and_a_refusal_does_not() {
    let missing = r#"{"error":{"code":"not_found","message":"there is no such task"}}"#;
    let acts = vec![answer("503 Service Unavailable", "retry-after: 0\r\n", "{}"), answer("404 Not Found", "", missing)];
    let (client, _requests) = server(acts).await;
    let mut stream = quick(client.follow_events(&[], None));
    let refused = next(&mut stream).await.unwrap_err();
    assert_eq!((refused.code(), refused.to_string().as_str()), ("not_found", "there is no such task"));
}

#[tokio::test]
async fn what_is_no_event_stream_is_not_read_as_one() {
    let (client, _requests) = server(vec![answer("200 OK", "content-type: text/html\r\n", "data: no\n\n")]).await;
    let refused = next(&mut client.follow_events(&[], None)).await.unwrap_err();
    assert!(matches!(refused, ClientError::Malformed { .. }), "{refused}");
}

#[tokio::test]
async fn the_server_says_how_long_to_pause() {
    let (client, _requests) = server(vec![events("retry: 3\nid: 1\ndata: a\n\n"), events("id: 2\ndata: b\n\n")]).await;
    let mut stream = client.follow_events(&[], None);
    data(&mut stream).await;
    assert_eq!((stream.first_pause, stream.pause), (Duration::from_millis(3), Duration::from_millis(3)));
    assert_eq!(data(&mut stream).await, "b");
}

#[tokio::test]
async fn pauses_grow_until_something_comes() {
    let (client, _requests) = server(vec![Act::Close, Act::Close, Act::Close, events("data: a\n\n")]).await;
    let mut stream = quick(client.follow_events(&[], None));
    let mut losses = 0;
    timeout(Duration::from_secs(10), stream.next(|_| losses += 1)).await.unwrap().unwrap();
    assert_eq!(losses, 3);
    assert_eq!(stream.pause, stream.first_pause, "a message makes the next pause short again");
}

#[tokio::test]
async fn characters_and_messages_cut_by_packets_arrive_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
    let text = "größer als 1 MB: ".to_owned() + &"é".repeat(600_000);
    let sent = text.clone();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        head(&mut socket).await;
        for piece in format!("{EVENTS}id: 1\r\ndata: {sent}\r\n\r\n").as_bytes().chunks(4_001) {
            socket.write_all(piece).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    assert_eq!(data(&mut client.follow_events(&[], None)).await, text);
}

#[tokio::test]
async fn the_stream_may_be_dropped_and_asked_again_at_any_point() {
    let acts = vec![Act::Close, events("id: 1\ndata: a\n\n"), answer("403 Forbidden", "", "{}")];
    let (client, _requests) = server(acts).await;
    let mut stream = quick(client.follow_events(&[], None)).into_stream();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        // Most of these are dropped while it waits for something.
        match timeout(Duration::from_micros(50), stream.next()).await {
            Err(_) => {}
            Ok(Some(Incoming::Message(message))) => seen.push(message.data),
            Ok(Some(Incoming::Lost(_))) => seen.push("lost".to_owned()),
            Ok(Some(Incoming::Refused(_))) => seen.push("refused".to_owned()),
            Ok(None) => seen.push("over".to_owned()),
        }
    }
    assert_eq!(seen, ["lost", "a", "lost", "refused", "over"]);
}

//! A server for tests that plays a script, one act a connection.

use super::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the server does with one connection after it has read the request.
pub(super) enum Act {
    /// Sends this and closes.
    Send(String),
    /// Sends this and keeps the connection open, silent.
    Hold(String),
    /// Closes at once.
    Close,
}

pub(super) const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

pub(super) fn events(body: &str) -> Act {
    Act::Send(format!("{EVENTS}{body}"))
}

pub(super) fn answer(status: &str, headers: &str, body: &str) -> Act {
    Act::Send(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

/// Plays the acts, one a connection, and tells the head of each request.
pub(super) async fn server(acts: Vec<Act>) -> (Client, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        for act in acts {
            let (mut socket, _) = listener.accept().await.unwrap();
            tell.send(head(&mut socket).await).unwrap();
            match act {
                Act::Send(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                Act::Hold(text) => {
                    socket.write_all(text.as_bytes()).await.unwrap();
                    held.push(socket);
                }
                Act::Close => drop(socket),
            }
        }
        std::future::pending::<()>().await;
    });
    (Client::new(&address, Some("secret".to_owned())).unwrap(), told)
}

pub(super) async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

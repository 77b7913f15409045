use super::*;
use crate::clock::{SystemClock, SystemIds};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn config(dir: &Path, options: &[(&str, &str)]) -> Config {
    let env = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let around = Surroundings { env, host: "here".to_owned(), user_data_dir: Some(dir.to_owned()) };
    let args = ServeArgs { port: Some(0), data_dir: Some(dir.join("data").display().to_string()), ..ServeArgs::default() };
    Config::load(&args, &around).unwrap()
}

async fn try_start(config: Config) -> Result<Server, ServeError> {
    start(config, Arc::new(SystemClock), Arc::new(SystemIds::default()), Lifecycle::new()).await
}

async fn stop(server: Server) {
    server.app().life.stop();
    server.finished().await.unwrap();
}

/// One request over a real connection; the whole answer.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_started_server_answers_the_local_user_without_a_token_and_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = try_start(config(dir.path(), &[])).await.unwrap();
    for address in server.addresses() {
        let answer = ask(*address, &format!("GET /v1/tokens HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("[]"), "{answer}");
        let rebound = ask(*address, "GET /v1/tokens HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
        assert!(rebound.starts_with("HTTP/1.1 401"), "{rebound}");
    }
    stop(server).await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let server = try_start(config(dir.path(), &[("MUSTER_LIMITS_SHUTDOWN_GRACE", "1h")])).await.unwrap();
    let mut idle = TcpStream::connect(server.addresses()[0]).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), stop(server)).await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_a_connection_that_never_says_what_it_wants() {
    let dir = tempfile::tempdir().unwrap();
    let server = try_start(config(dir.path(), &[("MUSTER_LIMITS_SHUTDOWN_GRACE", "1h")])).await.unwrap();
    let _silent = TcpStream::connect(server.addresses()[0]).await.unwrap();
    let mut half = TcpStream::connect(server.addresses()[0]).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), stop(server)).await.unwrap();
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let dir = tempfile::tempdir().unwrap();
    let server = try_start(config(dir.path(), &[])).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    let answer = ask(server.addresses()[0], &format!("{request}\r\n{request}\r\n{request}Connection: close\r\n\r\n")).await;
    assert_eq!(answer.matches(r#"{"status":"ok"}"#).count(), 3, "{answer}");
    stop(server).await;
}

#[tokio::test]
async fn a_second_server_on_one_data_directory_is_refused_with_the_holders_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = try_start(config(dir.path(), &[("MUSTER_NAME", "first")])).await.unwrap();
    let refused = try_start(config(dir.path(), &[("MUSTER_NAME", "second")])).await.err().unwrap().to_string();
    let expected = format!("is in use by the server \"first\" (process {})", std::process::id());
    assert!(refused.contains(&expected) && !refused.contains('\n'), "{refused}");
    stop(server).await;
    stop(try_start(config(dir.path(), &[("MUSTER_NAME", "second")])).await.unwrap()).await;
}

#[tokio::test]
async fn one_database_file_is_not_shared_by_two_data_directories() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = format!("sqlite:{}", dir.path().join("shared.db").display());
    let options = [("MUSTER_DATABASE_URL", url.as_str())];
    let server = try_start(config(dir.path(), &options)).await.unwrap();
    let refused = try_start(config(other.path(), &options)).await.err().unwrap();
    assert!(matches!(refused, ServeError::DataDir(DataDirError::Locked { .. })), "{refused}");
    stop(server).await;
}

#[tokio::test]
async fn a_port_in_use_is_one_line_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = try_start(config(dir.path(), &[("MUSTER_LISTEN", &address)])).await.err().unwrap().to_string();
    assert!(refused.contains(&address) && refused.contains("--port") && !refused.contains('\n'), "{refused}");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_one_line_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data"), "a file").unwrap();
    let refused = try_start(config(dir.path(), &[])).await.err().unwrap().to_string();
    assert!(refused.contains("--data-dir") && !refused.contains('\n'), "{refused}");
}

#[tokio::test]
async fn the_data_directory_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let server = try_start(config(dir.path(), &[])).await.unwrap();
    let mode = std::fs::metadata(dir.path().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    stop(server).await;
}

#[tokio::test]
async fn beyond_loopback_a_server_without_a_token_starts_only_if_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let everywhere = [("MUSTER_LISTEN", "0.0.0.0:0")];
    let refused = try_start(config(dir.path(), &everywhere)).await.err().unwrap();
    assert!(matches!(refused, ServeError::NoToken { .. }) && refused.to_string().contains("muster token create"), "{refused}");
    let insecure = try_start(config(dir.path(), &[everywhere[0], ("MUSTER_INSECURE", "true")])).await.unwrap();
    stop(insecure).await;
}

#[tokio::test]
async fn with_a_token_a_server_can_listen_everywhere_and_then_asks_everybody_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = try_start(config(dir.path(), &[])).await.unwrap();
    let body = r#"{"scope":"admin"}"#;
    let create =
        format!("POST /v1/tokens HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = ask(server.addresses()[0], &create).await;
    let created: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    stop(server).await;

    let server = try_start(config(dir.path(), &[("MUSTER_LISTEN", "0.0.0.0:0")])).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], server.addresses()[0].port()));
    let with = async |header: &str| {
        ask(address, &format!("GET /v1/tokens HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n")).await
    };
    let refused = with("").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let answered = with(&format!("Authorization: Bearer {}\r\n", created["secret"].as_str().unwrap())).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    stop(server).await;
}

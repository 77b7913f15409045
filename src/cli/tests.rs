//! Whole commands against a small server that answers as the real one is specified to.

use super::console::{Channel, Console, Recorder};
use super::exit::Exit;
use super::sessions::tests::example as session;
use super::task::tests::example;
use super::{Cli, run_on};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use clap::Parser;
use muster_protocol::task::{Task, TaskState};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the server answers, and what it was asked.
struct Stage {
    task: Task,
    /// The body of the task's stream, one a connection; the last one again and again.
    streams: Mutex<Vec<String>>,
    /// The stream begins only after the task was explained.
    waits: bool,
    explained: Notify,
    keys: Mutex<Vec<String>>,
    submitted: Mutex<Vec<Value>>,
    resumed_after: Mutex<Vec<String>>,
}

impl Stage {
    fn new(task: Task, streams: &[String]) -> Self {
        Self {
            task,
            streams: Mutex::new(streams.iter().rev().cloned().collect()),
            waits: false,
            explained: Notify::new(),
            keys: Mutex::default(),
            submitted: Mutex::default(),
            resumed_after: Mutex::default(),
        }
    }
}

fn entry(seq: u64, kind: &str, data: &Value) -> String {
    let entry = json!({"task_seq": seq, "attempt": 1, "at": "2026-01-02T03:04:05.678Z", "kind": kind, "data": data});
    format!("event: {kind}\nid: {seq}\ndata: {entry}\n\n")
}

fn text(seq: u64, part: &str, delta: &str) -> String {
    entry(seq, "text", &json!({"part": part, "delta": delta}))
}

fn done(state: &str) -> String {
    format!("event: done\ndata: {}\n\n", json!({"status": state, "state": state}))
}

type Shared = State<Arc<Stage>>;

async fn submit(State(stage): Shared, headers: HeaderMap, Json(body): Json<Value>) -> axum::response::Response {
    stage.submitted.lock().unwrap().push(body);
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut keys = stage.keys.lock().unwrap();
    keys.push(key);
    if keys.len() == 1 { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { Json(stage.task.clone()).into_response() }
}

async fn stream(State(stage): Shared, headers: HeaderMap) -> impl IntoResponse {
    if stage.waits {
        stage.explained.notified().await;
    }
    stage.resumed_after.lock().unwrap().extend(headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned()));
    let mut streams = stage.streams.lock().unwrap();
    let body = if streams.len() > 1 { streams.pop().unwrap() } else { streams[0].clone() };
    ([("content-type", "text/event-stream")], body)
}

async fn explain(State(stage): Shared) -> Json<Value> {
    stage.explained.notify_one();
    let blockers = json!([{"code": "busy", "message": "all 4 slots are taken"}]);
    let worker = json!({"worker_id": "w1", "name": "build-box", "blockers": blockers});
    Json(json!({"task_id": stage.task.id, "state": "submitted", "summary": "No worker is free.", "blockers": [], "workers": [worker]}))
}

/// Two pages: the second has the task.
async fn list(State(stage): Shared, Query(query): Query<HashMap<String, String>>) -> axum::response::Response {
    let is_poll = query.get("status").is_some_and(|status| status == "pending") && query.contains_key("worker_id");
    assert!(!is_poll, "this hands out tasks: {query:?}");
    if query.contains_key("cursor") {
        return Json(vec![stage.task.clone()]).into_response();
    }
    let mut other = stage.task.clone();
    other.id = "0199cccc-0001-7000-8000-00000000dddd".parse().unwrap();
    ([("x-next-cursor", "2")], Json(vec![other])).into_response()
}

async fn missing() -> axum::response::Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": {"code": "not_found", "message": "there is no such token"}}))).into_response()
}

async fn messages() -> Json<Value> {
    let message = json!({"id": "m", "role": "user", "parts": [{"type": "text", "text": "what now"}]});
    Json(json!({"messages": [message], "session_id": "ses_aaaa1111", "source": "database"}))
}

const WORKERS: &str = r#"[ {"worker_id": "w1", "name": "build-box", "hostname": null, "capabilities": [], "models": [], "global_codebase_id": null,
  "status": "active", "registered_at": 0, "last_seen": 0, "from": "the future"} ]"#;

async fn serve(stage: Arc<Stage>) -> String {
    let app = Router::new()
        .route("/v1/opencode/tasks", post(submit).get(list))
        .route("/v1/opencode/tasks/{id}", get(async |State(stage): Shared| Json(stage.task.clone())))
        .route("/v1/opencode/tasks/{id}/stream", get(stream))
        .route("/v1/opencode/tasks/{id}/explain", get(explain))
        .route("/v1/opencode/workers/{id}", get(async || Json(json!({"name": "build-box"}))))
        .route("/v1/opencode/workers", get(async || WORKERS))
        .route("/v1/opencode/codebases", get(async || "[]"))
        .route("/v1/opencode/sessions", get(async || Json(vec![session("ses_aaaa1111"), session("ses_bbbb1111")])))
        .route("/v1/opencode/codebases/cb_1/sessions/ses_aaaa1111/messages", get(messages))
        .route("/v1/opencode/status", get(async || "[]"))
        .route("/v1/tokens/{id}", delete(missing))
        .with_state(stage);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// How a command ended and what it wrote.
struct Outcome {
    exit: Exit,
    out: String,
    err: String,
}

async fn muster(server: &str, args: &[&str], is_terminal: bool) -> Outcome {
    let (out, err) = (Recorder::default(), Recorder::default());
    let channel = |to: &Recorder| if is_terminal { Channel::terminal(to.clone(), false, None) } else { Channel::plain(to.clone()) };
    let mut console = Console { out: channel(&out), err: channel(&err) };
    let cli = Cli::try_parse_from([&["muster", "--server", server], args].concat()).unwrap();
    let exit = run_on(cli, &mut console).await;
    drop(console);
    Outcome { exit, out: out.text(), err: err.text() }
}

async fn follow(stage: Stage, args: &[&str], is_terminal: bool) -> (Outcome, Arc<Stage>) {
    let stage = Arc::new(stage);
    let id = stage.task.id.to_string();
    let outcome = muster(&serve(Arc::clone(&stage)).await, &[&["task", &id, "--follow"], args].concat(), is_terminal).await;
    (outcome, stage)
}

#[tokio::test]
async fn a_pipe_gets_the_result_byte_for_byte_and_nothing_else() {
    let mut task = example();
    task.result = Some("the \x1b[1mresult\x1b[0m\n\n".to_owned());
    let said = [text(1, "a", "begun, then "), text(2, "b", "begun again"), done("completed")].concat();
    let (outcome, _) = follow(Stage::new(task, &[said]), &[], false).await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Done, "the \x1b[1mresult\x1b[0m\n\n"));
    assert!(outcome.err.contains("on build-box"), "{}", outcome.err);
}

#[tokio::test]
async fn a_terminal_shows_the_answer_as_it_comes_and_once_over_a_lost_connection() {
    let broken = [text(1, "a", "one, "), text(2, "a", "two, ")].concat();
    let rest = [text(3, "a", "three."), done("completed")].concat();
    let (outcome, stage) = follow(Stage::new(example(), &[broken, rest]), &[], true).await;
    assert_eq!(outcome.exit, Exit::Done);
    assert_eq!(outcome.out, "one, two, \nthree.\n", "the line is ended where the loss is told");
    assert_eq!(*stage.resumed_after.lock().unwrap(), ["2"]);
    assert!(outcome.err.contains("connecting again") && outcome.err.contains("connected again"), "{}", outcome.err);
}

#[tokio::test]
async fn a_terminal_shows_the_result_of_a_task_that_said_nothing() {
    let (outcome, _) = follow(Stage::new(example(), &[done("completed")]), &["--quiet"], true).await;
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("All 12 pass now.\n", ""));
}

#[tokio::test]
async fn json_is_a_line_an_entry_and_then_the_task() {
    let said = [text(1, "a", "x"), entry(2, "from-the-future", &json!({"y": [1]})), done("completed")].concat();
    let (outcome, _) = follow(Stage::new(example(), &[said]), &["--json"], false).await;
    let lines: Vec<Value> = outcome.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["data"]["delta"], &lines[1]["kind"], &lines[2]["state"]),
        (&json!("x"), &json!("from-the-future"), &json!("completed"))
    );
}

#[tokio::test]
async fn the_exit_code_is_the_task_s_and_a_failure_is_told_on_a_quiet_screen_too() {
    let mut task = example();
    (task.state, task.error, task.result) = (TaskState::Failed, Some("no such model".to_owned()), Some("half an ans".to_owned()));
    let (outcome, _) = follow(Stage::new(task.clone(), &[done("failed")]), &["--quiet"], false).await;
    assert_eq!((outcome.exit, outcome.out.as_str(), outcome.err.as_str()), (Exit::Failed, "", "failed: no such model\n"));
    task.state = TaskState::Canceled;
    let (outcome, _) = follow(Stage::new(task, &[done("canceled")]), &[], false).await;
    assert_eq!(outcome.exit, Exit::Canceled);
}

#[tokio::test]
async fn a_task_that_waits_says_why() {
    let mut stage = Stage::new(example(), &[done("completed")]);
    stage.waits = true;
    let (outcome, _) = follow(stage, &[], false).await;
    assert!(outcome.err.starts_with("… No worker is free.\n  build-box: all 4 slots are taken\n"), "{}", outcome.err);
}

#[tokio::test]
async fn a_submit_is_tried_again_under_the_same_key() {
    let stage = Arc::new(Stage::new(example(), &[]));
    let outcome = muster(&serve(Arc::clone(&stage)).await, &["run", "do it", "--detach"], false).await;
    assert_eq!((outcome.exit, outcome.out), (Exit::Done, format!("{}\n", stage.task.id)));
    let keys = stage.keys.lock().unwrap();
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test]
async fn a_task_is_looked_for_on_all_pages() {
    let server = serve(Arc::new(Stage::new(example(), &[]))).await;
    let found = muster(&server, &["explain", "beef"], false).await;
    assert!(found.exit == Exit::Done && found.out.contains("all 4 slots are taken"), "{} {}", found.out, found.err);
    let missing = muster(&server, &["explain", "0123"], false).await;
    assert_eq!((missing.exit, missing.err.lines().count()), (Exit::Refused, 1));
}

#[tokio::test]
async fn looking_at_a_worker_s_pending_tasks_takes_none_of_them() {
    let mut task = example();
    (task.state, task.worker_id) = (TaskState::Submitted, None);
    let server = serve(Arc::new(Stage::new(task, &[]))).await;
    for (args, expected) in [(["--status", "completed"], "Fix the tests"), (["--status", "pending"], "No such task")] {
        let outcome = muster(&server, &[&["tasks", "--worker", "build-box"][..], &args].concat(), false).await;
        assert!(outcome.out.contains(expected), "{args:?}: {} {}", outcome.out, outcome.err);
    }
    let json = muster(&server, &["tasks", "--worker", "build-box", "--status", "pending", "--json"], false).await;
    assert_eq!(json.out, "[]\n");
}

#[tokio::test]
async fn json_is_the_server_s_data_as_it_came_and_refusals_are_one_line() {
    let server = serve(Arc::new(Stage::new(example(), &[]))).await;
    assert_eq!(muster(&server, &["workers", "--json"], false).await.out, format!("{WORKERS}\n"));
    assert!(muster(&server, &["workers"], false).await.out.contains("build-box"));
    assert_eq!(muster(&server, &["status"], false).await.exit, Exit::ServerFault);
    let refused = muster(&server, &["token", "revoke", "x"], false).await;
    assert_eq!((refused.exit, refused.err.as_str()), (Exit::Refused, "error: there is no such token\n"));
}

#[tokio::test]
async fn a_session_is_shown_with_its_messages_and_several_that_fit_are_named() {
    let server = serve(Arc::new(Stage::new(example(), &[]))).await;
    let shown = muster(&server, &["session", "aaaa1111"], false).await;
    assert!(shown.out.contains("directory  /srv/web") && shown.out.ends_with("\n\n> what now\n"), "{} {}", shown.out, shown.err);
    let json = muster(&server, &["session", "ses_aaaa", "--json"], false).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["session"]["id"], &json["messages"][0]["role"]), (&json!("ses_aaaa1111"), &json!("user")));
    let several = muster(&server, &["session", "1111"], false).await;
    assert!(several.exit == Exit::Refused && several.err.contains("ses_aaaa1111 on build-box"), "{}", several.err);
    let all = muster(&server, &["sessions", "--all"], false).await;
    assert!(all.out.lines().count() == 3 && all.out.contains("ses_bbbb1111"), "{}", all.out);
}

#[tokio::test]
async fn a_task_goes_on_with_a_copy_of_a_session() {
    let stage = Arc::new(Stage::new(example(), &[]));
    let server = serve(Arc::clone(&stage)).await;
    let outcome = muster(&server, &["run", "and now", "--session", "aaaa1111", "--fork", "--mode", "plan", "--detach"], false).await;
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    let expected =
        json!({"prompt": "and now", "target": {"codebase": "cb_1"}, "mode": "plan", "resume_session_id": "ses_aaaa1111", "fork": true});
    assert_eq!(stage.submitted.lock().unwrap().last(), Some(&expected));
}

#[tokio::test]
async fn a_session_that_somebody_else_uses_says_how_to_go_on() {
    let mut task = example();
    (task.state, task.error) = (TaskState::Failed, Some("it is busy".to_owned()));
    task.error_code = Some("session_busy_elsewhere".to_owned());
    let (outcome, _) = follow(Stage::new(task, &[done("failed")]), &["--quiet"], false).await;
    assert!(outcome.err.ends_with("add --fork to go on in a copy of it\n"), "{}", outcome.err);
}

#[tokio::test]
async fn a_chat_says_what_it_cannot_do() {
    let server = serve(Arc::new(Stage::new(example(), &[]))).await;
    let json = muster(&server, &["chat", "--json"], false).await;
    assert!(json.exit == Exit::Usage && json.err.contains("muster run --continue"), "{}", json.err);
    let nobody = muster(&server, &["chat", "--worker", "nobody"], false).await;
    assert!(nobody.exit == Exit::Refused && nobody.err.contains("there is no worker `nobody`"), "{}", nobody.err);
    for wrong in [&["--fork"][..], &["--session", "x", "--continue", "y"], &["--continue", "x", "--worker", "y"]] {
        assert!(Cli::try_parse_from([&["muster", "chat"], wrong].concat()).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn without_a_server_it_says_so_and_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let outcome = muster(&address, &["status"], false).await;
    let expected = format!(
        "error: cannot reach the server at {address}: connection refused; start one with \"muster serve\" or name another with --server\n"
    );
    assert_eq!((outcome.exit, outcome.err), (Exit::Unreachable, expected));
    assert_eq!(muster("ftp://x", &["status"], false).await.exit, Exit::Usage);
}

//! Runs: what they say, how they end.

use crate::support::daemon::assignment;
use crate::support::plane::Known;
use crate::support::suite::Suite;
use crate::support::{LONG, wait_for};
use crate::trial;
use libtest_mimic::Trial;
use muster_protocol::task::ReportStatus;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_text_answer_streams_and_the_result_is_the_stored_message", text),
        trial("models_are_registered_without_keys", models),
        trial("a_file_written_by_a_tool_is_there_and_told", write),
        trial("a_second_turn_continues_the_session", turns),
        trial("reasoning_and_todos_are_told", reasoning_and_todos),
        trial("an_unknown_model_mode_codebase_or_session_fails_at_once", unknown_things),
        trial("a_provider_that_refuses_the_key_is_a_clear_failure", unauthorised),
        trial("retries_are_told_as_they_happen", retries),
        trial("a_stream_without_finish_is_stopped", endless),
        trial("a_cancel_while_text_streams_reaches_the_provider", cancel_text),
        trial("a_cancel_while_a_tool_runs_leaves_no_process", cancel_tool),
        trial("a_permission_that_nobody_gives_is_refused_and_the_run_goes_on", permission),
        trial("a_question_that_nobody_answers_ends_the_run", question),
        trial("a_permission_in_a_subagent_that_nobody_gives_is_refused", subagent),
        trial("a_megabyte_arrives_whole", big),
        trial("the_modes_without_opencode_work", builtin),
        trial("the_password_of_opencode_is_not_seen_by_tools", password),
        trial("entries_reach_the_server_while_they_are_said", latency),
        trial("several_runs_at_once_do_not_mix", several),
    ]
}

static SUITE: OnceLock<Suite> = OnceLock::new();

/// One daemon with one OpenCode for all tests of this file.
fn suite() -> &'static Suite {
    SUITE.get_or_init(|| Suite::start(|_| vec![("MUSTER_ANSWER_TIMEOUT_S", "1".to_owned())]))
}

/// Ends what [`suite`] has started.
pub(crate) fn finish() {
    SUITE.get().into_iter().for_each(Suite::end);
}

fn codebase() -> PathBuf {
    suite().repository()
}

fn run_in(prompt: &str, path: &Path) -> (Known, ReportStatus) {
    let plane = &suite().plane;
    plane.ended(plane.assign(assignment(prompt, Some(path))))
}

fn run(prompt: &str) -> (Known, ReportStatus) {
    run_in(prompt, &codebase())
}

fn run_with(field: &str, value: Value) -> ReportStatus {
    let mut given = assignment("hello", Some(&codebase()));
    given["task"][field] = value;
    suite().plane.ended(suite().plane.assign(given)).1
}

/// A file of a codebase, read when it is there.
fn wait_for_file(path: &Path) -> String {
    wait_for(&path.display().to_string(), LONG, || std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n')))
}

fn is_alive(pid: i32) -> bool {
    muster_worker::process::table::read(pid).is_some_and(|process| !process.zombie)
}

fn text() {
    let (known, end) = run("hello streaming world");
    assert_eq!((end.status.as_str(), end.result.as_deref()), ("completed", Some("echo: hello streaming world")), "{end:?}");
    assert_eq!(known.said("text"), "echo: hello streaming world");
    assert!(known.verified, "count and hash are the same at both ends");
    assert!(known.session.is_some_and(|session| session.starts_with("ses_")));
    let usage = end.usage.unwrap();
    assert!(usage.input > 0 && usage.output > 0 && usage.cost > 0.0, "{usage:?}");
}

fn models() {
    let registration = suite().plane.registration().unwrap();
    let ids: Vec<&str> = registration.models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["fake/echo", "fake/small", "fake/thinker"]);
    assert_eq!(registration.default_model.as_deref(), Some("fake/echo"));
    assert_eq!(registration.opencode_version.as_deref(), Some("1.18.33"));
    assert!(registration.capabilities.contains(&"opencode".to_owned()));
    assert!(registration.codebases[0].is_global);
    assert!(!serde_json::to_string(&registration).unwrap().contains("fake-key"));
}

fn write() {
    let path = codebase();
    let (known, end) = run_in("!write new.txt some content", &path);
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    assert_eq!(std::fs::read_to_string(path.join("new.txt")).unwrap().trim(), "some content");
    let states: Vec<Value> = known.data("tool").iter().map(|tool| tool["state"].clone()).collect();
    assert_eq!(states, ["pending", "running", "completed"]);
    assert_eq!(known.data("file").iter().map(|file| file["path"].clone()).collect::<Vec<_>>(), ["new.txt"]);
    let change = &end.changes[0];
    assert_eq!((change.path.as_str(), change.change.as_str(), change.additions), ("new.txt", "added", 1), "{:?}", end.changes);
}

fn turns() {
    let path = codebase();
    let (first, _) = run_in("first", &path);
    let mut given = assignment("second", Some(&path));
    given["session_id"] = json!(first.session);
    let (second, end) = suite().plane.ended(suite().plane.assign(given));
    assert_eq!(end.result.as_deref(), Some("echo: second"), "{end:?}");
    assert_eq!(second.session, first.session);
    let usage = (first.end.unwrap().usage.unwrap(), end.usage.unwrap());
    assert!(usage.1.input > usage.0.input, "the second prompt contains the first turn: {usage:?}");
    assert!(usage.1.input < 2 * usage.0.input, "the first turn is not counted again: {usage:?}");
}

fn reasoning_and_todos() {
    let mut given = assignment("!reason deep thought", Some(&codebase()));
    given["task"]["model"] = json!("fake/thinker");
    let (known, end) = suite().plane.ended(suite().plane.assign(given));
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    assert!(known.said("reasoning").contains("thought"), "{:?}", known.said("reasoning"));
    assert!(!known.said("text").is_empty());
    let (known, _) = run(r#"!tool todowrite {"todos":[{"content":"do x","status":"pending","priority":"high","id":"1"}]}"#);
    assert_eq!(known.data("todo")[0]["items"][0]["content"], "do x");
}

fn unknown_things() {
    let cases = [("model", "fake/none", "model_not_found"), ("model", "nonsense", "model_not_found"), ("mode", "dance", "mode_not_found")];
    for (field, value, code) in cases {
        let end = run_with(field, json!(value));
        assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("failed", Some(code)), "{end:?}");
        assert!(end.error.unwrap().contains(value));
    }
    let (_, end) = run_in("hello", Path::new("/does/not/exist"));
    assert_eq!(end.error_code.as_deref(), Some("codebase_missing"));
    let mut given = assignment("hello", Some(&codebase()));
    given["session_id"] = json!("ses_none");
    let (_, end) = suite().plane.ended(suite().plane.assign(given));
    assert_eq!(end.error_code.as_deref(), Some("session_not_found"), "{end:?}");
}

fn unauthorised() {
    let (known, end) = run("!http 401");
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("failed", Some("provider_auth")), "{end:?}");
    assert!(known.data("status").iter().all(|note| note["state"] != "retry"));
}

fn retries() {
    let (known, end) = run(&format!("!http 500 2 50 {}", uuid::Uuid::now_v7()));
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    let tries: Vec<Value> = known.data("status").into_iter().filter(|note| note["state"] == "retry").collect();
    assert_eq!(tries.iter().map(|note| note["retry"].clone()).collect::<Vec<_>>(), [1, 2]);
    assert!(tries.iter().all(|note| note["next_at"].is_string()), "{tries:?}");
}

fn endless() {
    let (known, end) = run("!eof");
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("failed", Some("step_limit")), "{end:?}");
    assert!(known.data("status").iter().any(|note| note["state"] == "stopping"));
    wait_for("the LLM to be left alone", LONG, || (suite().llm.stat("active") == 0).then_some(()));
}

fn cancel_text() {
    let plane = &suite().plane;
    let id = plane.assign(assignment("!slow 600 100", Some(&codebase())));
    plane.wait(id, "some text", |known| !known.said("text").is_empty());
    let gone = suite().llm.stat("client_gone");
    plane.cancel(id);
    let (known, end) = plane.ended(id);
    assert_eq!(end.status.as_str(), "cancelled", "{end:?}");
    assert!(known.verified);
    wait_for("the request to the provider to be given up", LONG, || (suite().llm.stat("client_gone") > gone).then_some(()));
}

fn cancel_tool() {
    let path = codebase();
    let script = "(sleep 77 & echo $! > child.pid); setsid sleep 78 & echo $! > detached.pid; sleep 79";
    let id = suite().plane.assign(assignment(&format!("!bash {script}"), Some(&path)));
    let child: i32 = wait_for_file(&path.join("child.pid")).trim().parse().unwrap();
    let detached: i32 = wait_for_file(&path.join("detached.pid")).trim().parse().unwrap();
    assert!(is_alive(child) && is_alive(detached));
    suite().plane.cancel(id);
    let (_, end) = suite().plane.ended(id);
    assert_eq!(end.status.as_str(), "cancelled", "{end:?}");
    assert!(!is_alive(child) && !is_alive(detached), "a confirmed cancel leaves no process");
}

fn permission() {
    // OpenCode asks before it reads outside of the codebase, and would wait for ever.
    let (known, end) = run("!read /etc/hostname");
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    let asked = known.data("interaction");
    assert_eq!((&asked[0]["kind"], &asked[0]["outcome"]), (&json!("permission"), &json!("open")));
    assert!(asked[0]["title"].as_str().unwrap().contains("external_directory") && asked[0]["deadline"].is_string());
    assert_eq!((&asked[1]["id"], &asked[1]["outcome"]), (&asked[0]["id"], &json!("expired")));
    assert!(known.data("tool").iter().any(|tool| tool["state"] == "error"));
}

fn question() {
    let (known, end) =
        run(r#"!tool question {"questions":[{"question":"Which db?","header":"DB","options":[{"label":"a","description":"b"}]}]}"#);
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("failed", Some("question_refused")), "{end:?}");
    assert!(end.error.unwrap().contains("Which db?"));
    assert_eq!(known.data("interaction")[0]["kind"], "question");
}

fn subagent() {
    let (known, end) = run(r#"!tool task {"description":"sub","prompt":"!read /etc/hostname","subagent_type":"general"}"#);
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    assert_eq!(known.data("interaction")[1]["outcome"], "expired");
    assert!(known.said("text").starts_with("tool said:"), "only the run's own text is streamed: {}", known.said("text"));
}

fn big() {
    let (known, end) = run("!big 1000000");
    let result = end.result.unwrap();
    assert_eq!(result.len(), 1_000_000);
    assert_eq!(known.said("text"), result);
    assert!(known.verified);
}

fn builtin() {
    let plane = &suite().plane;
    let with_mode = |mode: &str, prompt: &str, path: Option<&str>| {
        let mut given = assignment(prompt, None);
        given["task"]["mode"] = json!(mode);
        if let Some(path) = path {
            given["task"]["metadata"]["path"] = json!(path);
        }
        plane.ended(plane.assign(given))
    };
    let (known, end) = with_mode("echo", "say it", None);
    assert_eq!((end.result.as_deref(), known.said("text").as_str()), (Some("say it"), "say it"));
    assert_eq!(with_mode("noop", "x", None).1.result.as_deref(), Some(""));
    let path = codebase();
    let path = path.to_str().unwrap();
    assert_eq!(with_mode("register_codebase", "x", Some(path)).1.status.as_str(), "completed");
    wait_for("the codebase to be registered", LONG, || {
        plane.registration().filter(|registration| registration.codebases.iter().any(|codebase| codebase.path == path))
    });
    let (_, end) = with_mode("register_codebase", "x", Some("/does/not/exist"));
    assert_eq!(end.status.as_str(), "pending", "another worker may have it");
}

fn password() {
    let (known, _) = run("!bash echo \"[$OPENCODE_SERVER_PASSWORD]\" $MUSTER_SESSION_ID");
    let session = known.session.clone().unwrap();
    assert!(known.said("text").contains(&format!("[] {session}")), "{}", known.said("text"));
}

fn latency() {
    let (path, plane) = (codebase(), &suite().plane);
    let id = plane.assign(assignment("!bash while test ! -e go; do sleep 0.05; done", Some(&path)));
    // The run cannot go on before its entries have arrived.
    plane.wait(id, "what was said before the tool", |known| known.said("text").starts_with("Running."));
    plane.wait(id, "the running tool", |known| known.data("tool").iter().any(|tool| tool["state"] == "running"));
    std::fs::write(path.join("go"), "").unwrap();
    let (_, end) = plane.ended(id);
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
}

fn several() {
    let plane = &suite().plane;
    let ids: Vec<_> = (0..4).map(|n| plane.assign(assignment(&format!("number {n} {}", "word ".repeat(50)), Some(&codebase())))).collect();
    for (n, id) in ids.into_iter().enumerate() {
        let (known, end) = plane.ended(id);
        let result = end.result.unwrap();
        assert!(result.starts_with(&format!("echo: number {n} ")), "{result}");
        assert_eq!(known.said("text").trim_end(), result.trim_end());
        assert_eq!(known.begun.min(2), known.begun, "told at most twice: begun, and with its session");
    }
}

//! What fails around a run, or in it: each has a precise ending, nothing hangs, nothing is left running.

use super::lifecycle::{Setup, is_alive, kill};
use crate::support::daemon::{Daemon, Options, assignment};
use crate::support::left::nothing_left;
use crate::support::plane::Known;
use crate::support::suite::Suite;
use crate::support::{LONG, opencode, root, wait_for};
use crate::trial;
use libtest_mimic::Trial;
use muster_protocol::task::ReportStatus;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_provider_that_falls_silent_is_stopped_by_the_stall_limit", silence),
        trial("a_short_retry_after_is_obeyed_and_told_with_its_time", short_wait),
        trial("a_retry_after_beyond_the_limit_ends_the_run_at_once", long_wait),
        trial("text_that_a_reset_broke_off_is_marked_and_said_again_once", broken_text),
        trial("a_reset_before_any_answer_is_retried", reset),
        trial("endless_compaction_is_stopped", compaction),
        trial("a_hundred_megabytes_of_tool_output_stay_bounded", huge_output),
        trial("twenty_megabytes_in_one_event_arrive_whole", huge_event),
        trial("an_opencode_that_cannot_start_is_told_and_fails_tasks_with_the_reason", broken_opencode),
        trial("a_cut_event_stream_is_caught_up_in_the_middle_of_text_and_of_a_tool", cut_stream),
        trial("a_run_that_ended_while_the_event_stream_was_cut_is_noticed", cut_end),
        trial("an_answer_that_opencode_does_not_take_is_given_three_times_and_then_asked_for_again", refused_answers),
        trial("a_drain_that_takes_too_long_interrupts_and_reports", drain_limit),
        trial("an_opencode_that_dies_again_and_again_ends_each_run_once", killed_twice),
    ]
}

static SUITE: OnceLock<Suite> = OnceLock::new();

/// One daemon with strict limits, and one OpenCode, for all cases that kill nothing.
fn suite() -> &'static Suite {
    SUITE.get_or_init(|| {
        Suite::start(|llm| {
            let mut config = llm.opencode_config();
            // Smaller than OpenCode's own instructions to it.
            config["provider"]["fake"]["models"]["tiny"] = json!({"name": "Tiny", "limit": {"context": 1_500, "output": 500}});
            let strict = |name: &'static str, value: &str| (name, value.to_owned());
            vec![
                ("MUSTER_OPENCODE_CONFIG", config.to_string()),
                strict("MUSTER_LIMITS_STALL_S", "20"),
                strict("MUSTER_LIMITS_RETRY_WAIT_S", "6"),
                strict("MUSTER_LIMITS_COMPACTIONS", "2"),
            ]
        })
    })
}

/// Ends what [`suite`] has started.
pub(crate) fn finish() {
    SUITE.get().into_iter().for_each(Suite::end);
}

/// A prompt that no other test gives: the fake LLM counts failures by their text.
fn only(prompt: &str) -> String {
    format!("{prompt} {}", uuid::Uuid::now_v7().simple())
}

fn run_with(prompt: &str, change: impl FnOnce(&mut Value)) -> (Known, ReportStatus) {
    let plane = &suite().plane;
    let mut given = assignment(prompt, Some(&suite().directory()));
    change(&mut given);
    let (known, end) = plane.ended(plane.assign(given));
    assert!(known.verified, "count and hash are the same at both ends");
    (known, end)
}

fn run(prompt: &str) -> (Known, ReportStatus) {
    run_with(prompt, |_| ())
}

pub(crate) fn ensure_ended(end: &ReportStatus, status: &str, code: Option<&str>) {
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), (status, code), "{end:?}");
    if code.is_some() {
        assert!(end.error.as_ref().is_some_and(|error| !error.is_empty()), "no reason is given: {end:?}");
    }
}

/// The notes of a state.
fn notes(known: &Known, state: &str) -> Vec<Value> {
    known.data("status").into_iter().filter(|note| note["state"] == state).collect()
}

/// Nobody works for a run any more: no tool of its session, no request to the provider.
fn ensure_left_alone(known: &Known) {
    let session = known.session.clone().unwrap();
    let left = muster_worker::process::table::of_sessions(&std::collections::HashSet::from([session]));
    assert!(left.iter().all(|process| process.zombie), "left running: {left:?}");
    wait_for("the LLM to be left alone", LONG, || (suite().llm.stat("active") == 0).then_some(()));
}

fn silence() {
    let (known, end) = run("!hang");
    ensure_ended(&end, "failed", Some("stall_limit"));
    assert_eq!(notes(&known, "stopping")[0]["code"], "stall_limit");
    assert!(end.session_id.is_some(), "what was done is in its session");
    ensure_left_alone(&known);
}

fn short_wait() {
    let (known, end) = run(&only("!http 429 1 1500"));
    ensure_ended(&end, "completed", None);
    let retries = notes(&known, "retry");
    assert_eq!(retries.len(), 1, "{retries:?}");
    assert!(retries[0]["next_at"].is_string() && retries[0]["message"].as_str().unwrap().contains("429"), "{retries:?}");
}

fn long_wait() {
    // An hour, and more than a signed 32-bit number of milliseconds.
    for wait in ["3600000", "2147483648"] {
        let (known, end) = run(&only(&format!("!http 429 0 {wait}")));
        ensure_ended(&end, "failed", Some("retry_limit"));
        let error = end.error.unwrap();
        assert!(error.contains("429") && error.contains("limits.retry_wait_s"), "{error}");
        let retries = notes(&known, "retry");
        assert!(retries.len() == 1 && retries[0]["next_at"].is_string(), "{retries:?}");
        assert!(end.session_id.is_some(), "a later task can go on in its session");
        ensure_left_alone(&known);
    }
}

fn broken_text() {
    let prompt = only("!drop 1");
    let (known, end) = run(&prompt);
    ensure_ended(&end, "completed", None);
    assert_eq!(end.result.as_deref(), Some(format!("echo: {prompt}").as_str()));
    let retries = notes(&known, "retry");
    let discards: Vec<&Value> = retries.iter().flat_map(|note| note["discards"].as_array().unwrap()).collect();
    assert_eq!(discards.len(), 1, "{retries:?}");
    let of = |wanted: bool| -> String {
        let pieces = known.data("text").into_iter().filter(|data| (&data["part"] == discards[0]) == wanted);
        pieces.map(|data| data["delta"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!of(true).is_empty() && prompt.starts_with(of(true).trim_start_matches("echo: ").trim_end()), "{:?}", of(true));
    assert_eq!(Some(of(false)), end.result, "what was not broken off is the answer");
}

fn reset() {
    let prompt = only("!reset 1");
    let (known, end) = run(&prompt);
    ensure_ended(&end, "completed", None);
    assert_eq!(Some(known.said("text")), end.result);
    let retries = notes(&known, "retry");
    assert!(!retries.is_empty() && retries.iter().all(|note| note["discards"].is_null()), "{retries:?}");
}

fn compaction() {
    let (known, end) = run_with(&only("hello"), |given| given["task"]["model"] = json!("fake/tiny"));
    ensure_ended(&end, "failed", Some("compaction_limit"));
    assert_eq!(notes(&known, "compacted").len(), 2, "{:?}", known.data("status"));
    ensure_left_alone(&known);
}

/// The most memory that the daemon has had, in megabytes.
fn peak(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
}

fn huge_output() {
    let (known, end) = run("!bash head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the last line");
    ensure_ended(&end, "completed", None);
    let largest = known.entries.iter().map(|entry| entry.data.get().len()).max().unwrap();
    assert!(largest < 200_000, "an entry has {largest} bytes");
    assert!(known.data("tool").iter().any(|tool| tool["state"] == "completed"), "{:?}", known.data("tool").len());
    assert!(peak(&suite().daemon) < 400, "the daemon took {} MB", peak(&suite().daemon));
}

fn huge_event() {
    let (known, end) = run("!big 20000000");
    ensure_ended(&end, "completed", None);
    let result = end.result.unwrap();
    assert!(result.len() == 20_000_000 && result.bytes().all(|byte| byte == b'x'), "{} bytes", result.len());
    assert!(known.said("text") == result, "the stream has {} bytes", known.said("text").len());
    let largest = known.entries.iter().map(|entry| entry.data.get().len()).max().unwrap();
    assert!(largest < 40_000, "an entry has {largest} bytes");
    assert!(peak(&suite().daemon) < 700, "the daemon took {} MB", peak(&suite().daemon));
}

/// An executable script.
fn script(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

fn broken_opencode() {
    let setup = Setup::new();
    let broken = script(&setup.dir.path().join("opencode"), "#!/bin/sh\necho the library is missing >&2\nexit 3\n");
    let daemon = setup.start(Options { opencode: Some(broken), ..Options::default() });
    let registered = wait_for("the problem in the registry", LONG, || setup.plane.registration().filter(|now| now.problem.is_some()));
    let problem = registered.problem.unwrap();
    assert!(problem.contains("exit code 3") && problem.contains("the library is missing"), "{problem}");
    assert!(!registered.capabilities.contains(&"opencode".to_owned()), "it takes tasks that any worker can take");
    let (_, end) = setup.plane.ended(setup.plane.assign(assignment("hello", Some(&setup.codebase()))));
    ensure_ended(&end, "failed", Some("opencode_not_starting"));
    assert!(end.error.unwrap().contains("the library is missing"));
    daemon.end();
    nothing_left(setup.dir.path());
}

/// A daemon whose OpenCode can be cut off from it, or refuse what it says, and the file that does it. People have a second to answer.
fn cuttable(setup: &Setup) -> (Daemon, PathBuf) {
    let (real, control) = (opencode().unwrap().canonicalize().unwrap(), setup.dir.path().join("control"));
    let proxy = root().join("tests/support/opencode_proxy.py");
    let text = format!("#!/bin/sh\nexec python3 '{}' '{}' '{}' \"$@\"\n", proxy.display(), real.display(), control.display());
    let wrapper = script(&setup.dir.path().join("opencode"), &text);
    let env = vec![("MUSTER_ANSWER_TIMEOUT_S", "1".to_owned())];
    let daemon = setup.start(Options { opencode: Some(wrapper), env, ..Options::default() });
    wait_for("models", LONG, || setup.plane.registration().filter(|registration| !registration.models.is_empty()));
    (daemon, control)
}

fn count(control: &Path, line: &str) -> usize {
    std::fs::read_to_string(control).unwrap_or_default().lines().filter(|known| *known == line).count()
}

fn cut(control: &Path) {
    let before = count(control, "cut");
    std::fs::write(control.with_extension("cut"), "").unwrap();
    wait_for("the cut", LONG, || (count(control, "cut") > before).then_some(()));
}

fn mend(control: &Path) {
    std::fs::remove_file(control.with_extension("cut")).unwrap();
}

fn cut_stream() {
    let setup = Setup::new();
    let (daemon, control) = cuttable(&setup);
    let id = setup.streaming(60);
    for _ in 0..2 {
        cut(&control);
        let requests = setup.llm.stat("active");
        mend(&control);
        assert!(requests <= 1);
        wait_for("the events again", LONG, || (count(&control, "begun") > count(&control, "cut")).then_some(()));
    }
    let (known, end) = setup.plane.ended(id);
    ensure_ended(&end, "completed", None);
    assert_eq!(known.said("text").trim_end(), end.result.unwrap().trim_end(), "nothing is missing and nothing is said twice");
    assert!(known.verified);

    let path = setup.codebase();
    let id = setup.plane.assign(assignment("!bash echo one; touch begun; while test ! -e go; do sleep 0.05; done; echo two", Some(&path)));
    wait_for("the tool", LONG, || path.join("begun").exists().then_some(()));
    cut(&control);
    std::fs::write(path.join("go"), "").unwrap();
    mend(&control);
    let (known, end) = setup.plane.ended(id);
    ensure_ended(&end, "completed", None);
    let states: Vec<Value> = known.data("tool").iter().map(|tool| tool["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| **state == "completed").count(), 1, "{states:?}");
    let done = known.data("tool").into_iter().find(|tool| tool["state"] == "completed").unwrap();
    assert_eq!(done["output"].as_str().unwrap().split_whitespace().collect::<Vec<_>>(), ["one", "two"], "{done}");
    assert_eq!(Some(known.said("text").split("tool said").count()), Some(2), "{}", known.said("text"));
    daemon.end();
    nothing_left(setup.dir.path());
}

fn cut_end() {
    let setup = Setup::new();
    let (daemon, control) = cuttable(&setup);
    let id = setup.streaming(30);
    cut(&control);
    wait_for("the LLM to be done", LONG, || (setup.llm.stat("active") == 0).then_some(()));
    assert!(setup.plane.task(id).end.is_none(), "it knows of the end without events");
    mend(&control);
    let (known, end) = setup.plane.ended(id);
    ensure_ended(&end, "completed", None);
    assert_eq!(Some(known.said("text").trim_end()), end.result.as_deref().map(str::trim_end));
    assert!(known.verified && !daemon.log().contains("OpenCode is not running"), "OpenCode was restarted for it");
}

fn refused_answers() {
    let setup = Setup::new();
    let (daemon, control) = cuttable(&setup);
    let ask = |refusals: u32| {
        std::fs::write(control.with_extension("refuse"), refusals.to_string()).unwrap();
        // OpenCode asks before it reads outside of the codebase; nobody answers, so the worker refuses it in time.
        let (known, end) = setup.plane.ended(setup.plane.assign(assignment("!read /etc/hostname", Some(&setup.codebase()))));
        (known.data("interaction"), end)
    };
    let (notes, end) = ask(2);
    ensure_ended(&end, "completed", None);
    assert_eq!((count(&control, "refused"), count(&control, "answered")), (2, 1));
    assert_eq!(notes[1]["outcome"], "expired", "{notes:?}");

    let (notes, end) = ask(3);
    ensure_ended(&end, "completed", None);
    assert_eq!((count(&control, "refused"), count(&control, "answered")), (5, 2));
    let outcomes: Vec<&str> = notes.iter().filter_map(|note| note["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["open", "void", "open", "expired"], "what OpenCode still waits for is asked again: {notes:?}");
    assert!(notes[1]["reason"].as_str().unwrap().contains("did not take the answer"), "{notes:?}");
    assert_ne!(notes[0]["id"], notes[2]["id"]);
    daemon.end();
    nothing_left(setup.dir.path());
}

fn drain_limit() {
    let setup = Setup::new();
    let daemon = setup.start(Options { env: vec![("MUSTER_DRAIN_TIMEOUT_S", "1".to_owned())], ..Options::default() });
    let (id, tool) = setup.working();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let (known, end) = setup.plane.ended(id);
    ensure_ended(&end, "interrupted", Some("worker_stopped"));
    assert!(known.verified && end.session_id.is_some() && setup.plane.unregistered());
    assert!(!is_alive(tool));
    nothing_left(setup.dir.path());
}

fn killed_twice() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    for _ in 0..2 {
        let (id, tool) = setup.working();
        kill(daemon.opencode_pid().unwrap());
        let (known, end) = setup.plane.ended(id);
        ensure_ended(&end, "interrupted", Some("opencode_lost"));
        assert!(known.verified && end.session_id.is_some() && !is_alive(tool));
    }
    let problem = setup.plane.registration().unwrap().problem;
    assert!(problem.is_none(), "one that starts again is no problem: {problem:?}");
    daemon.end();
    nothing_left(setup.dir.path());
}

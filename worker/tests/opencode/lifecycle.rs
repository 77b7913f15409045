//! The daemon's own life: starts, ends, crashes, a server or an OpenCode that goes away.

use crate::support::daemon::{Daemon, Options, assignment};
use crate::support::llm::Llm;
use crate::support::plane::Plane;
use crate::support::{LONG, opencode, wait_for};
use crate::trial;
use libtest_mimic::Trial;
use muster_protocol::ids::TaskId;
use muster_worker::process::table;
use rustix::process::Signal;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        // The longest first: it waits for a heartbeat that does not come.
        trial("an_opencode_that_falls_silent_is_replaced", silent),
        trial("opencode_killed_during_a_run_interrupts_it_and_is_started_again", opencode_killed),
        trial("a_crash_of_the_daemon_leaves_no_opencode_and_is_reported_at_the_next_start", daemon_crashes),
        trial("what_was_finished_while_the_server_was_away_is_reported_by_the_next_start", report_survives),
        trial("a_run_goes_on_while_the_server_is_away_and_arrives_once", server_away),
        trial("an_assignment_whose_answer_was_lost_is_started_once", answer_lost),
        trial("a_superseded_daemon_stops_its_runs_and_exits_with_3", superseded),
        trial("sigterm_lets_runs_finish_unregisters_and_exits_with_0", drains),
        trial("a_second_sigterm_interrupts_and_reports", interrupted),
        trial("without_opencode_it_registers_and_picks_it_up_when_it_appears", opencode_appears),
        trial("a_codebase_that_is_missing_is_registered_with_the_problem_and_picked_up", codebase_appears),
        trial("two_daemons_cannot_share_a_state_directory", locked),
        trial("a_prompt_is_not_given_before_the_server_knows_that_it_is_begun", not_begun),
        trial("an_attempt_that_was_given_away_is_stopped_and_forgotten", given_away),
        trial("a_run_that_may_not_go_on_alone_is_stopped_when_the_server_stays_away", lease_lost),
        trial("an_interrupted_run_is_continued_in_its_session", continued),
        trial("a_server_that_has_forgotten_the_worker_gets_it_registered_again", forgotten),
    ]
}

pub(crate) struct Setup {
    pub(crate) plane: Arc<Plane>,
    pub(crate) llm: Llm,
    pub(crate) dir: tempfile::TempDir,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self { plane: Plane::start(), llm: Llm::start(), dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn start(&self, options: Options) -> Daemon {
        let daemon = Daemon::start(&self.plane, Some(&self.llm), self.dir.path(), options);
        wait_for("a registration", LONG, || self.plane.registration());
        daemon
    }

    pub(crate) fn codebase(&self) -> PathBuf {
        let path = self.dir.path().join(uuid::Uuid::now_v7().to_string());
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// A run whose bash tool works until it is killed, and the process id of that work.
    pub(crate) fn working(&self) -> (TaskId, i32) {
        let path = self.codebase();
        let id = self.plane.assign(assignment("!bash test -e pid && exec echo second time; echo $$ > pid; sleep 97 & wait", Some(&path)));
        let pid = wait_for("the tool", LONG, || std::fs::read_to_string(path.join("pid")).ok()?.trim().parse().ok());
        (id, pid)
    }

    /// A run that streams for some seconds and has begun to.
    pub(crate) fn streaming(&self, words: u32) -> TaskId {
        let id = self.plane.assign(assignment(&format!("!slow {words} 50"), Some(&self.codebase())));
        self.plane.wait(id, "some text", |known| !known.said("text").is_empty());
        id
    }
}

pub(crate) fn is_alive(pid: i32) -> bool {
    table::read(pid).is_some_and(|process| !process.zombie)
}

pub(crate) fn kill(pid: i32) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn opencode_killed() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let (id, tool) = setup.working();
    let first = daemon.opencode_pid().unwrap();
    kill(first);
    let (_, end) = setup.plane.ended(id);
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("interrupted", Some("opencode_lost")), "{end:?}");
    assert!(!is_alive(tool), "no tool of it works on");
    let (_, end) = setup.plane.ended(setup.plane.assign(assignment("again", Some(&setup.codebase()))));
    assert_eq!(end.result.as_deref(), Some("echo: again"));
    assert_ne!(daemon.opencode_pid().unwrap(), first);
}

fn daemon_crashes() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let (id, tool) = setup.working();
    let opencode = daemon.opencode_pid().unwrap();
    kill(daemon.pid());
    wait_for("OpenCode to die with the daemon", LONG, || (!is_alive(opencode)).then_some(()));
    drop(daemon);
    let _again = setup.start(Options::default());
    let (known, end) = setup.plane.ended(id);
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("interrupted", Some("worker_crashed")), "{end:?}");
    assert!(known.verified && end.session_id.is_some());
    assert!(!is_alive(tool), "no tool of it works on");
}

fn report_survives() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let id = setup.streaming(20);
    setup.plane.refuse_all(true);
    daemon.wait_for_log("completed after");
    kill(daemon.pid());
    drop(daemon);
    setup.plane.refuse_all(false);
    let _again = setup.start(Options::default());
    let (known, end) = setup.plane.ended(id);
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    assert_eq!(Some(known.said("text")), end.result);
    assert!(known.verified);
}

fn server_away() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let id = setup.streaming(100);
    setup.plane.refuse_all(true);
    let seen = setup.plane.task(id).entries.len();
    daemon.wait_for_log("cannot reach the server");
    assert!(setup.plane.task(id).end.is_none());
    daemon.wait_for_log("completed after");
    setup.plane.refuse_all(false);
    let (known, end) = setup.plane.ended(id);
    assert_eq!(Some(known.said("text")), end.result);
    assert!(known.entries.len() > seen && known.verified);
    let told = daemon.log().lines().filter(|line| line.contains("WARN") && line.contains("cannot reach the server")).count();
    assert!(told <= 2, "said once a minute, not at every try: {told}");
}

fn answer_lost() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    setup.plane.lose_pull_answers(2);
    let (_, end) = setup.plane.ended(setup.plane.assign(assignment("once", Some(&setup.codebase()))));
    assert_eq!(end.result.as_deref(), Some("echo: once"));
    assert_eq!(setup.llm.stat("requests"), 1);
    assert_eq!(daemon.log().matches(": begun").count(), 1);
}

fn superseded() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let (_, tool) = setup.working();
    setup.plane.supersede();
    assert_eq!(daemon.wait_exit().code(), Some(3));
    assert!(!is_alive(tool));
    assert!(daemon.log().contains("another start of this worker"));
}

fn drains() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let id = setup.streaming(30);
    let opencode = daemon.opencode_pid().unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let (_, end) = setup.plane.ended(id);
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    assert!(setup.plane.draining() && setup.plane.unregistered());
    assert!(!is_alive(opencode));
}

fn interrupted() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let (id, tool) = setup.working();
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("stopping: no new tasks");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let (_, end) = setup.plane.ended(id);
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("interrupted", Some("worker_stopped")), "{end:?}");
    assert!(setup.plane.unregistered() && !is_alive(tool));
}

fn opencode_appears() {
    let setup = Setup::new();
    let later = setup.dir.path().join("later");
    let daemon = setup.start(Options { opencode: Some(later.clone()), ..Options::default() });
    let first = setup.plane.registration().unwrap();
    assert!(first.models.is_empty() && !first.capabilities.contains(&"opencode".to_owned()), "{first:?}");
    assert!(daemon.log().contains("npm install -g opencode-ai@1.18.33"), "it says how to get one");
    std::os::unix::fs::symlink(opencode().unwrap(), &later).unwrap();
    let then = wait_for("models", LONG, || setup.plane.registration().filter(|registration| !registration.models.is_empty()));
    assert!(then.capabilities.contains(&"opencode".to_owned()));
    assert_eq!(then.instance, first.instance);
}

fn codebase_appears() {
    let setup = Setup::new();
    let path = setup.dir.path().join("later");
    let argument = format!("mine={}", path.display());
    let nowhere = Some(PathBuf::from("/does/not/exist"));
    let daemon = setup.start(Options { args: vec!["--codebase".to_owned(), argument], opencode: nowhere, ..Options::default() });
    let of = |path: &Path| {
        let registration = setup.plane.registration()?;
        registration.codebases.into_iter().find(|codebase| codebase.path == path.to_string_lossy())
    };
    assert!(of(&path).unwrap().problem.unwrap().contains("does not exist"));
    assert!(daemon.log().contains("does not exist; it is used as soon as it is there"));
    std::fs::create_dir(&path).unwrap();
    assert!(std::process::Command::new("git").args(["init", "-q"]).arg(&path).status().unwrap().success());
    wait_for("the codebase", LONG, || of(&path).filter(|codebase| codebase.problem.is_none() && codebase.git.is_some()));
}

fn locked() {
    let setup = Setup::new();
    let nowhere = || Options { opencode: Some(PathBuf::from("/does/not/exist")), ..Options::default() };
    let first = setup.start(nowhere());
    let second = setup.start(nowhere());
    assert_eq!(second.wait_exit().code(), Some(2));
    second.wait_for_log(&format!("in use by the worker with process id {}", first.pid()));
}

fn not_begun() {
    let setup = Setup::new();
    let _daemon = setup.start(Options::default());
    setup.plane.refuse_begun(true);
    let id = setup.plane.assign(assignment("hello", Some(&setup.codebase())));
    // The stand-in's lease is six seconds: by then another worker might have the task.
    let (known, end) = setup.plane.ended(id);
    assert_eq!((end.status.as_str(), known.begun), ("pending", 0), "{end:?}");
    assert_eq!(setup.llm.stat("requests"), 0);
}

fn given_away() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let (id, tool) = setup.working();
    setup.plane.take_away(id);
    daemon.wait_for_log("stopped and forgotten");
    assert!(!is_alive(tool));
    assert!(setup.plane.task(id).end.is_none());
    let journals = || std::fs::read_dir(setup.dir.path().join("state/spool")).unwrap().count();
    wait_for("the journal to be gone", LONG, || (journals() == 0).then_some(()));
}

fn lease_lost() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let path = setup.codebase();
    let mut given = assignment("!bash echo $$ > pid; sleep 97 & wait", Some(&path));
    given["stop_after_ms"] = json!(6_000);
    let id = setup.plane.assign(given);
    let pid = wait_for("the tool", LONG, || std::fs::read_to_string(path.join("pid")).ok()?.trim().parse().ok());
    setup.plane.refuse_all(true);
    daemon.wait_for_log("(lease_lost)");
    assert!(!is_alive(pid));
    setup.plane.refuse_all(false);
    assert_eq!(setup.plane.ended(id).1.status.as_str(), "interrupted");
}

fn silent() {
    let setup = Setup::new();
    let daemon = setup.start(Options { env: vec![("MUSTER_OPENCODE_SILENCE_S", "11".to_owned())], ..Options::default() });
    let (id, _) = setup.working();
    let first = daemon.opencode_pid().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(first).unwrap(), Signal::STOP).unwrap();
    let (_, end) = setup.plane.ended(id);
    assert_eq!((end.status.as_str(), end.error_code.as_deref()), ("interrupted", Some("opencode_lost")), "{end:?}");
    assert!(daemon.log().contains("no sign of life"), "it is missed by its heartbeat");
    assert_ne!(daemon.opencode_pid(), Some(first));
}

fn continued() {
    let setup = Setup::new();
    let daemon = setup.start(Options::default());
    let (id, _) = setup.working();
    kill(daemon.opencode_pid().unwrap());
    let (known, _) = setup.plane.ended(id);
    let mut given = known.assignment;
    given["attempt"] = json!(2);
    given["session_id"] = json!(known.session);
    given["continuation"] = json!(true);
    let (again, end) = setup.plane.ended(setup.plane.assign(given));
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    assert_eq!(again.session, known.session);
    // The prompt to continue ends with the task's own, whose command finds what the first run has left.
    assert_eq!(end.result.unwrap().trim(), "tool said: second time");
}

fn forgotten() {
    let setup = Setup::new();
    let nowhere = Some(PathBuf::from("/does/not/exist"));
    let _daemon = setup.start(Options { opencode: nowhere, ..Options::default() });
    setup.plane.forget();
    wait_for("another registration", LONG, || setup.plane.registration());
    let mut given = assignment("hi", None);
    given["task"]["mode"] = json!("echo");
    assert_eq!(setup.plane.ended(setup.plane.assign(given)).1.result.as_deref(), Some("hi"));
}

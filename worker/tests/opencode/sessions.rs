//! What the control plane is told of the sessions on the machine, and continuing a copy of one.

use crate::support::by_hand::ByHand;
use crate::support::daemon::{Daemon, Options, assignment};
use crate::support::llm::Llm;
use crate::support::plane::Plane;
use crate::support::sessions::Told;
use crate::support::{LONG, wait_for};
use crate::trial;
use libtest_mimic::Trial;
use muster_protocol::session::SessionMessage;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("sessions_made_by_hand_are_told_and_a_copy_of_a_busy_one_is_continued", by_hand),
        trial("a_restart_tells_nothing_twice_and_a_server_that_lost_everything_gets_it_again", restarts),
    ]
}

struct Setup {
    plane: Arc<Plane>,
    llm: Llm,
    dir: tempfile::TempDir,
    codebase: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let codebase = dir.path().join("app");
        std::fs::create_dir_all(codebase.join("sub")).unwrap();
        Self { plane: Plane::start(), llm: Llm::start(), dir, codebase }
    }

    fn start(&self) -> Daemon {
        let args = vec!["--codebase".to_owned(), format!("app={}", self.codebase.display())];
        let daemon = Daemon::start(&self.plane, Some(&self.llm), self.dir.path(), Options { args, ..Options::default() });
        let ready = || self.plane.registration().filter(|registration| !registration.models.is_empty());
        wait_for("models", LONG, ready);
        daemon
    }

    /// Waits until a session is told as wanted.
    fn told(&self, id: &str, what: &str, wanted: impl Fn(&Told) -> bool) -> Told {
        wait_for(what, LONG, || self.plane.sessions().all.get(id).filter(|told| wanted(told)).cloned())
    }
}

fn outputs<'a>(messages: impl Iterator<Item = &'a SessionMessage>) -> Vec<String> {
    let parts = messages.flat_map(|message| &message.parts).filter(|part| part["type"] == "tool");
    parts.filter_map(|part| part["state"]["output"].as_str().map(str::to_owned)).collect()
}

fn by_hand() {
    let setup = Setup::new();
    let daemon = setup.start();
    let hand = ByHand::start(&daemon, &setup.llm.opencode_config());
    let session = hand.session(&setup.codebase.join("sub"), "made by hand");
    hand.prompt(&session, "hello from the terminal");
    let said = ["user: hello from the terminal", "assistant: echo: hello from the terminal"];
    let told = setup.told(&session, "both messages", |told| told.said() == said && told.report.message_count == Some(2));
    assert_eq!((told.codebase.as_str(), told.report.title.as_deref()), ("app-0", Some("made by hand")), "{:?}", told.report);
    // A long text is cut. (Tool output OpenCode itself cuts to less than that.)
    hand.prompt(&session, "!big 100000");
    let is_cut =
        |told: &Told| told.said().iter().any(|said| said.starts_with("assistant: ") && said.ends_with("[cut: 100000 bytes in all]"));
    setup.told(&session, "the long text", is_cut);
    hand.prompt(&session, "!bash seq 1 200000");
    setup.told(&session, "the output of the tool", |told| {
        let all_done =
            told.messages.values().all(|message| message.role.as_deref() == Some("user") || message.time["completed"].is_number());
        all_done && outputs(told.messages.values()).iter().any(|output| output.contains("output truncated"))
    });
    // While it is busy over there, a copy goes on here, without the turn that is not done.
    hand.prompt(&session, "!slow 3000 100");
    setup.told(&session, "the turn that is going on", |told| told.said().iter().any(|said| said == "user: !slow 3000 100"));
    let mut given = assignment("and here", Some(&setup.codebase));
    given["session_id"] = json!(session);
    let (_, end) = setup.plane.ended(setup.plane.assign(given.clone()));
    assert_eq!(end.error_code.as_deref(), Some("session_busy_elsewhere"), "{end:?}");
    assert!(end.error.unwrap().contains("--fork"));
    given["task"]["id"] = json!(uuid::Uuid::now_v7());
    given["fork"] = json!(true);
    let (known, end) = setup.plane.ended(setup.plane.assign(given));
    assert_eq!(end.result.as_deref(), Some("echo: and here"), "{end:?}");
    let copy = known.session.unwrap();
    assert_ne!(copy, session);
    let told = setup.told(&copy, "the copy", |told| told.said().last().is_some_and(|said| said == "assistant: echo: and here"));
    assert!(
        told.said()[0].contains("hello from the terminal") && !told.said().iter().any(|said| said.contains("!slow")),
        "{:?}",
        told.said()
    );
    assert!(told.report.title.unwrap().starts_with("made by hand"));
    // What is deleted vanishes.
    hand.call("POST", &format!("/session/{session}/abort"), &json!({}));
    hand.call("DELETE", &format!("/session/{session}"), &json!({}));
    wait_for("the session to vanish", LONG, || (!setup.plane.sessions().all.contains_key(&session)).then_some(()));
    assert!(setup.plane.sessions().all.contains_key(&copy));
    let sent = serde_json::to_string(&setup.plane.sessions().all[&copy].report).unwrap();
    assert!(!sent.contains("fake-key") && setup.plane.sessions().largest < 1_100_000);
}

fn restarts() {
    let setup = Setup::new();
    let daemon = setup.start();
    let (known, end) = setup.plane.ended(setup.plane.assign(assignment("first", Some(&setup.codebase))));
    assert_eq!(end.status.as_str(), "completed", "{end:?}");
    let first = known.session.unwrap();
    setup.told(&first, "both messages", |told| told.said() == ["user: first", "assistant: echo: first"]);
    // What happens while the server is away is told afterwards.
    setup.plane.refuse_all(true);
    let hand = ByHand::start(&daemon, &setup.llm.opencode_config());
    let second = hand.session(&setup.codebase, "while it was away");
    hand.prompt(&second, "second");
    daemon.wait_for_log("the sessions are not told");
    setup.plane.refuse_all(false);
    setup.told(&second, "both messages", |told| told.said() == ["user: second", "assistant: echo: second"]);
    setup.told(&first, "the count", |told| told.report.message_count == Some(2));
    setup.told(&second, "the count", |told| told.report.message_count == Some(2));
    daemon.end();
    let before = setup.plane.sessions();
    let daemon = setup.start();
    let third = hand.session(&setup.codebase, "after the restart");
    hand.prompt(&third, "third");
    let said = ["user: third", "assistant: echo: third"];
    setup.told(&third, "both messages", |told| told.said() == said && told.report.message_count == Some(2));
    let after = setup.plane.sessions();
    for id in [&first, &second] {
        assert_eq!(after.all[id].messages, before.all[id].messages);
    }
    // The third's own: its row when it was new, had grown, was counted; each of its messages while it grew.
    assert!(
        after.rows - before.rows <= 5 && after.messages - before.messages <= 6,
        "told twice: {} rows, {} messages",
        after.rows - before.rows,
        after.messages - before.messages
    );
    setup.plane.lose_database();
    for id in [&first, &second, &third] {
        let told = setup.told(id, "everything anew", |told| told.messages.len() == 2);
        assert_eq!(told.codebase, "app-1");
    }
    drop(daemon);
}

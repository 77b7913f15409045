//! Full disks: what runs ends precisely, nothing new is taken, and tasks are taken again when there is room.

use super::failures::ensure_ended;
use super::lifecycle::{Setup, is_alive};
use crate::support::daemon::{Options, assignment};
use crate::support::disk::SmallDisk;
use crate::support::left::nothing_left;
use crate::support::{LONG, wait_for};
use crate::trial;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        trial("a_run_on_a_full_spool_is_reported_and_the_worker_drains_until_there_is_room", full_spool),
        trial("a_worker_without_room_whose_drain_is_refused_hears_cancels_and_hands_back", refused_drain),
        trial("an_opencode_on_a_full_disk_ends_its_run_precisely", full_opencode),
    ];
    let possible = SmallDisk::is_possible();
    if !possible {
        eprintln!("mounting is not permitted: the tests of full disks are skipped");
    }
    trials.map(|trial| trial.with_ignored_flag(!possible)).into()
}

fn full_spool() {
    let setup = Setup::new();
    let spool = setup.dir.path().join("state/spool");
    std::fs::create_dir_all(&spool).unwrap();
    let disk = SmallDisk::mount(&spool, "3m");
    let daemon = setup.start(Options::default());
    let id = setup.streaming(60);
    disk.fill();
    let reason = wait_for("the worker to drain", LONG, || setup.plane.drain_reason());
    assert!(reason.contains("no room") && reason.contains("bytes left"), "{reason}");
    // What runs goes on; what is given all the same comes back.
    let (_, end) = setup.plane.ended(setup.plane.assign(assignment("another", Some(&setup.codebase()))));
    ensure_ended(&end, "pending", None);
    let (known, end) = setup.plane.ended(id);
    ensure_ended(&end, "completed", None);
    let result = end.result.unwrap();
    assert!(result.starts_with("tok0 ") && result.trim_end().ends_with("tok59"), "{result}");
    assert!(known.verified && result.starts_with(&known.said("text")), "the stream is no beginning of it: {}", known.said("text"));
    disk.empty();
    wait_for("the worker to take tasks again", LONG, || (!setup.plane.draining()).then_some(()));
    let (_, end) = setup.plane.ended(setup.plane.assign(assignment("again", Some(&setup.codebase()))));
    assert_eq!(end.result.as_deref(), Some("echo: again"), "{end:?}");
    daemon.end();
    nothing_left(setup.dir.path());
}

fn refused_drain() {
    let setup = Setup::new();
    let spool = setup.dir.path().join("state/spool");
    std::fs::create_dir_all(&spool).unwrap();
    let disk = SmallDisk::mount(&spool, "3m");
    let daemon = setup.start(Options::default());
    let (id, tool) = setup.working();
    setup.plane.refuse_drain(true);
    disk.fill();
    // More than a few: each pause after a refused drain would come before the cancel.
    let given: Vec<_> = (0..20).map(|n| setup.plane.assign(assignment(&format!("no room {n}"), Some(&setup.codebase())))).collect();
    daemon.wait_for_log("handed back");
    setup.plane.cancel(id);
    let (_, end) = setup.plane.ended(id);
    ensure_ended(&end, "cancelled", None);
    assert!(!is_alive(tool));
    for id in given {
        let (_, end) = setup.plane.ended(id);
        ensure_ended(&end, "pending", None);
    }
    assert!(!setup.plane.draining());
    setup.plane.refuse_drain(false);
    disk.empty();
    let (_, end) = setup.plane.ended(setup.plane.assign(assignment("again", Some(&setup.codebase()))));
    assert_eq!(end.result.as_deref(), Some("echo: again"), "{end:?}");
    daemon.end();
    nothing_left(setup.dir.path());
}

fn full_opencode() {
    let setup = Setup::new();
    let home = setup.dir.path().join("state/opencode/home");
    std::fs::create_dir_all(&home).unwrap();
    let disk = SmallDisk::mount(&home, "48m");
    let env = vec![("MUSTER_LIMITS_STALL_S", "20".to_owned())];
    let daemon = setup.start(Options { env, ..Options::default() });
    // OpenCode stores the answer at its end: far more than its files have left in them, so it cannot be kept anywhere.
    let id = setup.plane.assign(assignment("!slow 60 50 200000", Some(&setup.codebase())));
    setup.plane.wait(id, "some text", |known| !known.said("text").is_empty());
    disk.fill();
    let (known, end) = setup.plane.ended(id);
    ensure_ended(&end, "failed", Some("disk_full"));
    assert!(known.verified);
    let reason = wait_for("the worker to drain", LONG, || setup.plane.drain_reason());
    assert!(reason.contains("no room") && reason.contains("OpenCode's files"), "{reason}");
    disk.empty();
    wait_for("the worker to take tasks again", LONG, || (!setup.plane.draining()).then_some(()));
    let (_, end) = setup.plane.ended(setup.plane.assign(assignment("again", Some(&setup.codebase()))));
    assert_eq!(end.result.as_deref(), Some("echo: again"), "{end:?}");
    wait_for("the LLM to be left alone", LONG, || (setup.llm.stat("active") == 0).then_some(()));
    daemon.end();
    nothing_left(setup.dir.path());
}

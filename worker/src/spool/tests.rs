use super::{FinalReport, Journal, Spool};
use crate::spool::{Appended, Prepared};
use muster_protocol::ids::SessionId;
use muster_protocol::stream::EntryKind;
use muster_protocol::task::{Assignment, ReportedStatus};
use muster_protocol::time::Timestamp;
use serde_json::json;
use std::path::Path;

pub(crate) fn assignment(attempt: u64) -> Assignment {
    serde_json::from_value(json!({
        "attempt": attempt, "codebase": null,
        "task": {"id": "018f0000-0000-7000-8000-000000000001", "codebase_id": "c", "title": "t", "prompt": "p", "agent_type": "build", "mode": "build",
            "status": "running", "state": "working", "priority": 0, "created_at": 0, "updated_at": 0, "started_at": null, "completed_at": null,
            "result": null, "error": null, "session_id": null, "metadata": {}, "attempt": attempt, "worker_id": "w", "context_id": "x"}
    }))
    .unwrap()
}

fn text(journal: &Journal, delta: &str) -> Appended {
    journal.append(Timestamp(0), EntryKind::Text, &json!({"part": "p", "delta": delta})).unwrap()
}

fn spool(dir: &Path) -> (Spool, Vec<Journal>) {
    Spool::open(dir, 1 << 20).unwrap()
}

fn completed() -> FinalReport {
    FinalReport {
        status: ReportedStatus::Completed,
        result: Some("r".to_owned()),
        error: None,
        error_code: None,
        usage: None,
        changes: vec![],
    }
}

/// A journal whose file takes no more: its disk is full.
fn full(dir: &Path) -> Journal {
    let journal = spool(dir).0.create(assignment(1)).unwrap();
    text(&journal, "before");
    journal.replace_file(std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap());
    journal
}

#[test]
#[cfg(target_os = "linux")]
fn an_end_that_cannot_be_written_is_known_all_the_same_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let journal = full(dir.path());
    assert!(journal.finish(completed()).is_err());
    assert_eq!(journal.end_report(), Some(completed()));
    assert!(spool(dir.path()).1[0].end_report().is_none(), "after a crash OpenCode is asked");
}

#[test]
#[cfg(target_os = "linux")]
fn entries_that_could_not_be_written_leave_a_mark_in_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let journal = full(dir.path());
    for _ in 0..3 {
        journal.append(Timestamp(0), EntryKind::Text, &json!({"part": "p", "delta": "lost"})).unwrap_err();
    }
    let path = std::fs::read_dir(dir.path().join("spool")).unwrap().next().unwrap().unwrap().path();
    journal.replace_file(std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap());
    text(&journal, "after");
    let said: Vec<String> = journal.batch(1 << 20).unwrap().iter().map(|entry| entry.data.get().to_owned()).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[1].contains("stream_gap") && said[1].contains("3 entries") && said[2].contains("after"), "{said:?}");
    journal.finish(completed()).unwrap();
    let again = &spool(dir.path()).1[0];
    assert_eq!((again.digest(), again.end_report()), (journal.digest(), Some(completed())));
}

#[test]
fn everything_written_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let journal = spool(dir.path()).0.create(assignment(3)).unwrap();
    journal.start().unwrap();
    let prepared = Prepared { session_id: SessionId::from("ses_1"), message_id: "msg_1".to_owned() };
    journal.prepare(prepared.clone()).unwrap();
    for delta in ["a", "b\n", "ü"] {
        text(&journal, delta);
    }
    journal.acknowledge(2);
    journal.finish(completed()).unwrap();

    let (_, left) = spool(dir.path());
    let again = &left[0];
    assert_eq!((again.assignment().attempt, again.is_started(), again.next_seq(), again.acknowledged()), (3, true, 3, 2));
    assert_eq!((again.prepared(), again.end_report()), (Some(prepared), Some(completed())));
    assert_eq!(again.digest(), journal.digest());
    assert_eq!(again.batch(1 << 20).unwrap()[0].data.get(), r#"{"delta":"ü","part":"p"}"#);
}

#[test]
fn a_torn_last_line_is_cut_off_and_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let journal = spool(dir.path()).0.create(assignment(1)).unwrap();
    text(&journal, "whole");
    text(&journal, "torn");
    let path = dir.path().join("spool").read_dir().unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();

    let (_, left) = spool(dir.path());
    assert_eq!(left[0].next_seq(), 1);
    text(&left[0], "new");
    let (_, left) = spool(dir.path());
    let seen: Vec<String> = left[0].batch(1 << 20).unwrap().iter().map(|e| e.data.get().to_owned()).collect();
    assert_eq!(seen, [r#"{"delta":"whole","part":"p"}"#, r#"{"delta":"new","part":"p"}"#]);
}

#[test]
fn batches_are_bounded_but_never_empty_while_something_waits() {
    let dir = tempfile::tempdir().unwrap();
    let journal = spool(dir.path()).0.create(assignment(1)).unwrap();
    for _ in 0..10 {
        text(&journal, &"x".repeat(100));
    }
    assert_eq!(journal.batch(1).unwrap().len(), 1);
    let some = journal.batch(500).unwrap();
    assert!((2..6).contains(&some.len()));
    journal.acknowledge(10);
    assert!(journal.batch(500).unwrap().is_empty());
    journal.acknowledge(4);
    assert_eq!(journal.batch(1).unwrap()[0].seq, 4);
}

#[test]
fn a_full_spool_cuts_the_stream_with_one_note_and_still_takes_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), 2_000).unwrap();
    let journal = spool.create(assignment(1)).unwrap();
    let outcomes: Vec<Appended> = (0..50).map(|_| text(&journal, &"x".repeat(100))).collect();
    assert_eq!(outcomes.first(), Some(&Appended::Written));
    assert_eq!(outcomes.last(), Some(&Appended::Cut));
    assert!(spool.is_full());
    let written = outcomes.iter().filter(|o| **o == Appended::Written).count() as u64;
    assert_eq!(journal.next_seq(), written + 1);
    assert!(journal.batch(1 << 20).unwrap().last().unwrap().data.get().contains("spool_full"));
    journal.finish(completed()).unwrap();
    journal.remove();
    assert!(!spool.is_full());
}

#[test]
fn an_attempt_cannot_be_written_down_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = spool(dir.path());
    let _first = spool.create(assignment(1)).unwrap();
    assert!(spool.create(assignment(1)).is_err());
    assert!(spool.create(assignment(2)).is_ok());
}

#[test]
fn a_journal_that_cannot_be_read_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("spool")).unwrap();
    std::fs::write(dir.path().join("spool/x.journal"), "nonsense\n").unwrap();
    assert!(spool(dir.path()).1.is_empty());
    assert!(dir.path().join("spool/x.broken").exists());
}

//! Sessions as workers tell of them: each as often as they like, in any order, on any codebase of theirs.

use super::bench::{Bench, Daemon, on_both};
use anyhow::{Context, Result, ensure};
use muster::domain::session::{MESSAGES_KEPT, begun_at, kept};
use muster::store::sessions::{PutMessages, PutSessions, RemoveOutcome, RemoveSessions, SessionFilter, SessionPlace, SyncOutcome};
use muster_protocol::ids::{CodebaseId, SessionId, WorkerId};
use muster_protocol::session::{Session, SessionMessage};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};

on_both! {
    the_same_sessions_again_change_nothing,
    what_a_report_leaves_out_stays_as_it_was,
    sessions_are_read_newest_first_and_page_by_page,
    a_list_shows_what_it_is_asked_for,
    a_session_moves_to_the_codebase_that_it_is_told_in,
    one_id_on_two_workers_is_two_sessions,
    messages_are_read_in_the_order_in_which_they_were_begun,
    the_same_messages_again_change_nothing,
    the_newest_two_thousand_messages_are_kept,
    messages_of_a_session_that_is_not_known_begin_it,
    a_deleted_session_is_gone_with_its_messages,
    a_worker_tells_of_its_own_codebases_only,
    u0000_is_kept_in_messages_and_shown_in_titles,
    sessions_outlive_their_codebase_and_their_worker,
}

const T0: i64 = 1_700_000_000_000;

pub(super) async fn put(bench: &Bench, worker: &WorkerId, codebase: &CodebaseId, sessions: Value) -> Result<SyncOutcome> {
    let (worker, codebase) = (worker.clone(), codebase.clone());
    Ok(bench.store.write(PutSessions { worker, codebase, sessions: serde_json::from_value(sessions)?, now: bench.now() }).await?)
}

async fn put_messages(bench: &Bench, worker: &Daemon, session: &str, messages: &[Value], deleted: &[&str]) -> Result<SyncOutcome> {
    let read = |message: &Value| {
        let message: SessionMessage = serde_json::from_value(message.clone())?;
        Ok((message.id.clone(), begun_at(&message), kept(&message)))
    };
    let write = PutMessages {
        worker: worker.id.clone(),
        codebase: worker.global.clone(),
        session: session.into(),
        messages: messages.iter().map(read).collect::<Result<_>>()?,
        deleted: deleted.iter().map(|id| (*id).to_owned()).collect(),
        now: bench.now(),
    };
    Ok(bench.store.write(write).await?)
}

async fn all(bench: &Bench) -> Result<Vec<Session>> {
    Ok(bench.store.sessions(&SessionFilter { limit: 1_000, children: true, ..SessionFilter::default() }).await?)
}

async fn only(bench: &Bench) -> Result<Session> {
    let mut sessions = all(bench).await?;
    ensure!(sessions.len() == 1, "there are {sessions:?}");
    sessions.pop().context("none")
}

async fn messages(bench: &Bench, worker: &Daemon, session: &str, limit: u32) -> Result<Vec<String>> {
    let messages = bench.store.session_messages(&worker.id, &session.into(), limit).await?;
    Ok(messages.into_iter().map(|message| message.id).collect())
}

fn ids(sessions: &[Session]) -> Vec<&str> {
    sessions.iter().map(|session| session.report.id.as_str()).collect()
}

async fn the_same_sessions_again_change_nothing(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let told = json!([
        { "id": "ses_1", "title": "One", "directory": "/a", "project_id": "p", "created": T0, "updated": T0 + 5, "messageCount": 3,
          "summary": { "files": 1 }, "version": "1.0" },
        { "id": "ses_2" },
    ]);
    ensure!(put(bench, &worker.id, &worker.global, told.clone()).await? == SyncOutcome::Taken(2), "they were not taken");
    let before = serde_json::to_value(all(bench).await?)?;
    bench.pass(60);
    ensure!(put(bench, &worker.id, &worker.global, told).await? == SyncOutcome::Taken(0), "the same was written again");
    ensure!(serde_json::to_value(all(bench).await?)? == before, "the same again changed something");
    Ok(())
}

async fn what_a_report_leaves_out_stays_as_it_was(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let whole = json!([{ "id": "s", "title": "One", "directory": "/a", "created": T0, "updated": T0, "messageCount": 3 }]);
    put(bench, &worker.id, &worker.global, whole).await?;
    put(bench, &worker.id, &worker.global, json!([{ "id": "s", "title": "Two", "updated": T0 + 9 }])).await?;
    let session = only(bench).await?.report;
    ensure!(session.title.as_deref() == Some("Two") && session.updated == Some(Timestamp(T0 + 9)), "{session:?}");
    ensure!(session.directory.as_deref() == Some("/a") && session.created == Some(Timestamp(T0)), "{session:?}");
    ensure!(session.message_count == Some(3), "{session:?}");
    Ok(())
}

async fn sessions_are_read_newest_first_and_page_by_page(bench: &Bench) -> Result<()> {
    let (one, other) = (bench.worker("One", 1, &[]).await?, bench.worker("other", 1, &[]).await?);
    // Many at the same moment: the order among them is by worker and id.
    let told: Vec<_> = (0..25).map(|n| json!({ "id": format!("ses_{n:02}"), "updated": T0 + n / 10 })).collect();
    for worker in [&one, &other] {
        put(bench, &worker.id, &worker.global, json!(told)).await?;
    }
    let expected = serde_json::to_value(all(bench).await?)?;
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = bench.store.sessions(&SessionFilter { limit: 7, after, ..SessionFilter::default() }).await?;
        after = page.last().map(SessionPlace::of);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    ensure!(paged.len() == 50 && serde_json::to_value(&paged)? == expected, "the pages are {:?}", ids(&paged));
    let times: Vec<_> = paged.iter().map(|session| session.report.updated).collect();
    ensure!(times.is_sorted_by(|a, b| a >= b), "the newest are not first: {times:?}");
    Ok(())
}

async fn a_list_shows_what_it_is_asked_for(bench: &Bench) -> Result<()> {
    let (one, other) = (bench.worker("one", 1, &["app"]).await?, bench.worker("other", 1, &[]).await?);
    let app = &one.codebases["app"];
    put(bench, &one.id, app, json!([{ "id": "ses_A", "title": "Fix the Öven", "updated": T0 + 3 }])).await?;
    put(bench, &one.id, app, json!([{ "id": "ses_child", "parent_id": "ses_A", "updated": T0 + 2 }])).await?;
    put(bench, &one.id, &one.global, json!([{ "id": "ses_B", "directory": "/Home/chat", "updated": T0 + 1 }])).await?;
    put(bench, &other.id, &other.global, json!([{ "id": "ses_C", "updated": T0 }])).await?;
    let list = async |filter: SessionFilter| -> Result<Vec<String>> {
        let found = bench.store.sessions(&SessionFilter { limit: 10, ..filter }).await?;
        Ok(found.into_iter().map(|session| session.report.id.0).collect())
    };
    let default = SessionFilter::default;
    let text = |text: &str| SessionFilter { text: Some(text.to_owned()), ..default() };
    let workers = |ids: &[&WorkerId]| Some(ids.iter().map(|id| (*id).clone()).collect::<Vec<_>>());
    let of_app = SessionFilter { codebases: Some(vec![app.clone()]), ..default() };
    for (filter, expected) in [
        (default(), &["ses_A", "ses_B", "ses_C"][..]),
        (SessionFilter { children: true, ..default() }, &["ses_A", "ses_child", "ses_B", "ses_C"]),
        (SessionFilter { workers: workers(&[&one.id]), ..default() }, &["ses_A", "ses_B"]),
        (SessionFilter { workers: workers(&[&one.id, &other.id]), ..default() }, &["ses_A", "ses_B", "ses_C"]),
        (SessionFilter { workers: workers(&[]), ..default() }, &[]),
        (of_app.clone(), &["ses_A"]),
        (SessionFilter { children: true, ..of_app.clone() }, &["ses_A", "ses_child"]),
        (SessionFilter { workers: workers(&[&other.id]), ..of_app.clone() }, &[]),
        (SessionFilter { workers: workers(&[&one.id]), ..of_app }, &["ses_A"]),
        (text("fix THE"), &["ses_A"]),
        (text("/home/CHAT"), &["ses_B"]),
        (text("ses_c"), &["ses_C"]),
        (text("%"), &[]),
    ] {
        let found = list(filter.clone()).await?;
        ensure!(found == expected, "{filter:?} shows {found:?}");
    }
    Ok(())
}

async fn a_session_moves_to_the_codebase_that_it_is_told_in(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &["app"]).await?;
    let told = json!([{ "id": "s", "title": "T", "updated": T0 }]);
    put(bench, &worker.id, &worker.global, told.clone()).await?;
    put_messages(bench, &worker, "s", &[json!({ "id": "m" })], &[]).await?;
    ensure!(put(bench, &worker.id, &worker.codebases["app"], told).await? == SyncOutcome::Taken(1), "it did not move");
    let session = only(bench).await?;
    ensure!(session.codebase_id.as_ref() == Some(&worker.codebases["app"]), "{session:?}");
    ensure!(session.codebase_name.as_deref() == Some("app") && session.worker_name.as_deref() == Some("w"), "{session:?}");
    ensure!(session.report.message_count == Some(1), "its messages were lost: {session:?}");
    Ok(())
}

async fn one_id_on_two_workers_is_two_sessions(bench: &Bench) -> Result<()> {
    let (one, other) = (bench.worker("one", 1, &[]).await?, bench.worker("other", 1, &[]).await?);
    for (worker, title) in [(&one, "of one"), (&other, "of other")] {
        put(bench, &worker.id, &worker.global, json!([{ "id": "s", "title": title }])).await?;
        put_messages(bench, worker, "s", &[json!({ "id": title.replace(' ', "-") })], &[]).await?;
    }
    ensure!(
        all(bench).await?.len() == 2 && bench.store.sessions_with_id(&"s".into(), None, None).await?.len() == 2,
        "{:?}",
        all(bench).await?
    );
    ensure!(messages(bench, &one, "s", 10).await? == ["of-one"] && messages(bench, &other, "s", 10).await? == ["of-other"], "mixed up");
    let of_one = bench.store.session(&one.global, &"s".into()).await?.context("none")?;
    ensure!(of_one.report.title.as_deref() == Some("of one"), "{of_one:?}");
    remove(bench, &one, &["s"]).await?;
    let left = only(bench).await?;
    ensure!(left.worker_id == other.id && messages(bench, &other, "s", 10).await? == ["of-other"], "{left:?}");
    Ok(())
}

async fn messages_are_read_in_the_order_in_which_they_were_begun(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let told = [
        json!({ "id": "msg_3", "time": { "created": T0 + 20, "completed": T0 + 30 } }),
        json!({ "id": "msg_9", "time": T0 + 10 }),
        json!({ "id": "msg_2", "time": { "created": "2023-11-14T22:13:20.010" } }),
        json!({ "id": "msg_1", "time": null }),
    ];
    for message in &told {
        put_messages(bench, &worker, "s", std::slice::from_ref(message), &[]).await?;
    }
    let read = messages(bench, &worker, "s", 10).await?;
    ensure!(read == ["msg_1", "msg_2", "msg_9", "msg_3"], "they are {read:?}");
    let last = messages(bench, &worker, "s", 2).await?;
    ensure!(last == ["msg_9", "msg_3"], "the last are {last:?}");
    Ok(())
}

async fn the_same_messages_again_change_nothing(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let told = [
        json!({ "id": "a", "role": "user", "time": T0, "parts": [{ "type": "text", "text": "hello" }] }),
        json!({ "id": "b", "role": "assistant", "time": T0 + 1, "cost": 0.1, "tokens": { "input": 5 }, "model": "p/m", "parts": [] }),
    ];
    // The session is begun with them.
    ensure!(put_messages(bench, &worker, "s", &told, &[]).await? == SyncOutcome::Taken(3), "they were not taken");
    ensure!(put_messages(bench, &worker, "s", &told, &[]).await? == SyncOutcome::Taken(0), "the same was written again");
    let mut grown = told[1].clone();
    grown["parts"] = json!([{ "type": "text", "text": "hi" }]);
    ensure!(put_messages(bench, &worker, "s", &[told[0].clone(), grown], &[]).await? == SyncOutcome::Taken(1), "one had changed");
    let read = bench.store.session_messages(&worker.id, &"s".into(), 10).await?;
    ensure!(read.len() == 2 && read[1].parts[0]["text"] == "hi" && read[1].cost == Some(0.1), "{read:?}");
    ensure!(put_messages(bench, &worker, "s", &[], &["a", "never"]).await? == SyncOutcome::Taken(1), "one was to be forgotten");
    ensure!(messages(bench, &worker, "s", 10).await? == ["b"], "it was not forgotten");
    ensure!(only(bench).await?.report.message_count == Some(1), "{:?}", only(bench).await?);
    Ok(())
}

async fn the_newest_two_thousand_messages_are_kept(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let all: Vec<_> = (0..MESSAGES_KEPT + 150).map(|n| json!({ "id": format!("m{n:05}"), "time": T0 })).collect();
    for piece in all.chunks(430) {
        put_messages(bench, &worker, "s", piece, &[]).await?;
    }
    let read = messages(bench, &worker, "s", 10_000).await?;
    ensure!(read.len() == MESSAGES_KEPT, "{} are kept", read.len());
    ensure!(read[0] == "m00150" && read.last().is_some_and(|last| *last == format!("m{:05}", MESSAGES_KEPT + 149)), "{:?}", &read[..2]);
    Ok(())
}

async fn messages_of_a_session_that_is_not_known_begin_it(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let begun = bench.now().0 - 1_000;
    put_messages(bench, &worker, "s", &[json!({ "id": "m", "time": begun })], &[]).await?;
    let session = only(bench).await?;
    ensure!(session.report.updated == Some(Timestamp(begun)) && session.report.message_count == Some(1), "{session:?}");
    ensure!(session.codebase_id.as_ref() == Some(&worker.global) && session.report.title.is_none(), "{session:?}");
    // The next messages bring it forward; a clock that is ahead does not.
    bench.pass(10);
    let later = bench.now();
    put_messages(bench, &worker, "s", &[json!({ "id": "n", "time": later.0 + 86_400_000 })], &[]).await?;
    ensure!(only(bench).await?.report.updated == Some(later), "{:?}", only(bench).await?);
    // What is told of it later is added.
    put(bench, &worker.id, &worker.global, json!([{ "id": "s", "title": "T", "created": T0 }])).await?;
    let session = only(bench).await?.report;
    ensure!(session.title.as_deref() == Some("T") && session.message_count == Some(2), "{session:?}");
    ensure!(put_messages(bench, &worker, "t", &[], &["m"]).await? == SyncOutcome::Taken(0), "nothing was told");
    ensure!(all(bench).await?.len() == 1, "a session was begun by nothing");
    Ok(())
}

async fn remove(bench: &Bench, worker: &Daemon, sessions: &[&str]) -> Result<u32> {
    let sessions: Vec<SessionId> = sessions.iter().map(|id| (*id).into()).collect();
    for writes in 1.. {
        let write = RemoveSessions { worker: worker.id.clone(), codebase: worker.global.clone(), sessions: sessions.clone() };
        match bench.store.write(write).await? {
            RemoveOutcome::Done => return Ok(writes),
            RemoveOutcome::More => {}
            RemoveOutcome::NoCodebase => anyhow::bail!("the codebase is refused"),
        }
    }
    Ok(0)
}

async fn a_deleted_session_is_gone_with_its_messages(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    for session in ["a", "b", "c"] {
        let many: Vec<_> = (0..600).map(|n| json!({ "id": format!("m{n}") })).collect();
        put_messages(bench, &worker, session, &many, &[]).await?;
    }
    let writes = remove(bench, &worker, &["a", "c", "never"]).await?;
    ensure!(writes == 3, "1,200 messages went in {writes} writes");
    ensure!(ids(&all(bench).await?) == ["b"], "{:?}", all(bench).await?);
    ensure!(messages(bench, &worker, "a", 10).await?.is_empty() && messages(bench, &worker, "c", 10).await?.is_empty(), "messages stay");
    ensure!(messages(bench, &worker, "b", 1_000).await?.len() == 600, "another session lost its messages");
    ensure!(remove(bench, &worker, &["a", "c", "never"]).await? == 1, "again");
    Ok(())
}

async fn a_worker_tells_of_its_own_codebases_only(bench: &Bench) -> Result<()> {
    let (one, other) = (bench.worker("one", 1, &[]).await?, bench.worker("other", 1, &[]).await?);
    let told = json!([{ "id": "s" }]);
    for codebase in [&other.global, &"none".into()] {
        ensure!(put(bench, &one.id, codebase, told.clone()).await? == SyncOutcome::NoCodebase, "{codebase} was taken");
    }
    let stranger = Daemon { global: other.global.clone(), ..one.clone() };
    ensure!(put_messages(bench, &stranger, "s", &[json!({ "id": "m" })], &[]).await? == SyncOutcome::NoCodebase, "messages were taken");
    ensure!(remove(bench, &stranger, &["s"]).await.is_err(), "a removal was taken");
    ensure!(all(bench).await?.is_empty(), "{:?}", all(bench).await?);
    Ok(())
}

async fn u0000_is_kept_in_messages_and_shown_in_titles(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &[]).await?;
    let told = json!([{ "id": "s", "title": "a\u{0}b", "directory": "/a\u{0}b", "summary": "x\u{0}" }]);
    put(bench, &worker.id, &worker.global, told.clone()).await?;
    ensure!(put(bench, &worker.id, &worker.global, told).await? == SyncOutcome::Taken(0), "the same was written again");
    ensure!(only(bench).await?.report.title.as_deref() == Some("a\u{0}b"), "{:?}", only(bench).await?);
    let parts = json!([{ "type": "text", "text": "nul \u{0} and \\u0000 and \u{fffd}", "k\u{0}": 1 }]);
    put_messages(bench, &worker, "s", &[json!({ "id": "m", "parts": parts })], &[]).await?;
    let read = bench.store.session_messages(&worker.id, &"s".into(), 1).await?;
    ensure!(json!(read[0].parts) == parts, "{read:?}");
    Ok(())
}

async fn sessions_outlive_their_codebase_and_their_worker(bench: &Bench) -> Result<()> {
    let worker = bench.worker("w", 1, &["app"]).await?;
    let app = worker.codebases["app"].clone();
    put(bench, &worker.id, &app, json!([{ "id": "s", "title": "T" }])).await?;
    bench.store.write(muster::store::codebases::RemoveCodebase { id: app.clone(), now: bench.now() }).await?;
    bench.store.write(muster::store::workers::UnregisterWorker { worker: worker.id.clone(), now: bench.now() }).await?;
    let session = only(bench).await?;
    ensure!(session.codebase_id.as_ref() == Some(&app) && session.codebase_name.is_none(), "{session:?}");
    ensure!(session.worker_name.as_deref() == Some("w"), "{session:?}");
    ensure!(bench.store.worker_of_sessions_in(&app).await? == Some(worker.id), "nobody has them");
    ensure!(bench.store.session(&app, &"s".into()).await?.is_some(), "it cannot be read");
    Ok(())
}

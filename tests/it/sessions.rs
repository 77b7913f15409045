//! OpenCode's sessions at the server: what workers tell of them, reading them, continuing one or a copy of it.

use crate::support::{Cx, cases, follow, in_codebase, run_task, wait_for};
use anyhow::{Context, Result, ensure};
use muster_protocol::session::{ResumeSession, Session};
use std::time::Duration;

cases! {
    [Opencode, Python] => a_session_is_listed_read_resumed_and_copied;
}

const SOON: Duration = Duration::from_mins(1);

async fn a_session_is_listed_read_resumed_and_copied(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let (client, place) = (fleet.server.client(), fleet.place()?);
    let task = run_task(client, &in_codebase(&place.name, "the metal is zinc")).await?.task;
    let id = task.session_id.context("the task has no session")?;
    let listed = async |count: u64| -> Result<Session> {
        wait_for(&format!("the session with {count} messages"), SOON, async || {
            let sessions = client.sessions(&[("codebase", &place.name)]).await?;
            Ok(sessions.into_iter().find(|session| session.report.id == id && session.report.message_count == Some(count)))
        })
        .await
    };
    let session = listed(2).await?;
    ensure!(session.context_id.as_ref() == Some(&task.context_id), "{session:?}");
    let codebase = session.codebase_id.context("it has no codebase")?;
    let said = async || -> Result<Vec<String>> {
        let list = client.session_messages(&codebase, &id, 100).await?;
        let text = |parts: &[serde_json::Value]| parts.iter().filter_map(|part| part["text"].as_str()).collect::<String>();
        Ok(list.messages.iter().map(|message| text(&message.parts)).collect())
    };
    // It is told while it is being written, and once more when it is whole.
    wait_for("the whole answer", SOON, async || Ok((said().await? == ["the metal is zinc", "echo: the metal is zinc"]).then_some(())))
        .await?;

    let again = |prompt: &str, fork| ResumeSession { prompt: prompt.to_owned(), agent: None, model: None, fork };
    let resumed = client.resume_session(&codebase, &id, &again("which metal was it", false)).await?;
    let resumed = follow(client, resumed.task_id).await?.task;
    ensure!(resumed.session_id.as_ref() == Some(&id), "it went on in {:?}: {:?}", resumed.session_id, resumed.error);
    listed(4).await?;

    let copied = client.resume_session(&codebase, &id, &again("and of the copy", true)).await?;
    let copied = follow(client, copied.task_id).await?.task;
    let copy = copied.session_id.context("the copy has no session")?;
    ensure!(copy != id && copied.result.as_deref() == Some("echo: and of the copy"), "{copy}: {:?} {:?}", copied.result, copied.error);
    let requests = fleet.llm.requests_with("and of the copy")?;
    ensure!(requests.iter().all(|request| request.says("user", "the metal is zinc")), "the copy does not know what was said");
    wait_for("the copy to be listed", SOON, async || {
        let sessions = client.sessions(&[("codebase", &place.name)]).await?;
        Ok(sessions.into_iter().find(|session| session.report.id == copy && session.report.message_count == Some(6)))
    })
    .await?;
    ensure!(said().await?.len() == 4, "the original has changed: {:?}", said().await?);
    Ok(())
}

//! Ending a run for sure: aborted, idle, nothing asked any more, no process left.

use crate::opencode::client::OpenCodeError;
use crate::opencode::server::Running;
use crate::process::table;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long OpenCode may take to give up a run.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether it has.
const POLL: Duration = Duration::from_millis(50);
/// How long left-over processes have between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// Ends a run. If OpenCode does not give it up, OpenCode itself is restarted: other runs suffer, but what is reported as
/// ended has ended.
pub(super) async fn end(running: &Running, directory: &str, sessions: &HashSet<String>) {
    let mut sessions = sessions.clone();
    match quiet(running, directory, &mut sessions).await {
        Ok(true) => {}
        Ok(false) => restart(running, "a run could not be aborted").await,
        Err(error) => restart(running, &format!("a run could not be aborted: {error}")).await,
    }
    leave_no_process(&sessions).await;
}

/// Ends the processes of some sessions.
pub(super) async fn leave_no_process(sessions: &HashSet<String>) {
    let left = table::end_sessions(sessions, GRACE).await;
    if left > 0 {
        tracing::error!("{left} processes of an ended run cannot be killed");
    }
}

async fn restart(running: &Running, why: &str) {
    if !running.lost.is_cancelled() {
        tracing::error!("OpenCode is restarted: {why}");
        running.restart(why);
        // Bounded: the supervisor kills what does not stop.
        let _ = tokio::time::timeout(Duration::from_secs(30), running.lost.cancelled()).await;
    }
}

/// Aborts until nothing works any more, seen twice: an abort right after the prompt may come before the run.
async fn quiet(running: &Running, directory: &str, sessions: &mut HashSet<String>) -> Result<bool, OpenCodeError> {
    let begun = Instant::now();
    let mut seen_idle = 0;
    while begun.elapsed() < PATIENCE {
        if seen_idle == 0 {
            for session in sessions.clone() {
                running.client.abort(&session).await?;
                sessions.extend(running.client.children(&session).await?.into_iter().map(|child| child.id));
            }
        }
        refuse_all(running, directory, sessions).await?;
        let working = running.client.statuses(directory).await?;
        seen_idle = if sessions.iter().any(|session| working.contains_key(session)) { 0 } else { seen_idle + 1 };
        if seen_idle == 2 {
            return Ok(true);
        }
        sleep(POLL).await;
    }
    Ok(false)
}

/// Refuses what the sessions still ask: it stays listed after an abort.
async fn refuse_all(running: &Running, directory: &str, sessions: &HashSet<String>) -> Result<(), OpenCodeError> {
    for request in running.client.permissions(directory).await? {
        if sessions.contains(&request.session_id) {
            gone_is_fine(running.client.reply_permission(directory, &request.id, "reject", None).await)?;
        }
    }
    for request in running.client.questions(directory).await? {
        if sessions.contains(&request.session_id) {
            gone_is_fine(running.client.reject_question(directory, &request.id).await)?;
        }
    }
    Ok(())
}

fn gone_is_fine(answer: Result<(), OpenCodeError>) -> Result<(), OpenCodeError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

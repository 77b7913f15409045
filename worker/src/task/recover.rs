//! Attempts of an earlier start of this daemon: what became of them.

use super::attempt::Attempt;
use super::prompt::{Stored, look_up};
use super::{Ending, conclude, stop};
use crate::agent::Shared;
use crate::opencode::error::{Failure, code};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long OpenCode is waited for before a run is called interrupted.
const PATIENCE: Duration = Duration::from_secs(90);

/// Finds out how an attempt of an earlier start ended, and has it reported.
pub async fn recover(shared: Arc<Shared>, attempt: Arc<Attempt>) {
    let begun = Instant::now();
    if attempt.journal.end_report().is_some() {
        attempt.wake.notify_one();
        return;
    }
    let ending = tokio::select! {
        ending = find_out(&shared, &attempt) => ending,
        why = attempt.stopping() => Ending::of_stop(why, None),
    };
    conclude(&attempt, ending, begun.elapsed());
}

async fn find_out(shared: &Shared, attempt: &Attempt) -> Ending {
    let _working = shared.working.read().await;
    let crashed = |what: &str| Failure::new(code::WORKER_CRASHED, format!("the worker ended without notice while the task ran; {what}"));
    // What is written down comes before what is done: without a prepared session no prompt was given.
    let Some(prepared) = attempt.journal.prepared() else { return Ending::HandedBack };
    let session = prepared.session_id.as_str();
    stop::leave_no_process(&HashSet::from([session.to_owned()])).await;
    let (running, _using) = match shared.opencode.enter(PATIENCE).await {
        Ok(running) => running,
        Err(failure) => return Ending::Interrupted(crashed(&failure.message), None),
    };
    let home = shared.config.home.to_string_lossy().into_owned();
    let directory = attempt.journal.assignment().codebase.as_ref().filter(|c| !c.is_global).map_or(home, |c| c.path.clone());
    match look_up(&running, session, &prepared.message_id, Path::new(&directory)).await {
        Ok(Stored::Absent) => Ending::HandedBack,
        Ok(Stored::Ended(ending)) => ending,
        Ok(Stored::Unfinished) => Ending::Interrupted(crashed("what it had done so far is in its session"), None),
        Err(error) => Ending::Interrupted(crashed(&error.to_string()), None),
    }
}

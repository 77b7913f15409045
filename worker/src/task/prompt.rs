//! A prompt in OpenCode, from the checks to the stored answer.

mod answer;

pub(super) use answer::collect;

use super::attempt::{Attempt, Stop};
use super::run::{Action, Run, Verdict};
use super::speech::Speech;
use super::{Ending, not_begun, session, stop};
use crate::agent::Shared;
use crate::clock;
use crate::inventory;
use crate::opencode::client::Prompt;
use crate::opencode::error::{Failure, code};
use crate::opencode::events::{Event, SessionEvent, status};
use crate::opencode::server::Running;
use crate::policy::REFUSAL_TO_MODEL;
use crate::spool::Prepared;
use muster_protocol::ids::SessionId;
use muster_protocol::stream::{EntryKind, StatusNote};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// How long a run waits for an OpenCode that is being started.
const OPENCODE_PATIENCE: Duration = Duration::from_mins(1);
/// How often a run's clock ticks.
const TICK: Duration = Duration::from_millis(200);
/// How many messages of a run are read at most when its events were lost.
const MOST_MESSAGES: usize = 5_000;

/// A run about to be prompted.
struct Ready {
    running: Arc<Running>,
    /// The session's directory.
    directory: String,
    session: String,
    events: mpsc::Receiver<SessionEvent>,
    prompt: Prompt,
    _route: RouteGuard,
}

/// Closes the way of events at the end, however that comes.
struct RouteGuard(Arc<Running>, String);

impl Drop for RouteGuard {
    fn drop(&mut self) {
        self.0.routes.close(&self.1);
    }
}

/// Runs an attempt in OpenCode.
pub(super) async fn run(shared: &Shared, attempt: &Attempt) -> Ending {
    let mut speech = Speech::new(attempt);
    speech.tell(EntryKind::Status, &StatusNote { state: "starting".to_owned(), ..StatusNote::default() });
    // Until the prompt is given, stopping is letting go.
    let ready = tokio::select! {
        ready = prepare(shared, attempt) => ready,
        stop = attempt.stopping() => return not_begun(stop),
    };
    match ready {
        Ok(ready) => prompted(shared, attempt, ready, &mut speech).await,
        Err(ending) => ending,
    }
}

/// Everything that can fail before the prompt is given.
async fn prepare(shared: &Shared, attempt: &Attempt) -> Result<Ready, Ending> {
    let assignment = attempt.journal.assignment();
    let failed = |failure| Ending::Failed(failure, None);
    let path = codebase(shared, attempt).map_err(failed)?;
    let running = shared.opencode.ready(OPENCODE_PATIENCE).await.map_err(failed)?;
    let directory = path.to_string_lossy().into_owned();
    let new_session = assignment.session_id.is_none();
    let choice = session::choose(&running, &assignment.task, &directory, new_session).await.map_err(failed)?;
    let session = session::open(&running, assignment, &directory, &shared.worker_id).await.map_err(failed)?;
    let directory = if session.directory.is_empty() { directory } else { session.directory };
    let (message_id, part_id) = ids(attempt);
    let text = if assignment.continuation { continuation(&assignment.task.prompt) } else { assignment.task.prompt.clone() };
    let events = running.routes.open(&session.id);
    let route = RouteGuard(Arc::clone(&running), session.id.clone());
    let prepared = Prepared { session_id: SessionId(session.id.clone()), message_id: message_id.clone() };
    attempt.journal.prepare(prepared).map_err(|error| {
        failed(Failure::new(code::SPOOL_ERROR, format!("the worker cannot write its spool ({error}); free some space on it and try again")))
    })?;
    attempt.wake.notify_one();
    wait_until_known(shared, attempt).await?;
    let prompt = Prompt { message_id, part_id, mode: choice.mode, model: choice.model, text };
    Ok(Ready { running, directory, session: session.id, events, prompt, _route: route })
}

/// The prompt is only given when the server knows that the attempt is begun: else it might give the task to another
/// worker while this one works on it.
async fn wait_until_known(shared: &Shared, attempt: &Attempt) -> Result<(), Ending> {
    let mut known = attempt.begun_known.subscribe();
    let lease = shared.lease();
    if tokio::time::timeout(lease, known.wait_for(|known| *known)).await.is_ok() {
        Ok(())
    } else {
        tracing::warn!("{}: handed back, the server could not be told in time that it is begun", attempt.describe());
        Err(Ending::HandedBack)
    }
}

fn codebase(shared: &Shared, attempt: &Attempt) -> Result<PathBuf, Failure> {
    let path = match &attempt.journal.assignment().codebase {
        Some(codebase) if !codebase.is_global => PathBuf::from(&codebase.path),
        _ => shared.config.home.clone(),
    };
    match inventory::problem(&path) {
        None if path.is_absolute() => Ok(path),
        None => Err(Failure::new(code::CODEBASE_MISSING, format!("the codebase's path {} is not absolute", path.display()))),
        Some(problem) => Err(Failure::new(
            code::CODEBASE_MISSING,
            format!("{problem} on worker {}; make it there, or change the codebase", shared.config.name),
        )),
    }
}

/// The ids of the prompt's message and part, in OpenCode's own form (time, then anything), so that they sort as its own do.
fn ids(attempt: &Attempt) -> (String, String) {
    let time = u64::try_from(clock::now().0).unwrap_or(0).wrapping_mul(0x1000) & 0xffff_ffff_ffff;
    let hash = hex::encode(Sha256::digest(format!("{}/{}", attempt.id.task_id, attempt.id.attempt)));
    let rest = hash.get(..14).unwrap_or_default();
    (format!("msg_{time:012x}{rest}"), format!("prt_{time:012x}{rest}"))
}

fn continuation(prompt: &str) -> String {
    format!(
        "The work on this was interrupted before it was done. Look at what is there already, continue from that, and do not repeat what is \
         finished. The task is:\n\n{prompt}"
    )
}

async fn prompted(shared: &Shared, attempt: &Attempt, mut ready: Ready, speech: &mut Speech<'_>) -> Ending {
    let begun = Instant::now();
    let now = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut run = Run::new(&ready.session, &ready.prompt.message_id, PathBuf::from(&ready.directory), shared.config.limits, now());
    if let Err(error) = ready.running.client.prompt(&ready.session, &ready.prompt).await {
        // It may have been accepted all the same.
        stop::end(&ready.running, &ready.directory, &run.sessions()).await;
        if ready.running.lost.is_cancelled() {
            return lost(shared, &ready, &run, speech).await;
        }
        return Ending::Failed(session::failed(&error), None);
    }
    match follow(attempt, &mut ready, &mut run, speech, now).await {
        Followed::Verdict(verdict) => finish(shared, &ready, &run, verdict, speech).await,
        Followed::Stop(why) => {
            speech.tell(EntryKind::Status, &StatusNote { state: "stopping".to_owned(), ..StatusNote::default() });
            stop::end(&ready.running, &ready.directory, &run.sessions()).await;
            // A cancel may have been overtaken by the news that the attempt is not ours.
            Ending::of_stop(attempt.stopped().unwrap_or(why), Some(run.usage()))
        }
        Followed::Lost => lost(shared, &ready, &run, speech).await,
    }
}

enum Followed {
    Verdict(Verdict),
    Stop(Stop),
    Lost,
}

async fn follow(attempt: &Attempt, ready: &mut Ready, run: &mut Run, speech: &mut Speech<'_>, now: impl Fn() -> u64) -> Followed {
    let stopping = attempt.stopping();
    tokio::pin!(stopping);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lost = ready.running.lost.clone();
    loop {
        let due = speech.due();
        let actions = tokio::select! {
            biased;
            stop = &mut stopping => return Followed::Stop(stop),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                speech.flush();
                continue;
            }
            event = ready.events.recv() => match event {
                Some(event) => run.on_event(&event, now()),
                None => return Followed::Lost,
            },
            () = lost.cancelled() => return Followed::Lost,
            _ = tick.tick() => run.on_tick(now()),
        };
        let mut todo = std::collections::VecDeque::from(actions);
        while let Some(action) = todo.pop_front() {
            todo.extend(act(ready, run, speech, action, now()).await);
        }
        if let Some(verdict) = run.verdict() {
            speech.flush();
            return Followed::Verdict(verdict.clone());
        }
    }
}

/// Does what the run asks for; gives what follows from it.
async fn act(ready: &Ready, run: &mut Run, speech: &mut Speech<'_>, action: Action, now: u64) -> Vec<Action> {
    let client = &ready.running.client;
    let place = |directory: String| if directory.is_empty() { ready.directory.clone() } else { directory };
    let refused = match action {
        Action::Say { kind, part, delta } => {
            speech.say(&kind, &part, &delta);
            return Vec::new();
        }
        Action::Tell(kind, data) => {
            speech.tell(kind, &data);
            return Vec::new();
        }
        Action::RejectPermission { id, directory } => client.reject_permission(&place(directory), &id, Some(REFUSAL_TO_MODEL)).await,
        Action::RejectQuestion { id, directory } => client.reject_question(&place(directory), &id).await,
        Action::Recheck => return recheck(ready, run, now).await,
    };
    if let Err(error) = refused {
        tracing::warn!("a request of OpenCode could not be refused: {error}");
    }
    Vec::new()
}

/// Reads what is stored, after events were lost or when something does not fit together.
async fn recheck(ready: &Ready, run: &mut Run, now: u64) -> Vec<Action> {
    let client = &ready.running.client;
    let read = async {
        for child in client.children(&ready.session).await? {
            ready.running.routes.adopt(&ready.session, &child.id);
        }
        let statuses = client.statuses(&ready.directory).await?;
        let messages = client.messages_from(&ready.session, run.message(), MOST_MESSAGES).await?;
        let (permissions, questions) = tokio::try_join!(client.permissions(&ready.directory), client.questions(&ready.directory))?;
        Ok::<_, crate::opencode::client::OpenCodeError>((statuses, messages, permissions, questions))
    };
    let (statuses, messages, permissions, questions) = match read.await {
        Ok(read) => read,
        Err(error) => {
            // The supervisor decides whether OpenCode is lost; the next tick asks again.
            tracing::debug!("a run cannot be looked up: {error}");
            return Vec::new();
        }
    };
    let own = run.sessions();
    let event = |session: String, event| SessionEvent { session, directory: ready.directory.clone(), event };
    let mut asked: Vec<SessionEvent> = Vec::new();
    asked.extend(permissions.into_iter().map(|request| event(request.session_id.clone(), Event::Permission(Box::new(request)))));
    asked.extend(questions.into_iter().map(|request| event(request.session_id.clone(), Event::Question(Box::new(request)))));
    let mut actions = Vec::new();
    for event in asked.iter().filter(|event| own.contains(&event.session)) {
        actions.extend(run.on_asked_again(event));
    }
    let own_status = statuses.get(&ready.session);
    // A retry that is shown now was told when it began, or is told by its next event.
    let busy = own_status.is_some_and(|value| !matches!(status(value), Event::Other));
    actions.extend(run.observe(messages.as_deref(), busy, now));
    actions
}

async fn finish(shared: &Shared, ready: &Ready, run: &Run, verdict: Verdict, speech: &mut Speech<'_>) -> Ending {
    let usage = Some(run.usage());
    match verdict {
        Verdict::Answered(message) => {
            match collect(&ready.running.client, &ready.session, run.message(), &message, Path::new(&ready.directory)).await {
                Ok((result, mut changes)) => {
                    if changes.is_empty() {
                        changes = answer::touched(run.files());
                    }
                    Ending::Completed { result, usage, changes }
                }
                Err(_) if ready.running.lost.is_cancelled() => lost(shared, ready, run, speech).await,
                Err(error) => Ending::Failed(session::failed(&error), usage),
            }
        }
        Verdict::Failed(failure) => {
            stop::end(&ready.running, &ready.directory, &run.sessions()).await;
            Ending::Failed(failure, usage)
        }
        Verdict::Stop(failure) => {
            let note = StatusNote {
                state: "stopping".to_owned(),
                code: Some(failure.code.to_owned()),
                message: Some(failure.message.clone()),
                ..StatusNote::default()
            };
            speech.tell(EntryKind::Status, &note);
            stop::end(&ready.running, &ready.directory, &run.sessions()).await;
            Ending::Failed(failure, usage)
        }
    }
}

/// OpenCode is gone. Its processes are ended; if the answer was stored before, it counts all the same.
async fn lost(shared: &Shared, ready: &Ready, run: &Run, speech: &mut Speech<'_>) -> Ending {
    speech.flush();
    stop::leave_no_process(&run.sessions()).await;
    let failure = ready.running.loss();
    if let Ok(again) = shared.opencode.ready(OPENCODE_PATIENCE).await
        && let Ok(Some(ending)) = answer::stored(&again, &ready.session, run.message(), Path::new(&ready.directory)).await
    {
        return ending;
    }
    Ending::Interrupted(failure, Some(run.usage()))
}

pub(super) use answer::{Stored, look_up};

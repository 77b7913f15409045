//! A prompt in OpenCode, from the checks to the stored answer.

mod answer;

pub(super) use answer::collect;

use super::attempt::{Attempt, Stop};
use super::run::{Action, Run, Settled, Verdict};
use super::speech::Speech;
use super::{Ending, not_begun, session, stop};
use crate::agent::{Shared, room};
use crate::clock;
use crate::inventory;
use crate::opencode::client::Prompt;
use crate::opencode::error::{Failure, code};
use crate::opencode::events::{Event, SessionEvent, status};
use crate::opencode::server::{InUse, Running};
use crate::spool::Prepared;
use muster_protocol::ids::{InteractionId, SessionId};
use muster_protocol::interaction::{InteractionState, PERMISSION};
use muster_protocol::stream::{EntryKind, InteractionNote, StatusNote};
use muster_protocol::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use uuid::Uuid;

/// How long a run waits for an OpenCode that is being started.
const OPENCODE_PATIENCE: Duration = Duration::from_mins(1);
/// How often a run's clock ticks.
const TICK: Duration = Duration::from_millis(200);
/// How many messages of a run are read at most when its events were lost.
const MOST_MESSAGES: usize = 5_000;

/// How often OpenCode is given an answer at most.
const ANSWER_TRIES: u32 = 3;

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
struct RouteGuard(Arc<Running>, String, #[expect(dead_code, reason = "it is held")] InUse);

impl Drop for RouteGuard {
    fn drop(&mut self) {
        self.0.routes.close(&self.1);
    }
}

/// Runs an attempt in OpenCode.
pub(super) async fn run(shared: &Shared, attempt: &Attempt) -> Ending {
    // OpenCode is not made to read its configuration again under a run.
    let _working = tokio::select! {
        working = shared.working.read() => working,
        stop = attempt.stopping() => return not_begun(stop),
    };
    let mut speech = Speech::new(attempt);
    speech.tell(EntryKind::Status, &StatusNote { state: "starting".to_owned(), ..StatusNote::default() });
    // Until the prompt is given, stopping is letting go.
    let ready = tokio::select! {
        ready = prepare(shared, attempt) => ready,
        stop = attempt.stopping() => return not_begun(stop),
    };
    let ending = match ready {
        Ok(ready) => prompted(shared, attempt, ready, &mut speech).await,
        Err(ending) => ending,
    };
    match (ending, room::opencode_problem(&shared.config)) {
        (Ending::Failed(failure, usage), Some(problem)) => Ending::Failed(with_disk(failure, &problem), usage),
        (Ending::Interrupted(failure, usage), Some(problem)) => Ending::Interrupted(with_disk(failure, &problem), usage),
        (ending, _) => ending,
    }
}

/// OpenCode itself says nothing of a full disk but that something went wrong.
fn with_disk(failure: Failure, problem: &str) -> Failure {
    match failure.code {
        code::OPENCODE_ERROR | code::OPENCODE_LOST | code::OPENCODE_NOT_STARTING | code::PROVIDER_ERROR => {
            Failure::new(code::DISK_FULL, format!("{problem}; free some and try again ({})", failure.message))
        }
        _ => failure,
    }
}

/// Everything that can fail before the prompt is given.
async fn prepare(shared: &Shared, attempt: &Attempt) -> Result<Ready, Ending> {
    let assignment = attempt.journal.assignment();
    let failed = |failure| Ending::Failed(failure, None);
    let path = codebase(shared, attempt).map_err(failed)?;
    let (running, using) = shared.opencode.enter(OPENCODE_PATIENCE).await.map_err(failed)?;
    let directory = path.to_string_lossy().into_owned();
    let new_session = assignment.session_id.is_none();
    let choice = session::choose(&running, &assignment.task, &directory, new_session).await.map_err(failed)?;
    let session = session::open(&running, assignment, &directory, &shared.worker_id).await.map_err(failed)?;
    let directory = if session.directory.is_empty() { directory } else { session.directory };
    let (message_id, part_id) = ids(attempt);
    let text = if assignment.continuation { continuation(&assignment.task.prompt) } else { assignment.task.prompt.clone() };
    let events = running.routes.open(&session.id);
    let route = RouteGuard(Arc::clone(&running), session.id.clone(), using);
    let prepared = Prepared { session_id: SessionId(session.id.clone()), message_id: message_id.clone() };
    if let Err(error) = attempt.journal.prepare(prepared) {
        // Nothing was prompted yet: whoever has room may do it.
        tracing::error!("{}: handed back, the spool cannot be written: {error}", attempt.describe());
        shared.room.close_after(shared, &error).await;
        return Err(Ending::HandedBack);
    }
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
    let mut run = Run::new(&ready.session, &ready.prompt.message_id, PathBuf::from(&ready.directory), shared.config.limits, now())
        .with_deadline(attempt.task().deadline);
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
            answer = attempt.answered() => run.on_answer(answer.interaction_id, answer.reply, now()),
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
    match action {
        Action::Say { kind, part, delta } => speech.say(&kind, &part, &delta),
        Action::Tell(kind, data) => speech.tell(kind, &data),
        Action::Ask(asked) => {
            let patience = i64::try_from(run.patience().as_millis()).unwrap_or(i64::MAX);
            let deadline = Timestamp(clock::now().0.saturating_add(patience));
            return vec![run.opened(*asked, InteractionId(Uuid::now_v7()), now, deadline)];
        }
        Action::Settle(settled) => {
            let request = settled.asked.request.clone();
            let (note, is_taken) = settle(ready, *settled).await;
            speech.tell(EntryKind::Interaction, &note);
            if !is_taken {
                run.not_taken(&request, now);
            }
        }
        Action::Recheck => return recheck(ready, run, now).await,
    }
    Vec::new()
}

/// Gives OpenCode an answer, again if it cannot be told whether it has it: a note of what became of it, and whether OpenCode took it.
async fn settle(ready: &Ready, settled: Settled) -> (InteractionNote, bool) {
    let Settled { asked, reply, mut note } = settled;
    let client = &ready.running.client;
    let directory = if asked.directory.is_empty() { &ready.directory } else { &asked.directory };
    let give = async || match &reply.reply {
        Some(word) if asked.kind == PERMISSION => {
            client.reply_permission(directory, &asked.request, word.as_str(), reply.message.as_deref()).await
        }
        Some(_) => client.reject_question(directory, &asked.request).await,
        None => client.answer_question(directory, &asked.request, &reply.answers).await,
    };
    let mut given = give().await;
    for _ in 1..ANSWER_TRIES {
        match &given {
            Err(error) if !error.is_not_found() && !ready.running.lost.is_cancelled() => given = give().await,
            _ => break,
        }
    }
    if let Err(error) = &given {
        tracing::warn!("a request of OpenCode could not be answered: {error}");
        InteractionState::Void.as_str().clone_into(&mut note.outcome);
        note.reason = Some(format!("OpenCode did not take the answer: {error}"));
    }
    (note, given.is_ok())
}

/// Reads what is stored, after events were lost or when something does not fit together.
async fn recheck(ready: &Ready, run: &mut Run, now: u64) -> Vec<Action> {
    let client = &ready.running.client;
    let read = async {
        for child in client.children(&ready.session).await? {
            ready.running.routes.adopt(&ready.session, &child.id);
            run.adopt(&child.id);
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
    let waiting = permissions.iter().map(|request| request.id.clone()).chain(questions.iter().map(|request| request.id.clone())).collect();
    let mut actions = run.on_waiting(&ready.directory, &waiting, now);
    let own = run.sessions();
    let event = |session: String, event| SessionEvent { session, directory: ready.directory.clone(), event };
    let mut asked: Vec<SessionEvent> = Vec::new();
    asked.extend(permissions.into_iter().map(|request| event(request.session_id.clone(), Event::Permission(Box::new(request)))));
    asked.extend(questions.into_iter().map(|request| event(request.session_id.clone(), Event::Question(Box::new(request)))));
    for event in asked.iter().filter(|event| own.contains(&event.session)) {
        actions.extend(run.on_asked_again(event, now));
    }
    let own_status = statuses.get(&ready.session);
    let shown = own_status.map(|value| status(value, clock::now()));
    if let Some(retry @ Event::Retry { .. }) = &shown {
        actions.extend(run.on_retry_shown(retry, now));
    }
    let busy = shown.is_some_and(|shown| shown != Event::Other);
    actions.extend(run.observe(messages.as_deref(), busy, now));
    actions
}

async fn finish(shared: &Shared, ready: &Ready, run: &Run, verdict: Verdict, speech: &mut Speech<'_>) -> Ending {
    let usage = Some(run.usage());
    match verdict {
        Verdict::Answered(message) => {
            let (directory, edited) = (Path::new(&ready.directory), !run.files().is_empty());
            match collect(&ready.running.client, &ready.session, run.message(), &message, directory, edited).await {
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

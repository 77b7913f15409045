//! One task that is relayed: sends the message in the version and binding that the agent's card names, follows what becomes of it there, and tells
//! it here. The attempt's lease says how long ago the agent was heard of; where it is lost, the task waits for it as for a lost worker.

use super::card::client_of;
use super::send::not_delivered;
use crate::app::App;
use crate::domain::lease::{Phase, Renewal};
use crate::domain::mirror::Mirror;
use crate::store::StoreError;
use crate::store::attempts::MarkReconnected;
use crate::store::external::agent_of;
use crate::store::relays::{EndRelay, Remote};
use crate::store::tasks::TaskRecord;
use crate::sync::lock;
use muster_protocol::a2a::StreamResponse;
use muster_protocol::client::a2a::{A2aError, Agent, Events};
use muster_protocol::ids::{ContextId, InteractionId, TaskId, WorkerId};
use muster_protocol::task::TaskState;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a stream may take to open.
pub(super) const OPEN: Duration = Duration::from_mins(2);
/// After how long of silence it is asked whether the agent is still there, and which part of a lease that is at most.
const SILENCE: Duration = Duration::from_secs(12);
const OF_LEASE: u32 = 3;
/// The shortest and the longest time between two looks at a task.
pub(super) const SOON: Duration = Duration::from_millis(500);
pub(super) const LATE: Duration = Duration::from_secs(10);

/// A task under way.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(super) struct Relay {
    pub(super) app: App,
    pub(super) holder: WorkerId,
    pub(super) agent: String,
    pub(super) task: TaskId,
    pub(super) attempt: u64,
    pub(super) context: ContextId,
    pub(super) client: Agent,
    pub(super) streaming: bool,
    /// Whether it is of a peer: that recognises a message which is sent again.
    pub(super) of_peer: bool,
    pub(super) mirror: Mirror,
    pub(super) noted: Remote,
    pub(super) events: Option<Events>,
    /// It was followed again after a break: what was told meanwhile is read at the end.
    pub(super) rejoined: bool,
    /// What it asks, and the message with which it asked.
    pub(super) asked: Option<InteractionId>,
    pub(super) asked_with: Option<String>,
    pub(super) cancel_sent: bool,
    /// Until when a cancel waits for the agent to name its task, and until when that is waited for anyway.
    pub(super) give_up_at: Option<Instant>,
    pub(super) named_by: Instant,
    /// The attempt is over, here or there, or this process has no more to do with it.
    pub(super) over: bool,
    pub(super) told: usize,
    pub(super) pause: Duration,
}

/// Why a task fails: a stable code and a sentence.
pub(super) type Failure = (&'static str, String);

/// Relays a task that is held for an agent, from where it is; `is_new` is whether it was just given to it.
///
/// # Errors
/// Of the store; it is taken up again then.
pub(super) async fn relay(app: &App, record: TaskRecord, is_new: bool) -> Result<(), StoreError> {
    let Some(holder) = record.holder.clone() else { return Ok(()) };
    let name = agent_of(&holder).unwrap_or_default();
    let (task, attempt) = (record.task.id, record.task.attempt);
    let prepared = match app.store.external_agent(name).await? {
        None => Err(("agent_removed", format!("the agent {name} was removed from this server"))),
        Some(agent) if agent.health.is_another => {
            Err(("agent_changed", format!("nothing was sent to the agent {name}: {}", agent.health.reason.unwrap_or_default())))
        }
        Some(agent) => client_of(app, &agent).map(|client| (client, agent)).map_err(|e| ("agent_unreachable", e.to_string())),
    };
    let (client, agent) = match prepared {
        Ok(prepared) => prepared,
        Err((code, error)) => return end(app, task, attempt, TaskState::Failed, (None, Some(error), Some(code))).await,
    };
    let mut relay = Relay {
        app: app.clone(),
        agent: name.to_owned(),
        task,
        attempt,
        context: record.task.context_id.clone(),
        client,
        streaming: agent.card.streaming,
        of_peer: agent.home.is_some(),
        mirror: Mirror::default(),
        noted: Remote::default(),
        events: None,
        rejoined: false,
        asked: None,
        asked_with: None,
        cancel_sent: false,
        give_up_at: None,
        named_by: Instant::now(),
        over: false,
        told: 0,
        pause: SOON,
        holder,
    };
    let remote = if is_new { None } else { app.store.remote_of(task, attempt).await? };
    match remote {
        None => relay.begin(&record.task, false).await?,
        Some(remote) if remote.task.is_empty() && record.cancel_asked_at.is_some() => relay.end_unconfirmed().await?,
        Some(remote) if remote.task.is_empty() && relay.of_peer => relay.begin(&record.task, true).await?,
        Some(remote) if remote.task.is_empty() => {
            let error = "this server stopped after it had sent the message, and before the agent had named its task: whether it works on it is \
                         not known";
            relay.fail(("agent_lost", error.to_owned())).await?;
        }
        Some(remote) => relay.resume(remote).await?,
    }
    if relay.over { Ok(()) } else { relay.follow().await }
}

async fn end(
    app: &App,
    task: TaskId,
    attempt: u64,
    state: TaskState,
    (result, error, code): (Option<String>, Option<String>, Option<&'static str>),
) -> Result<(), StoreError> {
    // PostgreSQL's TEXT refuses NUL, and nobody can help what an agent says.
    let without_nul = |text: Option<String>| text.map(|text| text.replace('\0', "\u{fffd}"));
    let (result, error) = (without_nul(result), without_nul(error));
    app.store.write(EndRelay { task, attempt, state, result, error, code, confirmed: true, now: app.now() }).await?;
    lock(&app.leases).end(task, attempt);
    Ok(())
}

/// Ends a canceled task of which the agent says nothing.
pub(super) async fn cancel_unconfirmed(app: &App, task: TaskId, attempt: u64) -> Result<(), StoreError> {
    let (state, now) = (TaskState::Canceled, app.now());
    app.store.write(EndRelay { task, attempt, state, result: None, error: None, code: None, confirmed: false, now }).await?;
    lock(&app.leases).end(task, attempt);
    Ok(())
}

impl Relay {
    /// Follows the task until it has ended, there or here.
    async fn follow(mut self) -> Result<(), StoreError> {
        let mut woken = self.app.store.hub().worker(self.holder.clone());
        let mut next_look = Instant::now();
        let mut quiet = Instant::now() + self.silence();
        self.heed().await?;
        while !self.over {
            if self.mirror.status.state.is_terminal() {
                return self.settle().await;
            }
            let app = self.app.clone();
            let (is_given_up, give_up) = self.giving_up();
            tokio::select! {
                () = app.life.stopping() => return Ok(()),
                () = sleep_until(give_up), if is_given_up => self.end_unconfirmed().await?,
                () = sleep_until(self.named_by), if self.mirror.task_id.is_empty() => self.say_unnamed().await?,
                _ = woken.changed() => self.heed().await?,
                event = next_of(&mut self.events), if self.events.is_some() => match event {
                    Ok(Some(event)) => {
                        self.pause = SOON;
                        quiet = Instant::now() + self.silence();
                        self.renew().await?;
                        let was_unnamed = self.mirror.task_id.is_empty();
                        let events = self.with_what_is_there(event);
                        self.take_all(events).await?;
                        // What was asked of it before it had a name waits.
                        if was_unnamed {
                            self.heed().await?;
                        }
                    }
                    ended => {
                        next_look = Instant::now();
                        self.cut(ended.err()).await?;
                    }
                },
                () = sleep_until(quiet), if self.events.is_some() => {
                    quiet = Instant::now() + self.silence();
                    if self.is_heard().await? {
                        // What could not be said to it before is said again.
                        self.heed().await?;
                    } else {
                        self.events = None;
                        next_look = Instant::now();
                    }
                }
                () = sleep_until(next_look), if self.events.is_none() => {
                    self.look().await?;
                    self.heed().await?;
                    quiet = Instant::now() + self.silence();
                    next_look = Instant::now() + self.pause;
                    self.pause = (self.pause * 2).min(LATE);
                }
            }
        }
        Ok(())
    }

    /// Its stream is over: with a task it is looked for, without one nobody can know more.
    async fn cut(&mut self, error: Option<A2aError>) -> Result<(), StoreError> {
        self.events = None;
        if let Some(error) = &error {
            tracing::debug!(task.id = %self.task, %error, "the stream of an agent broke");
        }
        match error {
            _ if !self.mirror.task_id.is_empty() => Ok(()),
            Some(error @ A2aError::Refused { .. }) => self.fail(not_delivered(&error)).await,
            // It is taken up again, and the message sent once more.
            _ if self.of_peer => {
                self.app.relays.fall_behind();
                self.over = true;
                Ok(())
            }
            _ => {
                let error = "the agent took the message, and ended its stream without a word: whether it works on it is not known";
                self.fail(("agent_lost", error.to_owned())).await
            }
        }
    }

    /// It keeps its connection and says nothing on it.
    async fn say_unnamed(&mut self) -> Result<(), StoreError> {
        let waited = self.app.config.a2a.agent_answer.as_secs();
        let error = format!("the agent took the message and said nothing within {waited} s: whether it works on it is not known");
        self.fail(("agent_lost", error)).await
    }

    /// After how long of silence the agent is asked after.
    pub(super) fn silence(&self) -> Duration {
        SILENCE.min(self.app.config.leases.lease / OF_LEASE)
    }

    /// Whether the agent still answers while its stream is silent, and says what the stream said.
    async fn is_heard(&mut self) -> Result<bool, StoreError> {
        if self.mirror.task_id.is_empty() {
            return self.renew().await.map(|()| true);
        }
        match self.client.task(&self.mirror.task_id).await {
            Ok(task) if task.status.state == self.mirror.status.state => self.renew().await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// Reads the task as it is there, and follows it again if it goes on.
    async fn look(&mut self) -> Result<(), StoreError> {
        let id = self.mirror.task_id.clone();
        match self.client.task(&id).await {
            Ok(task) => {
                self.renew().await?;
                self.take(StreamResponse::Task(task)).await?;
            }
            Err(error) if error.is_no_task() => {
                let error = format!("the agent does not know its task {id} any more");
                return self.fail(("agent_forgot", error)).await;
            }
            Err(error) => {
                tracing::debug!(task.id = %self.task, %error, "an agent does not answer");
                return Ok(());
            }
        }
        let state = self.mirror.status.state;
        if self.over || !self.streaming || state.is_terminal() || state.is_interrupted() {
            return Ok(());
        }
        match timeout(OPEN, self.client.subscribe(&id)).await {
            Ok(Ok(events)) => (self.events, self.rejoined) = (Some(events), true),
            Ok(Err(error)) => tracing::debug!(task.id = %self.task, %error, "a task of an agent cannot be followed; it is looked at"),
            Err(_) => {}
        }
        Ok(())
    }

    /// The agent was heard of.
    pub(super) async fn renew(&self) -> Result<(), StoreError> {
        let deadline = self.app.clock.uptime() + self.app.config.leases.lease;
        let (task, attempt) = (self.task, self.attempt);
        let renewal = lock(&self.app.leases).renew(task, attempt, &self.holder, deadline);
        match renewal {
            Renewal::Renewed => Ok(()),
            Renewal::Reconnected => self.app.store.write(MarkReconnected { task, attempt, now: self.app.now() }).await,
            Renewal::Unknown => {
                lock(&self.app.leases).grant(task, attempt, self.holder.clone(), deadline, Phase::Held);
                Ok(())
            }
        }
    }

    /// The task has ended there.
    async fn settle(&mut self) -> Result<(), StoreError> {
        if self.rejoined
            && let Ok(task) = self.client.task(&self.mirror.task_id).await
        {
            self.take(StreamResponse::Task(task)).await?;
        }
        let says = self.mirror.says();
        match self.mirror.status.state.known() {
            Some(TaskState::Completed) => self.end(TaskState::Completed, Some(self.mirror.text()), None, None).await,
            Some(TaskState::Canceled) => self.end(TaskState::Canceled, None, says, None).await,
            Some(TaskState::Rejected) => {
                let says = says.unwrap_or_else(|| "the agent rejected the task".to_owned());
                self.end(TaskState::Rejected, None, Some(says), Some("agent_rejected")).await
            }
            _ => self.fail(("agent_failed", says.unwrap_or_else(|| "the agent says that the task failed, and not why".to_owned()))).await,
        }
    }

    pub(super) async fn fail(&mut self, (code, error): Failure) -> Result<(), StoreError> {
        self.end(TaskState::Failed, None, Some(error), Some(code)).await
    }

    pub(super) async fn end(
        &mut self,
        state: TaskState,
        result: Option<String>,
        error: Option<String>,
        code: Option<&'static str>,
    ) -> Result<(), StoreError> {
        self.over = true;
        end(&self.app, self.task, self.attempt, state, (result, error, code)).await
    }
}

async fn next_of(events: &mut Option<Events>) -> Result<Option<StreamResponse>, A2aError> {
    match events {
        Some(events) => events.next().await,
        None => Ok(None),
    }
}

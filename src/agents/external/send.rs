//! Sending a message to an agent: the one with which a task begins, and answers.

use super::RELAYED_MODE;
use super::relay::{Failure, LATE, OPEN, Relay, SOON};
use crate::agents::{HOPS_KEY, hops_of};
use crate::domain::mirror::Mirror;
use crate::domain::projection::Projection;
use crate::store::StoreError;
use crate::store::relays::{BeginRelay, ForgetRemote, Remote};
use muster_protocol::a2a::{Message, Part, Role, SendMessageConfiguration, SendMessageRequest, SendMessageResponse, StreamResponse};
use muster_protocol::client::a2a::A2aError;
use muster_protocol::task::{Task, TaskState};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long an answer is waited for when this server stops.
const LAST: Duration = Duration::from_secs(1);
/// How long an agent that cannot be reached is tried before a message is given up.
const TRIES: Duration = Duration::from_secs(30);

impl Relay {
    /// Sends the message with which the task began. `may_be_there` is whether it was sent before and nobody knows what became of it: only a peer
    /// is sent it again, which recognises it.
    pub(super) async fn begin(&mut self, task: &Task, mut may_be_there: bool) -> Result<(), StoreError> {
        let context = self.app.store.remote_context(&self.context, &self.agent).await?;
        let message_id = format!("{}-{}", self.task, self.attempt);
        let message = Message { message_id, role: Role::User, context_id: context, task_id: None, ..message_for(task) };
        let until = Instant::now() + TRIES;
        let mut pause = SOON;
        while self.is_wanted().await? {
            // From here on nobody knows whether it was sent, until it is known that it was not. Of a peer's that was noted when it was given to it.
            if !self.of_peer {
                self.note_remote().await?;
            }
            match self.deliver(message.clone()).await? {
                Ok(()) if self.of_peer => return Ok(()),
                Ok(()) => return self.app.store.write(BeginRelay { task: self.task, attempt: self.attempt, now: self.app.now() }).await,
                Err(error) if may_repeat(&error) || (self.of_peer && matches!(error, A2aError::Lost { .. })) => {
                    may_be_there |= !may_repeat(&error);
                    if !may_be_there {
                        if !self.of_peer {
                            self.app.store.write(ForgetRemote { task: self.task, attempt: self.attempt }).await?;
                        }
                        if Instant::now() + pause >= until {
                            return self.fail(not_delivered(&error)).await;
                        }
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.app.life.stopping() => {
                            // The next start of this server sends it.
                            self.over = true;
                            return Ok(());
                        }
                    }
                    pause = (pause * 2).min(LATE);
                    // Where it may be worked on, the lease says how long nothing was heard of it.
                    if !may_be_there {
                        self.renew().await?;
                    }
                }
                Err(error) => return self.fail(not_delivered(&error)).await,
            }
        }
        Ok(())
    }

    /// Whether the message, which was not sent yet, is still to be.
    async fn is_wanted(&mut self) -> Result<bool, StoreError> {
        let record = self.app.store.task(self.task).await?.filter(|record| record.held && record.task.attempt == self.attempt);
        match record {
            Some(record) if record.cancel_asked_at.is_none() => Ok(true),
            Some(_) => self.end(TaskState::Canceled, None, None, None).await.map(|()| false),
            None => {
                self.over = true;
                Ok(false)
            }
        }
    }

    /// Takes up a task that was relayed before this server was started.
    pub(super) async fn resume(&mut self, remote: Remote) -> Result<(), StoreError> {
        let mut projection = Projection::new(self.task.to_string(), self.context.to_string(), self.app.now());
        let mut after = 0;
        loop {
            let entries = self.app.store.said(self.task, after, u64::from(u32::MAX), 2_000).await?;
            let Some(last) = entries.last() else { break };
            after = last.task_seq;
            for entry in &entries {
                projection.apply(entry);
            }
        }
        self.mirror = Mirror::new(remote.task.clone(), remote.context.clone(), projection.artifacts);
        self.noted = remote;
        self.rejoined = true;
        let asked = self.app.store.interactions_of(self.task).await?.into_iter().map(|record| record.interaction);
        self.asked = asked.into_iter().find(|asked| asked.attempt == self.attempt && asked.state.is_pending()).map(|asked| asked.id);
        Ok(())
    }

    /// Sends a message: its answer is taken in, or followed as a stream. What the task came to meanwhile may make that needless.
    pub(super) async fn deliver(&mut self, message: Message) -> Result<Result<(), A2aError>, StoreError> {
        let configuration = Some(SendMessageConfiguration { return_immediately: true, ..SendMessageConfiguration::default() });
        let request = SendMessageRequest { message, configuration, ..SendMessageRequest::default() };
        let (client, wait) = (self.client.clone(), self.app.config.a2a.agent_answer);
        self.named_by = Instant::now() + wait;
        if self.streaming {
            match self.while_wanted(timeout(OPEN, client.stream(request.clone()))).await? {
                None => return Ok(Ok(())),
                Some(Ok(Ok(events))) => {
                    self.events = Some(events);
                    return Ok(Ok(()));
                }
                // Its card says that it streams, and it does not.
                Some(Ok(Err(A2aError::Refused { code: -32004 | -32601, .. }))) => self.streaming = false,
                Some(Ok(Err(error))) => return Ok(Err(error)),
                Some(Err(_)) => return Ok(Err(A2aError::Lost { at: self.agent.clone(), reason: "it did not answer in time".to_owned() })),
            }
        }
        match self.while_wanted(client.send(request, wait)).await? {
            None => Ok(Ok(())),
            Some(Ok(SendMessageResponse::Task(task))) => self.take(StreamResponse::Task(task)).await.map(Ok),
            Some(Ok(SendMessageResponse::Message(message))) => self.take(StreamResponse::Message(message)).await.map(Ok),
            Some(Err(error)) => Ok(Err(error)),
        }
    }

    /// Waits for an answer; as long as the connection stands, the agent counts as there. None where nobody waits for it any more: the task has
    /// ended, here or there, or this server stops.
    async fn while_wanted<T>(&mut self, answer: impl Future<Output = T>) -> Result<Option<T>, StoreError> {
        tokio::pin!(answer);
        let app = self.app.clone();
        let mut woken = app.store.hub().worker(self.holder.clone());
        let mut heard = tokio::time::interval_at(Instant::now() + self.silence(), self.silence());
        self.heed_end().await?;
        while !self.over && !self.mirror.status.state.is_terminal() {
            let (is_given_up, give_up) = self.giving_up();
            tokio::select! {
                answer = &mut answer => return Ok(Some(answer)),
                () = app.life.stopping() => {
                    // Most often there is no connection at once, or never: then it is known that nothing was sent.
                    let last = timeout(LAST, &mut answer).await.ok();
                    self.over = last.is_none();
                    return Ok(last);
                }
                _ = woken.changed() => self.heed_end().await?,
                _ = heard.tick() => self.renew().await?,
                () = sleep_until(give_up), if is_given_up => self.end_unconfirmed().await?,
            }
        }
        Ok(None)
    }
}

/// The message that a task becomes at its agent: the one that it began with, or, where it was forwarded, what the machine there is to do.
fn message_for(task: &Task) -> Message {
    let kept = task
        .metadata
        .get(crate::agents::MESSAGE_KEY)
        .filter(|_| task.mode == RELAYED_MODE)
        .and_then(|kept| serde_json::from_value::<Message>(kept.get("message")?.clone()).ok());
    let mut message = kept.unwrap_or_else(|| Message { parts: vec![Part::text(task.prompt.clone())], ..Message::default() });
    if task.mode == RELAYED_MODE {
        let chosen = ["codebase", "model", "mode"].into_iter().filter_map(|key| Some((key.to_owned(), task.metadata.get(key)?.clone())));
        message.metadata.extend(chosen);
    } else {
        let chosen = [("codebase", task.target.codebase.clone()), ("model", task.model.clone()), ("mode", Some(task.mode.clone()))];
        message.metadata.extend(chosen.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))));
    }
    // Whom it was for here means nothing there.
    message.metadata.remove(crate::agents::AGENT_KEY);
    message.reference_task_ids.clear();
    let hops = hops_of(&task.metadata).max(hops_of(&message.metadata));
    message.metadata.insert(HOPS_KEY.to_owned(), (hops + 1).into());
    message
}

/// Whether the same message may be sent again: it was not taken.
pub(super) fn may_repeat(error: &A2aError) -> bool {
    matches!(error, A2aError::NotReached { .. } | A2aError::Refused { status: 429 | 503, .. })
}

/// Why a message was not delivered.
pub(super) fn not_delivered(error: &A2aError) -> Failure {
    match error {
        A2aError::Refused { status: 401 | 403, .. } => ("agent_auth", format!("{error}; add the agent again with a token that it takes")),
        error if may_repeat(error) => ("agent_unreachable", format!("{error}; nothing was sent, so that the task can be retried")),
        A2aError::Refused { .. } => ("agent_refused", error.to_string()),
        _ => ("agent_lost", format!("{error}; what it made of the message is not known")),
    }
}

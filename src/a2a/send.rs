//! Sending a message, reading a task, canceling it.

use super::asked::Asked;
use super::error::{A2aError, Outcome};
use super::incoming::{check, message_of};
use super::stream::{Events, From};
use super::view::{Want, view_answered};
use crate::agents::{LONGEST_WAIT, Message};
use crate::domain::answering::{self, from_message};
use crate::error::ApiError;
use crate::store::a2a::{AnswerByMessage, ToldTask};
use crate::store::interactions::{AnswerInteraction, AnswerOutcome};
use crate::store::submit::IdempotencyKey;
use futures_util::StreamExt as _;
use futures_util::stream::once;
use muster_protocol::a2a::{
    self as said, CancelTaskRequest, ErrorKind, GetTaskRequest, SendMessageRequest, SendMessageResponse, StreamResponse, SubscribeRequest,
    Task,
};
use muster_protocol::ids::{InteractionId, TaskId};
use muster_protocol::interaction::Interaction;
use muster_protocol::task::{SubmitTask as Wanted, TaskState};
use std::future::ready;
use std::time::Duration;

/// How long a cancel waits for the worker's word.
const CANCEL_WAIT: Duration = Duration::from_secs(15);

/// What becomes of a message.
enum Accepted {
    /// A task.
    Task(Begun),
    /// An answer without one.
    Answered(said::Message),
}

/// The task, and the place in its stream from which on it is told.
struct Begun {
    task: TaskId,
    after: u64,
    /// What it answers.
    answered: Option<InteractionId>,
    /// The task itself, where it was answered at once.
    at_once: Option<Box<ToldTask>>,
}

impl Asked {
    /// `SendMessage`: the task when it has ended or waits for the client; at once if the configuration says so.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn send(&self, request: &SendMessageRequest) -> Outcome<SendMessageResponse> {
        check(request)?;
        let configuration = request.configuration.clone().unwrap_or_default();
        let accepted = match self.accept(request).await? {
            Accepted::Task(accepted) => accepted,
            Accepted::Answered(answer) => return Ok(SendMessageResponse::Message(answer)),
        };
        let want = Want::all(configuration.history_length)?;
        if let Some(told) = &accepted.at_once {
            return Ok(SendMessageResponse::Task(view_answered(&self.app, told, want).await?));
        }
        let told = if configuration.return_immediately {
            self.reread(accepted.task).await?
        } else {
            self.settled(accepted.task, LONGEST_WAIT, true).await?
        };
        Ok(SendMessageResponse::Task(self.view(&told, want).await?))
    }

    /// `SendStreamingMessage`: the task, and what becomes of it until it has ended or waits for the client.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn send_streaming(&self, request: &SendMessageRequest) -> Outcome<Events> {
        check(request)?;
        let configuration = request.configuration.clone().unwrap_or_default();
        let want = Want::all(configuration.history_length)?;
        let accepted = match self.accept(request).await? {
            Accepted::Task(accepted) => accepted,
            Accepted::Answered(answer) => return Ok(once(ready(Ok((None, StreamResponse::Message(answer))))).boxed()),
        };
        let told = self.reread(accepted.task).await?;
        let from = From { after: accepted.after, answered: accepted.answered, one_turn: true };
        self.follow(told, from, want).await
    }

    /// `SubscribeToTask`: the task as it is, or as it was at the place `after`, and what becomes of it until it has ended.
    ///
    /// # Errors
    /// [`A2aError`]; a task that has ended and has nothing to tell after the place.
    pub(super) async fn subscribe(&self, request: &SubscribeRequest, after: Option<u64>) -> Outcome<Events> {
        let told = self.own(&request.id).await?;
        let entries = told.record.task.entries;
        let after = after.unwrap_or(entries).min(entries);
        if told.record.task.state.is_terminal() && after == entries {
            return Err(ended(&told, ErrorKind::UnsupportedOperation, "there is nothing to follow"));
        }
        let from = From { after, answered: None, one_turn: false };
        self.follow(told, from, Want { history: None, artifacts: true }).await
    }

    /// `GetTask`.
    ///
    /// # Errors
    /// [`A2aError`].
    pub(super) async fn get_task(&self, request: &GetTaskRequest) -> Outcome<Task> {
        let want = Want::all(request.history_length)?;
        let told = self.own(&request.id).await?;
        self.view(&told, want).await
    }

    /// `CancelTask`: waits a little for the worker's word, and answers the task as it is then.
    ///
    /// # Errors
    /// [`A2aError`]; a task that has ended, also if that was first.
    pub(super) async fn cancel(&self, request: &CancelTaskRequest) -> Outcome<Task> {
        let not_cancelable = |told: &ToldTask| ended(told, ErrorKind::TaskNotCancelable, "it cannot be canceled");
        let told = self.own(&request.id).await?;
        let id = told.record.task.id;
        match self.app.cancel(&self.who, id).await {
            Ok(_) => {}
            Err(ApiError::Conflict { .. }) => return Err(not_cancelable(&self.reread(id).await?)),
            Err(ApiError::NotFound { .. }) => return Err(A2aError::no_task(&request.id)),
            Err(error) => return Err(error.into()),
        }
        let told = self.settled(id, CANCEL_WAIT, false).await?;
        if matches!(told.record.task.state, TaskState::Completed | TaskState::Failed) {
            return Err(not_cancelable(&told));
        }
        self.view(&told, Want { history: None, artifacts: true }).await
    }

    async fn reread(&self, id: TaskId) -> Outcome<ToldTask> {
        self.app.store.told_task(id).await?.ok_or_else(|| A2aError::no_task(&id.to_string()))
    }

    /// Makes a message a task, a turn of one's conversation, or the answer to what a task asks.
    async fn accept(&self, request: &SendMessageRequest) -> Outcome<Accepted> {
        let name = self.agent.as_ref().map(|agent| self.app.agent_name(agent));
        let mut message = message_of(request, self.agent.as_ref(), name)?;
        message.once = self.who.peer.map(|_| recognised_by(&message.id));
        let webhook = request.configuration.as_ref().and_then(|configuration| configuration.task_push_notification_config.clone());
        if let Some(webhook) = &webhook {
            self.check_push(webhook)?;
        }
        let accepted = match request.message.task_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => self.go_on(id, request, message).await?,
            None if let Some(text) = self.app.bare_answer(&message).await? => return Ok(Accepted::Answered(self.bare(&message, text))),
            None => {
                let task = self.app.begin_message(&self.who, message).await?.task;
                let (id, is_over) = (task.id, task.state.is_terminal());
                Begun { task: id, after: 0, answered: None, at_once: is_over.then(|| Box::new(ToldTask::answered(task))) }
            }
        };
        if let Some(webhook) = webhook {
            self.put_push(accepted.task, webhook, Some(accepted.after)).await?;
        }
        Ok(Accepted::Task(accepted))
    }

    /// An answer without a task.
    fn bare(&self, message: &Message, text: &str) -> said::Message {
        let id = self.app.ids.uuid(self.app.now()).to_string();
        let context_id = message.context_id.as_ref().map_or_else(|| id.clone(), ToString::to_string);
        said::Message {
            message_id: id,
            context_id: Some(context_id),
            role: said::Role::Agent,
            parts: vec![said::Part::text(text)],
            ..said::Message::default()
        }
    }

    /// A message to a task that is there.
    async fn go_on(&self, id: &str, request: &SendMessageRequest, message: Message) -> Outcome<Begun> {
        let told = self.own(id).await?;
        let task = &told.record.task;
        if message.context_id.as_ref().is_some_and(|context| *context != task.context_id) {
            let reason = format!("the task belongs to the context {}; leave this out, or name that", task.context_id);
            return Err(A2aError::invalid("message.contextId", reason));
        }
        if task.state.is_terminal() {
            return Err(ended(&told, ErrorKind::UnsupportedOperation, "send a message with its contextId and without taskId to go on"));
        }
        if told.record.is_own() {
            return self.go_on_itself(&told, request, &message).await;
        }
        if let Some(asked) = self.asks(&told).await? {
            let (after, answered) = (task.entries, Some(asked.id));
            self.answer(&told, asked, request, &message).await?;
            return Ok(Begun { task: task.id, after, answered, at_once: None });
        }
        let wanted = Wanted {
            prompt: message.prompt(),
            context_id: Some(task.context_id.clone()),
            model: message.model.or_else(|| task.model.clone()),
            mode: message.mode.or_else(|| Some(task.mode.clone())),
            metadata: message.metadata,
            ..Wanted::default()
        };
        let next = self.app.submit(&self.who, wanted, None).await?;
        Ok(Begun { task: next.id, after: 0, answered: None, at_once: None })
    }

    /// A message to a task that an agent of this server answers itself.
    async fn go_on_itself(&self, told: &ToldTask, request: &SendMessageRequest, message: &Message) -> Outcome<Begun> {
        let task = &told.record.task;
        let question = self.view(told, Want { history: Some(0), artifacts: false }).await?.status.message;
        let said =
            said::Message { context_id: Some(task.context_id.to_string()), task_id: Some(task.id.to_string()), ..request.message.clone() };
        let messages = question.into_iter().map(|question| *question).chain([said]).collect();
        if self.waits(told).await? && self.app.go_on_itself(task.id, task.state, messages, message).await? {
            return Ok(Begun { task: task.id, after: task.entries, answered: None, at_once: None });
        }
        let reason = format!("task {} asks nothing now; send the message when it does, or without taskId", task.id);
        Err(A2aError::new(ErrorKind::UnsupportedOperation, reason))
    }

    async fn answer(&self, told: &ToldTask, asked: Interaction, request: &SendMessageRequest, message: &Message) -> Outcome<()> {
        let wrong = |wrong: answering::Wrong| A2aError::invalid(wrong.field, wrong.message);
        let reply = from_message(&asked, &message.text, &message.data).map_err(wrong)?;
        answering::check(&asked, &reply).map_err(wrong)?;
        let task = &told.record.task;
        let question = crate::domain::projection::question(&asked, task.context_id.as_str());
        let (context_id, task_id) = (Some(task.context_id.to_string()), Some(task.id.to_string()));
        let said = said::Message { context_id, task_id, ..request.message.clone() };
        let answer = AnswerInteraction { id: asked.id, reply, by: self.who.id.clone(), now: self.app.now() };
        match self.app.store.write(AnswerByMessage { answer, task: task.id, messages: [question, said] }).await? {
            AnswerOutcome::Taken(_) => Ok(()),
            AnswerOutcome::TooLate(_) | AnswerOutcome::NotFound => {
                let message = "the answer comes too late: what the task asked was answered before, or it gave up waiting";
                Err(A2aError::new(ErrorKind::UnsupportedOperation, message))
            }
        }
    }

    /// Waits until a task has ended, or asks something; not longer than `limit`.
    async fn settled(&self, id: TaskId, limit: Duration, until_it_asks: bool) -> Outcome<ToldTask> {
        let mut signal = self.app.store.hub().task(id);
        let end = tokio::time::sleep(limit);
        tokio::pin!(end);
        loop {
            signal.mark_unchanged();
            let told = self.reread(id).await?;
            let state = told.record.task.state;
            if state.is_terminal() || (until_it_asks && self.waits(&told).await?) {
                return Ok(told);
            }
            tokio::select! {
                () = &mut end => return Ok(told),
                () = self.app.life.stopping() => return Ok(told),
                _ = signal.changed() => {}
            }
        }
    }
}

/// With which a peer's message is recognised: it chooses the ids of its messages so that none means two.
fn recognised_by(message_id: &str) -> IdempotencyKey {
    IdempotencyKey { key: format!("message:{message_id}"), hash: "message".to_owned() }
}

fn ended(told: &ToldTask, kind: ErrorKind, what: &str) -> A2aError {
    let task = &told.record.task;
    A2aError::new(kind, format!("task {} is {} already; {what}", task.id, task.state))
}

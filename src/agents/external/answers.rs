//! What goes to the agent while its task runs: answers to what it asks, and a cancel.

use super::relay::Relay;
use super::send::may_repeat;
use crate::store::StoreError;
use muster_protocol::a2a::{Message, Part, Role, StreamResponse, TaskStatus};
use muster_protocol::ids::InteractionId;
use muster_protocol::interaction::{InteractionState, QUESTION, ReplyInteraction};
use muster_protocol::stream::{EntryKind, InteractionNote, StatusNote};
use muster_protocol::task::TaskState;
use serde_json::json;
use tokio::time::Instant;

/// How much of a question is its title.
const TITLE: usize = 200;

impl Relay {
    /// What the agent asks is asked here; what it does not ask any more neither.
    pub(super) async fn follow_questions(&mut self) -> Result<(), StoreError> {
        let state = self.mirror.status.state;
        if self.over || !state.is_interrupted() {
            if let Some(id) = self.asked.take_if(|_| !self.over && !state.is_terminal()) {
                self.close(id, "the agent went on by itself").await?;
            }
            return Ok(());
        }
        let with = self.mirror.status.message.as_ref().map(|message| message.message_id.clone()).filter(|id| !id.is_empty());
        if self.asked.is_some() || (with.is_some() && with == self.asked_with) {
            return Ok(());
        }
        let id = InteractionId(self.app.ids.uuid(self.app.now()));
        let question = self.mirror.says().unwrap_or_else(|| format!("The agent waits ({}).", state.as_str()));
        let note = InteractionNote {
            id: Some(id),
            request: with.clone().unwrap_or_default(),
            kind: QUESTION.to_owned(),
            title: question.chars().take(TITLE).collect(),
            outcome: InteractionState::Open.as_str().to_owned(),
            reason: None,
            directory: None,
            deadline: None,
            detail: json!([{ "question": question }]),
        };
        (self.asked, self.asked_with) = (Some(id), with);
        self.tell(EntryKind::Interaction, &note).await
    }

    async fn close(&mut self, id: InteractionId, reason: &str) -> Result<(), StoreError> {
        let note = InteractionNote {
            id: Some(id),
            request: String::new(),
            kind: QUESTION.to_owned(),
            title: String::new(),
            outcome: InteractionState::Applied.as_str().to_owned(),
            reason: Some(reason.to_owned()),
            directory: None,
            deadline: None,
            detail: serde_json::Value::Null,
        };
        self.tell(EntryKind::Interaction, &note).await
    }

    /// Heeds what happened here: the task was ended, is to be canceled, or has an answer.
    pub(super) async fn heed(&mut self) -> Result<(), StoreError> {
        self.heed_end().await?;
        match self.asked {
            Some(asked) if !self.over => self.answer(asked).await,
            _ => Ok(()),
        }
    }

    /// Heeds that the task was ended or is to be canceled.
    pub(super) async fn heed_end(&mut self) -> Result<(), StoreError> {
        let record = self.app.store.task(self.task).await?;
        let Some(record) = record.filter(|record| record.held && record.task.attempt == self.attempt) else {
            self.give_up().await;
            return Ok(());
        };
        if record.cancel_asked_at.is_none() || self.cancel_sent {
            return Ok(());
        }
        if self.mirror.task_id.is_empty() {
            // What has no name cannot be canceled there. As a lost worker it is waited for a lease, in which it may get one.
            self.give_up_at.get_or_insert(Instant::now() + self.app.config.leases.lease);
            return Ok(());
        }
        self.cancel().await
    }

    /// Whether a cancel is waiting for a name to be told with, and until when.
    pub(super) fn giving_up(&self) -> (bool, Instant) {
        let at = self.give_up_at.filter(|_| self.mirror.task_id.is_empty());
        (at.is_some(), at.unwrap_or_else(Instant::now))
    }

    /// Ends a canceled task whose agent could not be told.
    pub(super) async fn end_unconfirmed(&mut self) -> Result<(), StoreError> {
        self.over = true;
        super::relay::cancel_unconfirmed(&self.app, self.task, self.attempt).await
    }

    /// The attempt is not this server's any more: the agent is told, if it can be, and nothing more is said of it.
    pub(super) async fn give_up(&mut self) {
        self.over = true;
        if !self.mirror.task_id.is_empty()
            && !self.mirror.status.state.is_terminal()
            && let Err(error) = self.client.cancel(&self.mirror.task_id).await
        {
            tracing::debug!(task.id = %self.task, %error, "an agent was not told that its task is over");
        }
    }

    async fn cancel(&mut self) -> Result<(), StoreError> {
        match self.client.cancel(&self.mirror.task_id).await {
            Ok(task) => {
                self.cancel_sent = true;
                self.take(StreamResponse::Task(task)).await
            }
            Err(error) if error.is_no_task() => self.end(TaskState::Canceled, None, None, None).await,
            Err(error) if error.is_passing() => {
                tracing::debug!(task.id = %self.task, %error, "a cancel did not reach its agent; it is sent again");
                Ok(())
            }
            Err(error) => {
                // It may have ended: then its end is told next.
                self.cancel_sent = true;
                let message = Some(format!("the cancel was not carried out: {error}"));
                let note = StatusNote { state: TaskState::Working.as_str().to_owned(), message, ..StatusNote::default() };
                self.tell(EntryKind::Status, &note).await?;
                match self.client.task(&self.mirror.task_id).await {
                    Ok(task) => self.take(StreamResponse::Task(task)).await,
                    Err(_) => Ok(()),
                }
            }
        }
    }

    async fn answer(&mut self, asked: InteractionId) -> Result<(), StoreError> {
        let answered = self.app.store.interaction(asked).await?.map(|record| record.interaction);
        let Some(answered) = answered.filter(|asked| asked.state == InteractionState::Answered) else { return Ok(()) };
        let reply = answered.reply.unwrap_or_default();
        let parts = self.said_as(&reply).await?;
        let message = Message {
            message_id: format!("{}-{asked}", self.task),
            task_id: Some(self.mirror.task_id.clone()),
            context_id: Some(self.mirror.context_id.clone()).filter(|id| !id.is_empty()),
            role: Role::User,
            parts,
            ..Message::default()
        };
        // What it asked is over with the answer, whatever is heard of it first.
        let before = std::mem::take(&mut self.mirror.status);
        self.asked = None;
        match self.deliver(message).await? {
            Ok(()) => self.close(asked, "answered").await,
            Err(error) if may_repeat(&error) => {
                (self.asked, self.mirror.status) = (Some(asked), before);
                tracing::debug!(task.id = %self.task, %error, "an answer did not reach its agent; it is sent again");
                Ok(())
            }
            Err(error @ muster_protocol::client::a2a::A2aError::Refused { .. }) => {
                self.fail(("agent_refused", format!("{error}, when it was given the answer"))).await
            }
            Err(error) => {
                tracing::debug!(task.id = %self.task, %error, "whether an answer reached its agent is not known; its task says");
                (self.mirror.status, self.asked_with) = (TaskStatus::default(), None);
                self.close(asked, "sent").await
            }
        }
    }

    /// The parts of an answer: as the message that gave it had them, else its words.
    async fn said_as(&self, reply: &ReplyInteraction) -> Result<Vec<Part>, StoreError> {
        let words = if reply.answers.is_empty() {
            reply.message.clone().unwrap_or_else(|| reply.reply.as_ref().map_or_else(|| "no".to_owned(), ToString::to_string))
        } else {
            reply.answers.iter().map(|answer| answer.join(", ")).collect::<Vec<_>>().join("\n")
        };
        let mut said = self.app.store.later_messages(&[self.task]).await?.remove(&self.task).unwrap_or_default();
        let of_message = said.pop().filter(|message| message.parts.iter().filter_map(Part::as_text).any(|text| text.trim() == words));
        Ok(of_message.map_or_else(|| vec![Part::text(words)], |message| message.parts))
    }
}

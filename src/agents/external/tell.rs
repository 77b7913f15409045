//! Telling here what an agent says: its name for the task, and what it made and said, each time with as few commits as can be.

use super::relay::Relay;
use crate::domain::mirror::News;
use crate::store::StoreError;
use crate::store::relays::{NoteRemote, Remote};
use crate::store::stream::{AppendEntries, AppendOutcome};
use futures_util::future::join;
use muster_protocol::a2a::StreamResponse;
use muster_protocol::client::a2a::Events;
use muster_protocol::stream::{Entry, EntryKind, StatusNote};
use muster_protocol::task::TaskState;
use serde::Serialize;

/// How many events are told together at most.
const MOST_AT_ONCE: usize = 64;
/// The most that a task may tell, in bytes.
const MOST_TOLD: usize = 256 << 20;
/// The longest id that is kept.
const LONGEST_ID: usize = 1_000;

impl Relay {
    /// An event, and those that have come with it: they are told with one commit. How the stream goes on is asked anew after them.
    pub(super) fn with_what_is_there(&mut self, first: StreamResponse) -> Vec<StreamResponse> {
        let mut events = vec![first];
        while events.len() < MOST_AT_ONCE
            && let Some(ready) = self.events.as_mut().and_then(Events::ready)
        {
            events.push(ready);
        }
        events
    }

    /// Tells here what is new.
    pub(super) async fn take(&mut self, event: StreamResponse) -> Result<(), StoreError> {
        self.take_all(vec![event]).await
    }

    pub(super) async fn take_all(&mut self, events: Vec<StreamResponse>) -> Result<(), StoreError> {
        let news: Vec<_> = events.into_iter().flat_map(|event| self.mirror.take(event)).collect();
        let now_named = Remote { task: self.mirror.task_id.clone(), context: self.mirror.context_id.clone() };
        if [&now_named.task, &now_named.context].iter().any(|id| id.len() > LONGEST_ID || id.contains('\0')) {
            return self.fail(("agent_malformed", "the agent names its task in a way that cannot be kept".to_owned())).await;
        }
        let is_new_name = now_named != self.noted;
        self.noted = now_named;
        let now = self.app.now();
        let entries = news.iter().map(|news| match news {
            News::Text(delta) => Entry::new(0, now, EntryKind::Text, delta),
            News::Made(made) => Entry::new(0, now, EntryKind::Artifact, made),
            News::Said(text) => {
                let note =
                    StatusNote { state: TaskState::Working.as_str().to_owned(), message: Some(text.clone()), ..StatusNote::default() };
                Entry::new(0, now, EntryKind::Status, &note)
            }
        });
        let entries = entries.collect();
        // The name goes first, and both with one commit.
        let (app, note) = (self.app.clone(), self.noting());
        let noted = async { if is_new_name { app.store.write(note).await } else { Ok(()) } };
        let (noted, told) = join(noted, self.tell_all(entries)).await;
        noted.and(told)?;
        self.follow_questions().await
    }

    /// Adds an entry to the stream of the task.
    pub(super) async fn tell(&mut self, kind: EntryKind, data: &impl Serialize) -> Result<(), StoreError> {
        self.tell_all(vec![Entry::new(0, self.app.now(), kind, data)]).await
    }

    /// Adds entries, in order and together.
    async fn tell_all(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if self.over || entries.is_empty() {
            return Ok(());
        }
        self.told += entries.iter().map(|entry| entry.data.get().len()).sum::<usize>();
        if self.told > MOST_TOLD {
            let error = format!("the agent told more than {} MiB", MOST_TOLD >> 20);
            return Box::pin(self.fail(("agent_told_too_much", error))).await;
        }
        let (task, attempt, worker) = (self.task, Some(self.attempt), self.holder.clone());
        let append = AppendEntries { task, worker, instance: None, attempt, entries, first_seq: None, now: self.app.now() };
        if !matches!(self.app.store.write(append).await?, AppendOutcome::Taken { .. }) {
            self.give_up().await;
        }
        Ok(())
    }

    pub(super) async fn note_remote(&self) -> Result<(), StoreError> {
        self.app.store.write(self.noting()).await
    }

    fn noting(&self) -> NoteRemote {
        let (task, attempt, context, agent) = (self.task, self.attempt, self.context.clone(), self.agent.clone());
        NoteRemote { task, attempt, context, agent, remote: self.noted.clone() }
    }
}

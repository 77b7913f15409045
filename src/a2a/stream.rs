//! A task's stream as events. Each that ends what one entry tells carries the entry's place: whoever reconnects with it misses nothing.

use super::asked::Asked;
use super::error::Outcome;
use super::view::Want;
use crate::api::streams::{Step, follow_entries};
use crate::app::App;
use crate::domain::projection::{Projection, changed_files};
use crate::store::a2a::ToldTask;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, once, unfold};
use muster_protocol::a2a::{Metadata, StreamResponse};
use muster_protocol::ids::{InteractionId, TaskId};
use muster_protocol::stream::{EntryKind, FileChange, StreamEntry};
use std::collections::VecDeque;

/// Events with their places.
pub(crate) type Events = BoxStream<'static, (Option<u64>, StreamResponse)>;

/// From where, and how far, a task is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    /// After this entry.
    pub(super) after: u64,
    /// What was answered since.
    pub(super) answered: Option<InteractionId>,
    /// Whether only until the task waits for the client.
    pub(super) one_turn: bool,
}

impl Asked {
    /// The task as it was at a place, then what is told of it from there on, until it has ended.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn follow(&self, told: ToldTask, from: From, want: Want) -> Outcome<Events> {
        let From { after, answered, one_turn } = from;
        let mut projection = self.fold(&told, after).await?;
        if let Some(answered) = answered {
            projection.answered(&answered.to_string());
        }
        let later = self.app.store.later_messages(&[told.record.task.id]).await?;
        let mut task = self.view_with(&told, Want { artifacts: false, ..want }, &later).await?;
        let is_now = after == told.record.task.entries;
        if !is_now {
            task.status = projection.status.clone();
        }
        task.artifacts = Some(projection.artifacts.clone()).filter(|artifacts| !artifacts.is_empty());
        let is_over = is_now && one_turn && task.status.state.is_interrupted();
        let snapshot = once(std::future::ready((Some(after), StreamResponse::Task(task))));
        if is_over {
            return Ok(snapshot.boxed());
        }
        let id = told.record.task.id;
        let teller = Teller {
            app: self.app.clone(),
            task: id,
            steps: follow_entries(self.app.clone(), id, after).boxed(),
            projection,
            ready: VecDeque::new(),
            one_turn,
            over: false,
        };
        let events = unfold(teller, async |mut teller| {
            let event = teller.next().await?;
            Some((event, teller))
        });
        Ok(snapshot.chain(events).boxed())
    }
}

struct Teller {
    app: App,
    task: TaskId,
    steps: BoxStream<'static, Step>,
    projection: Projection,
    ready: VecDeque<(Option<u64>, StreamResponse)>,
    one_turn: bool,
    over: bool,
}

impl Teller {
    async fn next(&mut self) -> Option<(Option<u64>, StreamResponse)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            match self.steps.next().await? {
                Step::Entry(entry) => self.take(&entry).await,
                Step::Done(_) => self.end().await,
            }
        }
    }

    async fn take(&mut self, entry: &StreamEntry) {
        let before = self.projection.status.state;
        let mut events = VecDeque::from(self.projection.apply(entry));
        let state = self.projection.status.state;
        if state.is_terminal() {
            // What changed is known with the end, and told before it.
            for artifact in changed_files(&changes(&self.app, self.task).await).into_iter().rev() {
                events.push_front(self.projection.whole(artifact));
            }
        }
        let asks = state.is_interrupted() && (entry.kind == EntryKind::Interaction || !before.is_interrupted());
        let last = events.len();
        let places = (1..=last).map(|n| (n == last).then_some(entry.task_seq));
        self.ready.extend(places.zip(events));
        self.over = last > 0 && (state.is_terminal() || (self.one_turn && asks));
    }

    /// The task has ended, and no entry said so.
    async fn end(&mut self) {
        self.over = true;
        if let Ok(Some(told)) = self.app.store.told_task(self.task).await {
            self.projection.status.state = told.record.task.state.into();
            self.projection.status.timestamp = Some(told.status_at);
            self.ready.push_back((Some(told.record.task.entries), self.projection.status_event(Metadata::new())));
        }
    }
}

async fn changes(app: &App, task: TaskId) -> Vec<FileChange> {
    match app.store.task(task).await {
        Ok(record) => record.map(|record| record.task.changes).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(task.id = %task, %error, "a stream ends without the files that were changed");
            Vec::new()
        }
    }
}

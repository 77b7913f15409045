//! A task's stream as events. Each that ends what one entry tells carries the entry's place: whoever reconnects with it misses nothing.

use super::asked::Asked;
use super::error::Outcome;
use super::view::{Want, fold, view_at};
use crate::api::streams::{Step, follow_entries};
use crate::app::App;
use crate::domain::projection::{Projection, changed_files};
use crate::store::StoreError;
use crate::store::a2a::ToldTask;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, once, unfold};
use muster_protocol::a2a::{Metadata, StreamResponse};
use muster_protocol::ids::{InteractionId, TaskId};
use muster_protocol::stream::{EntryKind, StreamEntry};
use std::collections::VecDeque;

/// An event with its place, or what breaks the stream off.
pub(crate) type Told = Outcome<(Option<u64>, StreamResponse)>;
/// They end with the task, or with the first fault.
pub(crate) type Events = BoxStream<'static, Told>;

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
        let mut projection = fold(&self.app, &told, after).await?;
        if let Some(answered) = answered {
            projection.answered(&answered.to_string());
        }
        let task = view_at(&self.app, &told, after, &projection, want).await?;
        let is_over = after == told.record.task.entries && one_turn && task.status.state.is_interrupted();
        let snapshot = once(std::future::ready(Ok((Some(after), StreamResponse::Task(task)))));
        if is_over {
            return Ok(snapshot.boxed());
        }
        // Whoever follows it has what was made so far: only what is added is told, so that a follower costs no copy of it.
        projection.let_go();
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
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.over {
                return None;
            }
            let taken = match self.steps.next().await? {
                Step::Entry(entry) => self.take(&entry).await,
                Step::Done(_) => self.end().await,
                Step::Broken(error) => Err(error),
            };
            if let Err(error) = taken {
                self.over = true;
                return Some(Err(error.into()));
            }
        }
    }

    async fn take(&mut self, entry: &StreamEntry) -> Result<(), StoreError> {
        let before = self.projection.status.state;
        let events = tell(&self.app, self.task, &mut self.projection, entry).await?;
        let state = self.projection.status.state;
        let asks = state.is_interrupted() && (entry.kind == EntryKind::Interaction || !before.is_interrupted());
        self.over = !events.is_empty() && (state.is_terminal() || (self.one_turn && asks));
        self.ready.extend(events);
        Ok(())
    }

    /// The task has ended, and no entry said so.
    async fn end(&mut self) -> Result<(), StoreError> {
        self.over = true;
        if let Some(told) = self.app.store.told_task(self.task).await? {
            self.projection.status.state = told.record.task.state.into();
            self.projection.status.timestamp = Some(told.status_at);
            self.ready.push_back((Some(told.record.task.entries), self.projection.status_event(Metadata::new())));
        }
        Ok(())
    }
}

/// What is told of an entry: only the last event of it has its place.
///
/// # Errors
/// Of the store. Then nothing is told of the entry, and it is to be told again from the place before it.
pub(super) async fn tell(
    app: &App,
    task: TaskId,
    projection: &mut Projection,
    entry: &StreamEntry,
) -> Result<Vec<(Option<u64>, StreamResponse)>, StoreError> {
    let mut events = projection.apply(entry);
    if projection.status.state.is_terminal() {
        // What changed is known with the end, and told before it.
        let record = app.store.task(task).await?;
        let changed = record.map(|record| changed_files(&record.task.changes)).unwrap_or_default();
        events.splice(0..0, changed.into_iter().map(|artifact| projection.whole(artifact)));
    }
    let last = events.len();
    let places = (1..=last).map(|n| (n == last).then_some(entry.task_seq));
    Ok(places.zip(events).collect())
}

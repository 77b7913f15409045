//! What sends to webhooks: it knows the open ones, hears which of their tasks changed, and lets them take turns. What it knows is read again from the
//! store after a start.

use super::post::Poster;
use super::queue::{MOST_AT_ONCE, Queue, Ticket};
use super::turn::{End, Kept, origin, take};
use crate::a2a::error::A2aError;
use crate::app::App;
use crate::domain::webhook::LONGEST_PAUSE;
use crate::events::Changes;
use crate::lifecycle::panic_message;
use crate::store::StoreError;
use crate::store::webhooks::{OpenWebhook, WebhookKey};
use futures_util::FutureExt as _;
use muster_protocol::ids::TaskId;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How many webhooks are read in one go.
const CHUNK: u32 = 500;
/// How long it waits where the store, or it itself, fails.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the requests under way may take when the server stops.
const LAST: Duration = Duration::from_secs(3);
/// Of how many webhooks it is kept how far they were followed; for the others that is read again.
const MOST_KEPT: usize = 1_000;

/// A webhook's task and id.
type Name = (TaskId, String);

/// Sends to webhooks until the server stops.
pub(crate) async fn deliver(app: App) {
    let poster = Arc::new(Poster::new(app.life.clone(), app.config.a2a.webhooks_to_private));
    loop {
        // Whatever ends the driver, its turns end with it.
        let cut = CancellationToken::new();
        let _cut_at_end = cut.clone().drop_guard();
        match AssertUnwindSafe(Driver::new(&app, &poster, cut).run()).catch_unwind().await {
            Ok(()) => return,
            Err(panic) => tracing::error!("sending to webhooks panicked; it begins again: {}", panic_message(panic.as_ref())),
        }
        tokio::select! {
            () = app.life.stopping() => return,
            () = sleep(AGAIN) => {}
        }
    }
}

struct Driver<'a> {
    app: &'a App,
    poster: &'a Arc<Poster>,
    /// Ends the turns under way.
    cut: CancellationToken,
    /// Turns are tasks of their own: each holds a connection to the database now and then, and must give it back whatever the driver waits for.
    turns: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    under_way: usize,
    hooks: BTreeMap<Name, Hook>,
    queue: Queue<Name>,
    /// When those that wait are to be looked at.
    due: BTreeSet<(Duration, Name)>,
    /// When all are to be read again.
    read_at: Option<Duration>,
    kept: usize,
}

struct Hook {
    revision: String,
    receiver: Arc<str>,
    phase: Phase,
    /// While it takes its turn: there is more, or it is another one now.
    again: bool,
    /// While it takes its turn: it was deleted.
    gone: bool,
    kept: Option<Kept>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is nothing to tell.
    Idle,
    /// It waits for its turn.
    Queued,
    /// It takes its turn.
    Running,
    /// It is looked at then.
    Waiting(Duration),
}

/// A turn that was taken.
struct Done {
    ticket: Ticket,
    key: WebhookKey,
    /// Nothing if it panicked.
    end: Option<Result<End, A2aError>>,
}

impl<'a> Driver<'a> {
    fn new(app: &'a App, poster: &'a Arc<Poster>, cut: CancellationToken) -> Self {
        let (turns, done) = mpsc::channel(MOST_AT_ONCE);
        let (hooks, queue, due, read_at) = (BTreeMap::new(), Queue::default(), BTreeSet::new(), Some(Duration::ZERO));
        Self { app, poster, cut, turns, done, under_way: 0, hooks, queue, due, read_at, kept: 0 }
    }

    async fn run(mut self) {
        loop {
            while let Some((ticket, name)) = self.queue.next() {
                self.turn(ticket, &name);
            }
            let next = self.due.first().map(|(at, _)| *at).into_iter().chain(self.read_at).min();
            let pause = next.map(|at| at.saturating_sub(self.app.clock.uptime()));
            tokio::select! {
                () = self.app.life.stopping() => break,
                changes = self.app.store.hub().watched().changes() => self.hear(changes).await,
                Some(done) = self.done.recv() => self.settle(done),
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => self.look_at_due().await,
            }
        }
        // What is under way may arrive, and is noted then.
        let last = async {
            while self.under_way > 0 && self.done.recv().await.is_some() {
                self.under_way -= 1;
            }
        };
        let _ = timeout(LAST, last).await;
    }

    async fn hear(&mut self, changes: Changes) {
        if changes.missed {
            self.read_at = Some(Duration::ZERO);
        }
        for task in changes.webhooks {
            if let Err(error) = self.read(task).await {
                self.read_later(&error);
            }
        }
        for task in changes.tasks {
            for name in self.names_of(task) {
                self.tell(&name);
            }
        }
    }

    fn read_later(&mut self, error: &StoreError) {
        tracing::warn!(%error, "webhooks cannot be read; it is tried again");
        self.read_at = Some(self.app.clock.uptime() + AGAIN);
    }

    async fn look_at_due(&mut self) {
        let now = self.app.clock.uptime();
        if self.read_at.is_some_and(|at| at <= now) {
            self.read_at = None;
            if let Err(error) = self.read_all().await {
                self.read_later(&error);
            }
        }
        while let Some((at, name)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, name));
                return;
            }
            let is_due = |hook: &&mut Hook| matches!(hook.phase, Phase::Waiting(until) if until <= now);
            if let Some(hook) = self.hooks.get_mut(&name).filter(is_due) {
                hook.phase = Phase::Queued;
                self.queue.push(&hook.receiver, name);
            }
        }
    }

    /// Reads all open webhooks, twice: the second time sees what was told of a task between the first one and the watch on it. Those that are not
    /// there any more are found when it is their turn.
    async fn read_all(&mut self) -> Result<(), StoreError> {
        self.read_open().await?;
        self.read_open().await
    }

    async fn read_open(&mut self) -> Result<(), StoreError> {
        let mut after: Option<WebhookKey> = None;
        loop {
            let open = self.app.store.open_webhooks(after.as_ref(), CHUNK).await?;
            after = open.last().map(|last| last.key.clone());
            let is_all = open.len() < CHUNK as usize;
            for webhook in open {
                self.add(webhook);
            }
            if is_all {
                return Ok(());
            }
        }
    }

    /// Reads the open webhooks of a task.
    async fn read(&mut self, task: TaskId) -> Result<(), StoreError> {
        let open = self.app.store.open_webhooks_of(task).await?;
        let gone: Vec<_> = self.names_of(task).into_iter().filter(|name| open.iter().all(|other| other.key.id != name.1)).collect();
        for webhook in open {
            self.add(webhook);
        }
        for name in &gone {
            self.remove(name);
        }
        Ok(())
    }

    fn names_of(&self, task: TaskId) -> Vec<Name> {
        let of_task = self.hooks.range((task, String::new())..).take_while(|((other, _), _)| *other == task);
        of_task.map(|(name, _)| name.clone()).collect()
    }

    /// Takes in a webhook that is new, or has become another one.
    fn add(&mut self, webhook: OpenWebhook) {
        let OpenWebhook { key: WebhookKey { task, id, revision }, url, not_before, has_news } = webhook;
        self.app.store.hub().watched().watch(task);
        let name = (task, id);
        let receiver: Arc<str> = origin(&url).into();
        match self.hooks.get_mut(&name) {
            Some(hook) if hook.revision == revision => {
                if has_news {
                    self.tell(&name);
                }
                return;
            }
            Some(hook) if hook.phase == Phase::Running => {
                (hook.revision, hook.receiver, hook.again, hook.gone) = (revision, receiver, true, false);
                return;
            }
            _ => self.remove(&name),
        }
        self.app.store.hub().watched().watch(task);
        // The wall clock may have jumped meanwhile; no pause is longer than that.
        let pause = not_before.map(|at| Duration::from_millis(at.since(self.app.now())).min(LONGEST_PAUSE)).unwrap_or_default();
        let phase = if has_news && pause.is_zero() {
            self.queue.push(&receiver, name.clone());
            Phase::Queued
        } else if has_news {
            let until = self.app.clock.uptime() + pause;
            self.due.insert((until, name.clone()));
            Phase::Waiting(until)
        } else {
            Phase::Idle
        };
        self.hooks.insert(name, Hook { revision, receiver, phase, again: false, gone: false, kept: None });
    }

    fn remove(&mut self, name: &Name) {
        if let Some(hook) = self.hooks.get_mut(name).filter(|hook| hook.phase == Phase::Running) {
            hook.gone = true;
            return;
        }
        if let Some(hook) = self.hooks.remove(name) {
            self.kept -= usize::from(hook.kept.is_some());
            if let Phase::Waiting(until) = hook.phase {
                self.due.remove(&(until, name.clone()));
            }
        }
        if self.names_of(name.0).is_empty() {
            self.app.store.hub().watched().forget(name.0);
        }
    }

    /// There may be something to tell.
    fn tell(&mut self, name: &Name) {
        let Some(hook) = self.hooks.get_mut(name) else { return };
        match hook.phase {
            Phase::Idle => {
                hook.phase = Phase::Queued;
                self.queue.push(&hook.receiver, name.clone());
            }
            Phase::Running => hook.again = true,
            Phase::Queued | Phase::Waiting(_) => {}
        }
    }

    /// Begins a webhook's turn, unless it was removed while it waited.
    fn turn(&mut self, ticket: Ticket, name: &Name) {
        let hook = self.hooks.get_mut(name).filter(|hook| hook.phase == Phase::Queued && ticket.is_for(&hook.receiver));
        let Some(hook) = hook else {
            return self.queue.done(&ticket, None);
        };
        (hook.phase, hook.again) = (Phase::Running, false);
        let key = WebhookKey { task: name.0, id: name.1.clone(), revision: hook.revision.clone() };
        let kept = hook.kept.take();
        self.kept -= usize::from(kept.is_some());
        self.under_way += 1;
        let (app, poster, cut, turns) = (self.app.clone(), Arc::clone(self.poster), self.cut.clone(), self.turns.clone());
        let turn = async move {
            let turn = AssertUnwindSafe(take(&app, &poster, &key, kept)).catch_unwind();
            let Some(end) = cut.run_until_cancelled(turn).await else { return };
            let end =
                end.map_err(|panic| tracing::error!(task.id = %key.task, "a webhook's turn panicked: {}", panic_message(panic.as_ref())));
            // The driver is gone where nobody takes it.
            let _ = turns.send(Done { ticket, key, end: end.ok() }).await;
        };
        self.app.life.spawn_isolated("a webhook's turn", turn);
    }

    fn settle(&mut self, done: Done) {
        self.under_way -= 1;
        let Done { ticket, key, end } = done;
        let failed = match &end {
            Some(Ok(End::Failed(_))) => Some(true),
            Some(Ok(End::Idle(_) | End::More(..))) => Some(false),
            _ => None,
        };
        self.queue.done(&ticket, failed);
        let name = (key.task, key.id);
        let Some(hook) = self.hooks.get_mut(&name) else { return };
        hook.phase = Phase::Idle;
        if hook.gone {
            return self.remove(&name);
        }
        if hook.revision != key.revision {
            return self.tell(&name);
        }
        let (kept, pause) = match end {
            Some(Ok(End::Over | End::Gone)) => return self.remove(&name),
            Some(Ok(End::Idle(kept))) => (Some(kept), hook.again.then_some(Duration::ZERO)),
            Some(Ok(End::More(kept, pause))) => (Some(kept), Some(pause)),
            Some(Ok(End::Failed(pause))) => (None, Some(pause)),
            Some(Err(error)) => {
                tracing::warn!(task.id = %name.0, webhook = name.1, error = error.message, "what a webhook is to be told cannot be read or noted");
                (None, Some(AGAIN))
            }
            None => (None, Some(LONGEST_PAUSE)),
        };
        if self.kept < MOST_KEPT && kept.is_some() {
            hook.kept = kept;
            self.kept += 1;
        }
        match pause {
            Some(Duration::ZERO) => self.tell(&name),
            Some(pause) => {
                let until = self.app.clock.uptime() + pause;
                hook.phase = Phase::Waiting(until);
                self.due.insert((until, name));
            }
            None => {}
        }
    }
}

//! A webhook's turn: what its task's stream holds after the place that was told last, sent event by event.
//!
//! A webhook of 1.0 gets what a subscriber would: the task, then events; pieces of text that wait together are one. A webhook of 0.3 gets the
//! whole task each time its state changes. The place moves on after each event that was taken, so what was not is sent again.

use super::super::error::{A2aError, Outcome};
use super::super::stream::tell;
use super::super::version::Version;
use super::super::view::{Want, fold, view, view_at};
use super::post::{Failure, Notice, Poster};
use crate::app::App;
use crate::domain::projection::{Projection, joined};
use crate::store::StoreError;
use crate::store::a2a::ToldTask;
use crate::store::webhooks::{NoteWebhook, Webhook, WebhookEnd, WebhookKey};
use crate::telemetry::metric;
use muster_protocol::a2a::{Metadata, State, StreamResponse, TaskStatus, v03};
use muster_protocol::stream::StreamEntry;
use muster_protocol::time::Timestamp;
use serde_json::json;
use std::time::Duration;
use url::Url;

/// How many entries are told in one turn.
const CHUNK: u32 = 256;
/// How long entries are collected before the next are told.
const COLLECTED: Duration = Duration::from_millis(500);
const ALL: Want = Want { history: None, artifacts: true };

/// How far a webhook was followed.
pub(super) struct Kept {
    projection: Projection,
    at: u64,
}

/// How a turn ended.
pub(super) enum End {
    /// Nothing more is to be told now.
    Idle(Kept),
    /// There is more, at once or after a pause.
    More(Kept, Duration),
    /// It was in vain; the next try is after a pause.
    Failed(Duration),
    /// Nothing is ever to be told again: all was, or it was given up.
    Over,
    /// It is another one now, or gone.
    Gone,
}

/// A turn under way.
struct Turn<'a> {
    app: &'a App,
    poster: &'a Poster,
    webhook: Webhook,
    told: ToldTask,
    /// The place of what is being sent.
    sending: Option<u64>,
}

/// Why a turn ends early.
enum Stop {
    Failed(Failure),
    Gone,
    Broken(A2aError),
}

impl From<A2aError> for Stop {
    fn from(error: A2aError) -> Self {
        Self::Broken(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Broken(error.into())
    }
}

/// Tells a webhook what there is to tell.
///
/// # Errors
/// Of the store.
pub(super) async fn take(app: &App, poster: &Poster, key: &WebhookKey, kept: Option<Kept>) -> Outcome<End> {
    let Some(webhook) = app.store.open_webhook(key).await? else { return Ok(End::Gone) };
    let Some(told) = app.store.told_task(key.task).await? else { return Ok(End::Gone) };
    let mut turn = Turn { app, poster, webhook, told, sending: None };
    match turn.run(kept).await {
        Ok(end) => Ok(end),
        Err(Stop::Failed(failure)) => turn.fail(&failure).await,
        Err(Stop::Gone) => Ok(End::Gone),
        Err(Stop::Broken(error)) => Err(error),
    }
}

impl Turn<'_> {
    async fn run(&mut self, kept: Option<Kept>) -> Result<End, Stop> {
        let (task, is_old) = (self.webhook.key.task, self.webhook.version == Version::V03.as_str());
        let Kept { mut projection, mut at } = match (self.webhook.told, kept) {
            (Some(told), None) => Kept { projection: fold(self.app, &self.told, told).await?, at: told },
            (Some(_), Some(kept)) => kept,
            (None, _) => self.begin().await?,
        };
        projection.let_go();
        let entries = self.app.store.entries(task, at, CHUNK).await?;
        at = entries.last().map_or(at, |last| last.task_seq);
        if is_old {
            for entry in &entries {
                self.tell_old(&mut projection, entry).await?;
            }
        } else {
            let mut events = Vec::new();
            for entry in &entries {
                events.extend(tell(self.app, task, &mut projection, entry).await?);
            }
            for (place, event) in joined(events, self.webhook.tried) {
                self.send(place, &event).await?;
            }
        }
        projection.let_go();
        let is_all = entries.len() < CHUNK as usize;
        if is_all && self.told.record.task.state.is_terminal() {
            // It has ended, and what was read after that is all there will ever be.
            if !projection.status.state.is_terminal() {
                self.tell_end(&mut projection).await?;
            }
            self.note(Some(at), Some(WebhookEnd::Told)).await?;
            return Ok(End::Over);
        }
        let kept = Kept { projection, at };
        Ok(match (is_all, entries.is_empty()) {
            (false, _) => End::More(kept, Duration::ZERO),
            (true, false) => End::More(kept, COLLECTED),
            (true, true) => End::Idle(kept),
        })
    }

    /// The task as it was when the webhook was set.
    async fn begin(&mut self) -> Result<Kept, Stop> {
        let at = self.webhook.begins_at;
        let projection = fold(self.app, &self.told, at).await?;
        let task = view_at(self.app, &self.told, at, &projection, ALL).await?;
        self.send(Some(at), &StreamResponse::Task(task)).await?;
        Ok(Kept { projection, at })
    }

    /// To a webhook of 0.3 an entry tells of another state, or of another question.
    async fn tell_old(&mut self, projection: &mut Projection, entry: &StreamEntry) -> Result<(), Stop> {
        let before = standing(&projection.status);
        projection.apply(entry);
        if standing(&projection.status) == before {
            return Ok(());
        }
        let at = entry.task_seq;
        if at > self.told.record.task.entries {
            self.reread().await?;
        }
        let task = if at == self.told.record.task.entries {
            view(self.app, &self.told, ALL).await?
        } else {
            let then = fold(self.app, &self.told, at).await?;
            view_at(self.app, &self.told, at, &then, ALL).await?
        };
        self.send(Some(at), &StreamResponse::Task(task)).await
    }

    /// No entry said that the task has ended.
    async fn tell_end(&mut self, projection: &mut Projection) -> Result<(), Stop> {
        let event = if self.webhook.version == Version::V03.as_str() {
            StreamResponse::Task(view(self.app, &self.told, ALL).await?)
        } else {
            projection.status.state = self.told.record.task.state.into();
            projection.status.timestamp = Some(self.told.status_at);
            projection.status_event(Metadata::new())
        };
        self.send(None, &event).await
    }

    async fn reread(&mut self) -> Result<(), Stop> {
        self.told = self.app.store.told_task(self.webhook.key.task).await?.ok_or(Stop::Gone)?;
        Ok(())
    }

    /// Sends an event; with a place, that was told then.
    async fn send(&mut self, place: Option<u64>, event: &StreamResponse) -> Result<(), Stop> {
        let body = match event {
            StreamResponse::Task(task) if self.webhook.version == Version::V03.as_str() => json!(v03::Task::from(task.clone())),
            event => json!(event),
        };
        self.sending = place;
        let notice = Notice { to: &self.webhook.config, version: &self.webhook.version, place, body: body.to_string() };
        let sent = self.poster.post(notice, self.app.now()).await;
        let outcome = if sent.is_ok() { "taken" } else { "failed" };
        metrics::counter!(metric::WEBHOOK_REQUESTS, "outcome" => outcome).increment(1);
        sent.map_err(Stop::Failed)?;
        (self.webhook.failures, self.webhook.tried) = (0, None);
        if place.is_some() {
            self.note(place, None).await?;
        }
        Ok(())
    }

    async fn note(&mut self, told: Option<u64>, end: Option<WebhookEnd>) -> Result<(), Stop> {
        self.webhook.told = told;
        let (key, now) = (self.webhook.key.clone(), self.app.now());
        let is_there = self.app.store.write(NoteWebhook { key, told, tried: None, failures: 0, not_before: None, end, now }).await?;
        if is_there { Ok(()) } else { Err(Stop::Gone) }
    }

    /// Waits for the next try, or gives up and says so.
    async fn fail(&mut self, failure: &Failure) -> Outcome<End> {
        let (key, now) = (self.webhook.key.clone(), self.app.now());
        let failures = self.webhook.failures.saturating_add(1);
        let random = self.app.ids.secret().map_or(0, |[a, b, ..]| u64::from(u16::from_le_bytes([a, b])));
        let pause = failure.what.pause(failures, failure.asked, random);
        let (task, origin, problem) = (key.task, origin(&self.webhook.config.url), failure.problem.clone());
        let end = if let Some(pause) = pause {
            tracing::info!(task.id = %task, webhook = key.id, origin, failures, ?pause, "a webhook was not told: {problem}; it is tried again");
            None
        } else {
            tracing::warn!(task.id = %task, webhook = key.id, origin, failures, "a webhook is given up: {problem}");
            Some(WebhookEnd::GivenUp { origin, problem })
        };
        let not_before = pause.map(|pause| Timestamp(now.0.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))));
        let (told, tried) = (self.webhook.told, self.sending.or(self.webhook.tried));
        let note = NoteWebhook { key, told, tried, failures, not_before, end, now };
        let is_there = self.app.store.write(note).await?;
        Ok(match pause {
            _ if !is_there => End::Gone,
            Some(pause) => End::Failed(pause),
            None => End::Over,
        })
    }
}

/// What makes a task worth telling of in 0.3: its state, and what it asks.
fn standing(status: &TaskStatus) -> (State, Option<String>) {
    let asks = status.message.as_ref().filter(|_| status.state.is_interrupted());
    (status.state, asks.map(|message| message.message_id.clone()))
}

/// Scheme, host and port: the rest of an address may hold secrets.
pub(super) fn origin(url: &str) -> String {
    Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

//! Working on a coordination: its parts are begun and followed, and told when they have ended, or are not waited for any longer.

use super::piece::Piece;
use crate::agents::{HOPS_KEY, Message, PartOf, hops_of};
use crate::app::App;
use crate::auth::{LOCAL, Principal};
use crate::domain::coordination::{Outcome, PartState, data, end_state, ended, given, report, summary};
use crate::domain::plan::Plan;
use crate::error::ApiError;
use crate::events::Signal;
use crate::store::coordinations::PLAN_KEY;
use crate::store::own::{Step, TellOwn};
use crate::store::tx::NewEvent;
use futures_util::future::{join_all, select_all};
use muster_protocol::a2a::{Artifact, Part as Piecemeal};
use muster_protocol::event::kind;
use muster_protocol::ids::TaskId;
use muster_protocol::stream::Made;
use muster_protocol::task::{Task, TaskState};
use muster_protocol::time::Timestamp;
use muster_protocol::token::Scope;
use serde_json::json;
use std::time::Duration;

/// In the metadata of a part's task: its place in the plan.
const PART_KEY: &str = "part";
/// How long it is waited at most before the time is looked at: the wall clock may jump.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A coordination under way.
struct Work {
    app: App,
    /// Whose it is: the parts are theirs too.
    who: Principal,
    task: Task,
    plan: Plan,
    pieces: Vec<Piece>,
    signal: Signal,
    /// Whether the coordination's own task may have changed.
    is_unread: bool,
    /// Since when it is to be canceled.
    canceled_at: Option<Timestamp>,
    /// What is to be told.
    steps: Vec<Step>,
    looks: u32,
}

/// Works on a coordination until it has ended, or the server stops.
///
/// # Errors
/// Of the store; it is taken up again then.
pub(super) async fn work(app: &App, task: Task, is_new: bool) -> Result<(), ApiError> {
    let plan = task.metadata.get(PLAN_KEY).cloned().unwrap_or_default();
    let plan: Plan = match serde_json::from_value(plan) {
        Ok(plan) => plan,
        Err(error) => return give_up(app, &task, &error.to_string()).await,
    };
    let who = if task.owner.as_str() == LOCAL { Principal::local() } else { owner(&task) };
    let (pieces, signal) = (plan.parts.iter().map(|_| Piece::default()).collect(), app.store.hub().task(task.id));
    let (canceled_at, steps) = (None, Vec::new());
    let mut work = Work { app: app.clone(), who, task, plan, pieces, signal, is_unread: !is_new, canceled_at, steps, looks: 0 };
    if !is_new {
        work.find_begun().await?;
    }
    work.follow().await
}

/// What is kept of its caller says whose the parts are, and no more.
fn owner(task: &Task) -> Principal {
    Principal { id: task.owner.clone(), scope: Scope::Agent, worker_id: None, peer: None, token_id: None }
}

async fn give_up(app: &App, task: &Task, why: &str) -> Result<(), ApiError> {
    let said = Some(format!("its plan cannot be read: {why}"));
    let steps = vec![Step::State { state: TaskState::Failed, said }];
    app.store.write(TellOwn { task: task.id, from: None, messages: Vec::new(), steps, now: app.now() }).await?;
    Ok(())
}

impl Work {
    /// Finds the parts that were begun before.
    async fn find_begun(&mut self) -> Result<(), ApiError> {
        for record in self.app.store.children(self.task.id).await? {
            let place = record.task.metadata.get(PART_KEY).and_then(serde_json::Value::as_u64).and_then(|n| usize::try_from(n).ok());
            let piece = place.and_then(|place| self.pieces.get_mut(place));
            // What repeats a part is not the part.
            if let Some(piece) = piece.filter(|piece| piece.task.is_none() && record.task.retry_of.is_none()) {
                piece.begun(&self.app, &record.task).await?;
            }
        }
        let begun = self.pieces.iter().filter(|piece| piece.task.is_some()).count();
        self.say(format!("goes on: {begun} of {} parts were begun before", self.pieces.len()));
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), ApiError> {
        loop {
            if self.is_over().await? {
                return Ok(());
            }
            self.begin_parts().await?;
            self.look().await?;
            self.give_up_late().await?;
            self.say_ends();
            if self.pieces.iter().all(|piece| !piece.is_open()) {
                if self.end().await? {
                    return Ok(());
                }
                continue;
            }
            self.tell().await?;
            let left = self.time_left();
            tokio::select! {
                () = self.app.life.stopping() => return Ok(()),
                () = changed((&mut self.signal, &mut self.is_unread), &mut self.pieces) => {}
                () = tokio::time::sleep(left) => {}
            }
            // One that says much is looked at more seldom.
            self.looks += 1;
            tokio::time::sleep(Duration::from_millis((self.looks / 8).min(100).into())).await;
        }
    }

    /// Heeds what happened to the coordination itself: whether it has ended, or is to be canceled.
    async fn is_over(&mut self) -> Result<bool, ApiError> {
        if !self.is_unread && !self.signal.has_changed().unwrap_or(false) {
            return Ok(false);
        }
        self.signal.mark_unchanged();
        self.is_unread = false;
        let Some(record) = self.app.store.task(self.task.id).await? else { return Ok(true) };
        if record.task.state.is_terminal() {
            return Ok(true);
        }
        self.canceled_at = record.cancel_asked_at;
        if self.canceled_at.is_some() {
            for place in 0..self.pieces.len() {
                self.cancel(place).await?;
            }
        }
        Ok(false)
    }

    /// Gives out the parts that nobody has yet, side by side.
    async fn begin_parts(&mut self) -> Result<(), ApiError> {
        let is_unbegun = |piece: &Piece| piece.task.is_none() && piece.is_open();
        if self.canceled_at.is_some() || self.app.now() >= self.plan.deadline || !self.pieces.iter().any(is_unbegun) {
            return Ok(());
        }
        let places: Vec<_> = (0..self.pieces.len()).filter(|place| is_unbegun(&self.pieces[*place])).collect();
        let begun = join_all(places.iter().map(|place| self.app.begin_message(&self.who, self.message(*place)))).await;
        let mut interrupted = None;
        for (place, begun) in places.into_iter().zip(begun) {
            match begun {
                Ok(begun) => {
                    self.say(given(&self.plan.parts[place], begun.task.id));
                    self.pieces[place].begun(&self.app, &begun.task).await?;
                }
                Err(error @ (ApiError::Overloaded { .. } | ApiError::StorageUnavailable(_) | ApiError::Internal(_))) => {
                    interrupted = Some(error);
                }
                Err(error) => self.pieces[place].gives(PartState::Failed, self.app.now(), format!("it could not be begun: {error}")),
            }
        }
        interrupted.map_or(Ok(()), Err)
    }

    /// A part as a message to its agent.
    fn message(&self, place: usize) -> Message {
        let Plan { data, model, mode, .. } = &self.plan;
        let part = &self.plan.parts[place];
        Message {
            id: format!("{}-{place}", self.task.id),
            text: self.plan.prompt(part),
            data: data.clone(),
            agent: Some(part.agent.clone()),
            model: model.clone(),
            mode: mode.clone(),
            metadata: serde_json::Map::from_iter([
                (PART_KEY.to_owned(), json!(place)),
                (HOPS_KEY.to_owned(), json!(hops_of(&self.task.metadata))),
            ]),
            part_of: Some(PartOf { coordination: self.task.id, place }),
            ..Message::default()
        }
    }

    async fn look(&mut self) -> Result<(), ApiError> {
        for place in 0..self.pieces.len() {
            let before = self.pieces[place].state;
            if !self.pieces[place].look(&self.app).await? {
                continue;
            }
            let state = self.pieces[place].state;
            if matches!(state, Some(TaskState::InputRequired | TaskState::AuthRequired)) && state != before {
                let agent = &self.plan.parts[place].agent;
                self.say(format!("{agent} asks something; answer its task {}", task_of(&self.pieces[place])));
            }
        }
        Ok(())
    }

    /// Parts that are waited for no longer: because of the deadline, or because their machine was lost too long ago.
    async fn give_up_late(&mut self) -> Result<(), ApiError> {
        let now = self.app.now();
        let patience = ms(self.app.config.coordination.patience);
        // Who is to stop has two leases for it: then its machine is lost, and counts as stopped.
        let stopped_by = self.canceled_at.map(|at| at.0.saturating_add(2 * ms(self.app.config.leases.lease)));
        for place in 0..self.pieces.len() {
            let piece = &self.pieces[place];
            if !piece.is_open() {
                continue;
            }
            let lost_ms = piece.lost_since.map(|since| now.0.saturating_sub(since.0));
            let why = match (stopped_by, lost_ms) {
                (Some(at), _) if now.0 >= at => "when it was to stop, and did not say that it has".to_owned(),
                (None, Some(lost_ms)) if lost_ms >= patience => {
                    format!("when that was lost, {} s ago; it is canceled", lost_ms / 1_000)
                }
                (None, _) if now >= self.plan.deadline => "at the deadline; it is canceled".to_owned(),
                _ => continue,
            };
            self.cancel(place).await?;
            let piece = &mut self.pieces[place];
            if piece.is_open() {
                piece.is_unconfirmed = true;
                piece.is_missing(&self.app, &why).await?;
            }
        }
        Ok(())
    }

    /// Asks the task of a part to stop, once. One that has ended before counts as it ended.
    async fn cancel(&mut self, place: usize) -> Result<(), ApiError> {
        let piece = &mut self.pieces[place];
        if !piece.is_open() || piece.cancel_sent {
            return Ok(());
        }
        match piece.task {
            None if self.canceled_at.is_some() => piece.gives(PartState::Canceled, self.app.now(), "it was not begun".to_owned()),
            None => return Ok(()),
            Some(task) => match self.app.cancel(&self.who, task).await {
                Ok(_) => {}
                Err(ApiError::Conflict { .. } | ApiError::NotFound { .. }) => piece.read_again(),
                Err(error) => return Err(error),
            },
        }
        piece.cancel_sent = true;
        piece.look(&self.app).await?;
        Ok(())
    }

    fn time_left(&self) -> Duration {
        let now = self.app.now();
        let patience = ms(self.app.config.coordination.patience);
        let lost = self.pieces.iter().filter(|piece| piece.is_open()).filter_map(|piece| piece.lost_since);
        let next = lost.map(|since| since.0.saturating_add(patience)).chain([self.plan.deadline.0]).min().unwrap_or(now.0);
        let left = Duration::from_millis(Timestamp(next).since(now));
        if self.canceled_at.is_some() { LONGEST_WAIT } else { left.clamp(Duration::from_millis(10), LONGEST_WAIT) }
    }

    fn say(&mut self, said: String) {
        self.steps.push(Step::State { state: TaskState::Working, said: Some(said) });
    }

    /// Says of each part that has ended that it has, once.
    fn say_ends(&mut self) {
        for (part, piece) in self.plan.parts.iter().zip(&mut self.pieces) {
            if let Some(outcome) = piece.outcome.as_ref().filter(|_| !piece.is_end_said) {
                piece.is_end_said = true;
                self.steps.push(Step::State { state: TaskState::Working, said: Some(ended(part, outcome)) });
            }
        }
    }

    /// Tells what happened since it was told last.
    async fn tell(&mut self) -> Result<bool, ApiError> {
        if self.steps.is_empty() {
            return Ok(true);
        }
        let steps = std::mem::take(&mut self.steps);
        let tell =
            TellOwn { task: self.task.id, from: Some(TaskState::Working), messages: Vec::new(), steps: steps.clone(), now: self.app.now() };
        let is_told = self.app.store.write(tell).await?;
        if !is_told {
            // It was canceled, or it has ended.
            (self.steps, self.is_unread) = (steps, true);
        }
        Ok(is_told)
    }

    /// Ends it with its answer; false if it was canceled meanwhile.
    async fn end(&mut self) -> Result<bool, ApiError> {
        let now = self.app.now();
        let took_ms = now.since(self.task.created_at);
        let outcomes: Vec<Outcome> = self.pieces.iter().filter_map(|piece| piece.outcome.clone()).collect();
        let state = if self.canceled_at.is_some() { TaskState::Canceled } else { end_state(&outcomes) };
        let text = report(&self.plan, &outcomes, took_ms);
        let before = self.steps.len();
        if state == TaskState::Completed {
            self.steps.push(made("answer", Piecemeal::text(text.clone())));
        }
        self.steps.push(made("coordination", Piecemeal::data(data(self.task.id, &self.plan, &outcomes, took_ms))));
        let told = json!({
            "title": self.task.title, "agent": self.task.target.agent, "state": state.as_str(), "duration_ms": took_ms,
            "parts": summary(&self.plan, &outcomes),
        });
        let subject = format!("tasks/{}", self.task.id);
        self.steps.push(Step::Event(NewEvent { kind: kind::COORDINATION_COMPLETE, subject, at: now, data: told }));
        let confirmed = !self.pieces.iter().any(|piece| piece.is_unconfirmed);
        self.steps.push(match state {
            TaskState::Canceled => Step::Canceled { confirmed, said: format!("canceled: {text}") },
            state => Step::State { state, said: Some(text) },
        });
        let is_ended = self.tell().await?;
        self.steps.truncate(before);
        Ok(is_ended)
    }
}

/// Waits until something happens to the coordination or to a part of it, and notes to which. A signal that was waited for counts as heard.
async fn changed(of_all: (&mut Signal, &mut bool), pieces: &mut [Piece]) {
    let of_parts = pieces.iter_mut().filter(|piece| piece.is_open()).filter_map(Piece::listen);
    let heard = of_parts.chain([of_all]).map(|(signal, is_unread)| {
        Box::pin(async move {
            *is_unread |= signal.changed().await.is_ok();
        })
    });
    select_all(heard).await;
}

fn made(id: &str, part: Piecemeal) -> Step {
    let artifact = Artifact { artifact_id: id.to_owned(), parts: vec![part], ..Artifact::default() };
    Step::Made(Made { artifact, append: false, last: true })
}

fn task_of(piece: &Piece) -> String {
    piece.task.as_ref().map(TaskId::to_string).unwrap_or_default()
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

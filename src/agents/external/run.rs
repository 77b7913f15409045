//! Which tasks are relayed now: those of each agent up to a bound, and after a start those that were relayed before it.

use super::relay::relay;
use crate::app::App;
use crate::domain::lease::Phase;
use crate::store::StoreError;
use crate::store::external::{agent_of, holder_of};
use crate::store::relays::TakeRelays;
use crate::store::tasks::TaskRecord;
use crate::sync::lock;
use muster_protocol::ids::{TaskId, WorkerId};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many tasks of one agent are relayed side by side, and of all agents.
const MOST_OF_ONE: usize = 32;
const MOST: usize = 512;

/// The attempts that are relayed by this process, and to whom.
#[derive(Debug)]
pub struct Relays {
    now: Mutex<HashMap<(TaskId, u64), WorkerId>>,
    /// Whether an agent may hold a task that nobody relays: after a start, and whenever a relay has ended or was not begun.
    behind: AtomicBool,
}

impl Default for Relays {
    fn default() -> Self {
        Self { now: Mutex::default(), behind: AtomicBool::new(true) }
    }
}

impl Relays {
    /// How many more may be relayed to an agent.
    fn room(&self, holder: &WorkerId) -> usize {
        let relays = lock(&self.now);
        let own = relays.values().filter(|to| *to == holder).count();
        MOST_OF_ONE.saturating_sub(own).min(MOST.saturating_sub(relays.len()))
    }

    /// Enters an attempt; false if it is there.
    fn enter(&self, attempt: (TaskId, u64), holder: &WorkerId) -> bool {
        lock(&self.now).insert(attempt, holder.clone()).is_none()
    }

    fn leave(&self, attempt: (TaskId, u64)) {
        lock(&self.now).remove(&attempt);
        self.fall_behind();
    }

    pub(super) fn fall_behind(&self) {
        self.behind.store(true, Ordering::Release);
    }
}

/// Takes the attempt out again, whatever becomes of the relay.
struct Entered {
    app: App,
    attempt: (TaskId, u64),
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.app.relays.leave(self.attempt);
    }
}

/// Relays what waits for agents of others, and what is held by one and relayed by nobody.
///
/// # Errors
/// Of the store.
pub async fn relay_waiting(app: &App) -> Result<(), StoreError> {
    for agent in app.store.agents_waited_for().await? {
        relay_next(app, &agent).await?;
    }
    if !app.relays.behind.swap(false, Ordering::AcqRel) {
        return Ok(());
    }
    match app.store.held_by_agents().await {
        Ok(held) => held.into_iter().for_each(|record| begin(app, record, false)),
        Err(error) => {
            app.relays.fall_behind();
            return Err(error);
        }
    }
    Ok(())
}

/// Relays the next tasks of an agent, as far as there is room.
pub(super) async fn relay_next(app: &App, agent: &str) -> Result<(), StoreError> {
    let most = u32::try_from(app.relays.room(&holder_of(agent))).unwrap_or_default();
    if most == 0 {
        return Ok(());
    }
    let taken = app.store.write(TakeRelays { agent: agent.to_owned(), most, now: app.now() }).await;
    // Of a write whose answer was lost nobody knows what it took.
    taken.inspect_err(|_| app.relays.fall_behind())?.into_iter().for_each(|record| begin(app, record, true));
    Ok(())
}

/// `is_new` is whether the attempt was just given to the agent: nothing was sent yet.
fn begin(app: &App, record: TaskRecord, is_new: bool) {
    let Some(holder) = record.holder.clone() else { return };
    let attempt = (record.task.id, record.task.attempt);
    if !app.relays.enter(attempt, &holder) {
        return;
    }
    let entered = Entered { app: app.clone(), attempt };
    let deadline = app.clock.uptime() + app.config.leases.lease;
    if record.disconnected_at.is_none() {
        lock(&app.leases).grant(attempt.0, attempt.1, holder.clone(), deadline, Phase::Held);
    }
    app.life.spawn_isolated("relay", async move {
        let app = entered.app.clone();
        if let Err(error) = relay(&app, record, is_new).await {
            tracing::warn!(task.id = %attempt.0, %error, "a relay was given up; it is taken up again");
        }
        drop(entered);
        if let Some(agent) = agent_of(&holder)
            && let Err(error) = relay_next(&app, agent).await
        {
            tracing::debug!(%error, "the next task of an agent waits a moment");
        }
    });
}

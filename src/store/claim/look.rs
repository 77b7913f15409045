//! The looks of a batch: what the pulls in it need is read for all of them together.

use super::candidates::{self, LANES, LaneAt, Want};
use super::claimant::Claimant;
use crate::store::Tx;
use crate::store::row::{Columns as _, to_json};
use crate::store::sql::statements;
use muster_protocol::ids::{CodebaseId, InstanceId, TaskId, WorkerId};
use muster_protocol::time::Timestamp;
use std::collections::HashSet;

/// How many tasks are looked for at once, for all pulls of a batch; the first pull always gets its look.
const MOST_TASKS: usize = 512;

/// A pull that looks for what it may tell its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Who pulls.
    pub worker: WorkerId,
    /// Its start of the daemon.
    pub instance: InstanceId,
    /// As its registration answered.
    pub registration: u64,
    /// Where to go on in the queue; from its beginning if none.
    pub after: Option<LaneAt>,
    /// When.
    pub now: Timestamp,
}

/// What it finds.
#[derive(Debug)]
pub(in crate::store) struct View {
    look: Look,
    /// The worker, if there is one.
    pub(super) claimant: Option<Claimant>,
    /// What it has.
    pub(super) held: Vec<TaskId>,
    /// Whether the queue was looked at.
    pub(super) looked: bool,
    /// What it may be given.
    pub(super) chosen: Vec<(TaskId, CodebaseId)>,
    /// Where the queue goes on.
    pub(super) more: Option<LaneAt>,
}

statements! {
    HELD_IDS: "SELECT id, holder FROM tasks WHERE held = 1 AND holder IN (SELECT value FROM json_each($1))",
    postgres: "SELECT id, holder FROM tasks WHERE held = 1 AND holder IN (SELECT json_array_elements_text($1::text::json))";
}

impl Look {
    /// Whether the worker is the one that looks, as it was registered last.
    pub(super) fn is_by(&self, claimant: &Claimant) -> bool {
        claimant.instance == Some(self.instance) && claimant.registration == self.registration
    }

    fn free(&self, claimant: &Claimant) -> usize {
        let may = !claimant.gone && !claimant.draining && self.is_by(claimant);
        if may { claimant.slots.saturating_sub(claimant.held) } else { 0 }
    }
}

impl Tx<'_> {
    /// What a look finds. Those of the batch that were announced are read together with the first one.
    pub(super) async fn view(&mut self, look: &Look) -> sqlx::Result<View> {
        if let Some(place) = self.views.iter().position(|view| view.look == *look) {
            return Ok(self.views.swap_remove(place));
        }
        let mut looks = vec![look.clone()];
        let mut workers = HashSet::from([look.worker.clone()]);
        for other in std::mem::take(&mut self.looks) {
            if workers.insert(other.worker.clone()) {
                looks.push(other);
            }
        }
        let mut views = read(self, looks).await?;
        let own = views.swap_remove(0);
        self.views = views;
        Ok(own)
    }
}

async fn read(tx: &mut Tx<'_>, looks: Vec<Look>) -> sqlx::Result<Vec<View>> {
    let ids: Vec<_> = looks.iter().map(|look| &look.worker).collect();
    let mut claimants = Claimant::read_all(tx, &ids).await?;
    let mut views = Vec::new();
    let mut tasks = 0;
    for look in looks {
        let claimant = claimants.remove(&look.worker);
        let free = claimant.as_ref().map_or(0, |claimant| look.free(claimant));
        tasks += free;
        if views.is_empty() || tasks <= MOST_TASKS {
            views.push(View { look, claimant, held: Vec::new(), looked: free > 0, chosen: Vec::new(), more: None });
        }
    }
    read_held(tx, &mut views).await?;
    choose(tx, &mut views).await?;
    let held = views.iter().flat_map(|view| view.held.iter().copied());
    let chosen = views.iter().flat_map(|view| &view.chosen);
    let tasks = held.chain(chosen.clone().map(|(task, _)| *task)).collect();
    let codebases = chosen.map(|(_, codebase)| codebase.clone()).collect();
    tx.read_tasks(tasks).await?;
    tx.read_codebases(codebases).await?;
    Ok(views)
}

async fn read_held(tx: &mut Tx<'_>, views: &mut [View]) -> sqlx::Result<()> {
    let holds = |view: &&mut View| view.claimant.as_ref().is_some_and(|claimant| claimant.held > 0);
    let holders: Vec<_> = views.iter_mut().filter(holds).map(|view| view.look.worker.clone()).collect();
    if holders.is_empty() {
        return Ok(());
    }
    for row in tx.all(HELD_IDS.on(tx.dialect()).bind(to_json(&holders))).await? {
        let holder = row.text("holder")?;
        if let Some(view) = views.iter_mut().find(|view| view.look.worker.0 == holder) {
            view.held.push(row.parsed("id")?);
        }
    }
    Ok(())
}

async fn choose(tx: &mut Tx<'_>, views: &mut [View]) -> sqlx::Result<()> {
    let Some(now) = views.first().map(|view| view.look.now) else { return Ok(()) };
    let want = |view| {
        let View { look, claimant, looked: true, .. }: &View = view else { return None };
        let claimant = claimant.as_ref()?;
        Some(Want { claimant, free: look.free(claimant), after: look.after.as_ref(), most: LANES })
    };
    let wants: Vec<_> = views.iter().filter_map(want).collect();
    let found = candidates::choose(tx, &wants, now).await?;
    for (view, found) in views.iter_mut().filter(|view| view.looked).zip(found) {
        (view.chosen, view.more) = (found.tasks, found.more);
    }
    Ok(())
}

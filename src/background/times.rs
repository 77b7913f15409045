//! Tasks whose time has come: `not_before` wakes a worker, `deadline` ends a task.

use crate::app::App;
use crate::dispatch::millis;
use crate::events::Wake;
use crate::store::StoreError;
use crate::store::attempts::EndOverdueTask;

/// How far back is looked for tasks that became due: some runs may have failed.
const LOOK_BACK_MS: i64 = 5_000;

/// Looks for tasks that are due or overdue.
pub(super) async fn run_once(app: &App) -> Result<(), StoreError> {
    let now = app.now();
    let from = muster_protocol::time::Timestamp(now.0 - LOOK_BACK_MS);
    let due = app.store.due_between(from, now).await?;
    let wakes: Vec<_> = due.into_iter().map(|worker| worker.map_or(Wake::AnyWorker, Wake::Worker)).collect();
    app.store.hub().committed(0, &wakes);
    for task in app.store.overdue(now).await? {
        app.store.write(EndOverdueTask { task, lease_ms: millis(app.config.leases.lease), now }).await?;
    }
    Ok(())
}

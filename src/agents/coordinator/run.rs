//! Which coordinations this process works on: those that it was given, and after a start those that have not ended.

use super::work::work;
use crate::app::App;
use crate::store::StoreError;
use crate::sync::lock;
use muster_protocol::ids::TaskId;
use muster_protocol::task::Task;
use std::collections::HashSet;
use std::sync::Mutex;

/// The coordinations under way.
#[derive(Debug, Default)]
pub struct Coordinations(Mutex<HashSet<TaskId>>);

/// Takes a coordination out again, whatever becomes of the work on it.
struct Entered {
    app: App,
    task: TaskId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.app.coordinations.0).remove(&self.task);
    }
}

/// Goes on with the coordinations that have not ended and that nobody works on.
///
/// # Errors
/// Of the store.
pub async fn coordinate_open(app: &App) -> Result<(), StoreError> {
    for record in app.store.open_coordinations().await? {
        begin(app, record.task, false);
    }
    Ok(())
}

/// Works on a coordination, unless that is done already. `is_new`: nothing of it can have been begun.
pub(super) fn begin(app: &App, task: Task, is_new: bool) {
    if task.state.is_terminal() || !lock(&app.coordinations.0).insert(task.id) {
        return;
    }
    let entered = Entered { app: app.clone(), task: task.id };
    app.life.spawn_isolated("coordination", async move {
        if let Err(error) = work(&entered.app, task, is_new).await {
            tracing::warn!(task.id = %entered.task, %error, "a coordination was interrupted; it is taken up again");
        }
    });
}

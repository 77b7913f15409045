//! Small things that keep the store in order.

use crate::app::App;
use crate::store::StoreError;
use crate::store::upkeep::Forget;
use crate::store::workers::SaveSeen;

/// How many workers are saved in one write.
const CHUNK: usize = 500;

/// Saves when workers were heard of last.
pub(super) async fn save_presence(app: &App) -> Result<(), StoreError> {
    for seen in app.presence.take_unsaved().chunks(CHUNK) {
        app.store.write(SaveSeen { seen: seen.to_vec() }).await?;
    }
    Ok(())
}

/// Counts the event log as it grows, so that nobody waits for that; a long one is not finished when the server stops.
pub(super) async fn keep_tally(app: &App) -> Result<(), StoreError> {
    tokio::select! {
        outcome = app.keep_tally() => outcome,
        () = app.life.stopping() => Ok(()),
    }
}

/// Forgets idempotency keys, batch ids and webhooks that are no longer needed.
pub(super) async fn forget(app: &App) -> Result<(), StoreError> {
    app.store.write(Forget { now: app.now() }).await
}

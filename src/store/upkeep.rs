//! Forgetting what is no longer needed, in small steps.

use super::sql::statements;
use super::submit::KEY_KEPT_MS;
use super::{Tx, Write, webhooks};
use muster_protocol::time::Timestamp;

/// How long a batch's id is kept: a lost answer is looked up within seconds.
const BATCH_KEPT_MS: i64 = 60 * 60 * 1_000;

statements! {
    KEYS: "DELETE FROM idempotency WHERE (principal, key) IN (SELECT principal, key FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT 1000)";
    BATCHES: "DELETE FROM batches WHERE id IN (SELECT id FROM batches WHERE committed_at < $1 ORDER BY committed_at LIMIT 1000)";
}

/// Forgets old idempotency keys and batch ids, and webhooks that ended a day ago, up to 1,000 of each.
#[derive(Debug, Clone)]
pub struct Forget {
    /// When.
    pub now: Timestamp,
}

impl Write for Forget {
    const NAME: &'static str = "forget";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        tx.execute_aside(KEYS.on(tx.dialect()).bind(self.now.0 - KEY_KEPT_MS)).await?;
        tx.execute_aside(BATCHES.on(tx.dialect()).bind(self.now.0 - BATCH_KEPT_MS)).await?;
        webhooks::forget(tx, self.now).await
    }
}

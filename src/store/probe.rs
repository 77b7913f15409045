//! Whether the store can write now.

use super::sql::statements;
use super::{Tx, Write};
use muster_protocol::time::Timestamp;

statements! {
    NOTE: "INSERT INTO server (key, value) VALUES ('probed_at', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
}

/// Writes the time: a commit that reaches the disk like any other.
#[derive(Debug, Clone)]
pub struct Probe(pub Timestamp);

impl Write for Probe {
    const NAME: &'static str = "probe";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        tx.execute_aside(NOTE.on(tx.dialect()).bind(self.0.0.to_string())).await?;
        Ok(())
    }
}

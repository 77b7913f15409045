//! Waiting for a condition, in place of sleeping and hoping.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Asks until there is an answer, at most `limit`. `what` completes the sentence "waited for ..".
pub(crate) async fn wait_for<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

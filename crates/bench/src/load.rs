//! Many clients at once: how many steps a second do they make?

use crate::process::{Meter, cores};
use crate::stats::Reading;
use anyhow::{Context as _, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many clients there are at once.
pub(crate) const CLIENTS: usize = 64;

/// How long a round may take in which nothing is done.
const LONGEST: Duration = Duration::from_secs(20);

/// A client that does the same over and over.
pub(crate) trait Client: Send + 'static {
    /// Does it once.
    fn step(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// How long is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Before anything counts.
    pub(crate) warm_up: Duration,
    /// How many rounds.
    pub(crate) rounds: usize,
    /// How long each is.
    pub(crate) round: Duration,
}

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    errors: AtomicU64,
    stop: AtomicBool,
    first_error: Mutex<Option<String>>,
}

/// Lets all clients work, without a pause from the warm-up to the last round, and answers the steps a second of the rounds. `who` are the
/// processes whose share of the machine is noted.
///
/// # Errors
/// If a client's task broke; failed steps are counted in the reading.
pub(crate) async fn rounds<C: Client>(clients: Vec<C>, plan: Plan, who: &[Meter]) -> Result<Reading> {
    let counts = Arc::new(Counts::default());
    let tasks: Vec<_> = clients.into_iter().map(|client| tokio::spawn(work(client, Arc::clone(&counts)))).collect();
    tokio::time::sleep(plan.warm_up).await;
    let before: Vec<_> = who.iter().map(Meter::cpu).collect();
    let (first, begun) = (counts.done.load(Ordering::Relaxed), Instant::now());
    let mut rates = Vec::new();
    for _ in 0..plan.rounds {
        let (done, since) = (counts.done.load(Ordering::Relaxed), Instant::now());
        let mut steps = 0;
        // A round in which nothing was done goes on: it would say nothing.
        while steps == 0 && since.elapsed() < LONGEST {
            tokio::time::sleep(plan.round).await;
            steps = counts.done.load(Ordering::Relaxed) - done;
        }
        rates.push(per_second(steps, since.elapsed()));
    }
    let (steps, took) = (counts.done.load(Ordering::Relaxed) - first, begun.elapsed());
    let shares: Vec<_> = who.iter().zip(before).map(|(meter, before)| cores(meter, before, took, steps)).collect();
    counts.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.context("a client broke")?;
    }
    let errors = counts.errors.load(Ordering::Relaxed);
    let first_error = counts.first_error.lock().ok().and_then(|mut first| first.take());
    Ok(Reading { errors, first_error, ..Reading::of_rounds(&rates, steps) }.noted(shares.join(", ")))
}

async fn work(mut client: impl Client, counts: Arc<Counts>) {
    while !counts.stop.load(Ordering::Relaxed) {
        match client.step().await {
            Ok(()) => {
                counts.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                counts.errors.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut first) = counts.first_error.lock() {
                    first.get_or_insert_with(|| format!("{error:#}"));
                }
                // Whatever it is, it is not to be asked for as fast as can be.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A rate.
#[expect(clippy::cast_precision_loss, reason = "counts of a few millions")]
#[must_use]
pub(crate) fn per_second(steps: u64, took: Duration) -> f64 {
    steps as f64 / took.as_secs_f64()
}

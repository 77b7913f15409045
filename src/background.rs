//! Background duties under one driver: each runs once a period, is contained if it panics, and never twice at once.

mod leases;
mod times;
mod upkeep;

use crate::app::App;
use crate::store::StoreError;
use crate::telemetry::metric;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// Something that is done again and again.
struct Duty {
    name: &'static str,
    period: Duration,
    run_once: fn(&App) -> BoxFuture<'_, Result<(), StoreError>>,
}

/// Every duty of the server.
fn duties() -> [Duty; 10] {
    [
        Duty { name: "leases", period: Duration::from_millis(500), run_once: |app| leases::run_once(app).boxed() },
        Duty { name: "missing_leases", period: Duration::from_secs(10), run_once: |app| leases::grant_where_missing(app).boxed() },
        Duty { name: "due_tasks", period: Duration::from_millis(500), run_once: |app| times::run_once(app).boxed() },
        Duty { name: "presence", period: Duration::from_secs(15), run_once: |app| upkeep::save_presence(app).boxed() },
        Duty { name: "tally", period: Duration::from_secs(10), run_once: |app| upkeep::keep_tally(app).boxed() },
        Duty { name: "relays", period: Duration::from_secs(1), run_once: |app| crate::agents::relay_waiting(app).boxed() },
        Duty { name: "forwarding", period: Duration::from_secs(1), run_once: |app| crate::tasks::forward_waiting(app).boxed() },
        Duty { name: "coordinations", period: Duration::from_secs(1), run_once: |app| crate::agents::coordinate_open(app).boxed() },
        Duty { name: "agent_health", period: Duration::from_secs(1), run_once: |app| crate::agents::look_at_agents(app).boxed() },
        Duty { name: "forget", period: Duration::from_mins(1), run_once: |app| upkeep::forget(app).boxed() },
    ]
}

/// Starts all duties; they end with the server.
///
/// # Errors
/// If the held attempts cannot be read.
pub async fn start(app: &App) -> Result<(), StoreError> {
    leases::grant_where_missing(app).await?;
    if app.config.a2a.push_notifications {
        app.life.spawn("webhooks", crate::a2a::deliver(app.clone()));
    }
    for duty in duties() {
        let app_of_duty = app.clone();
        app.life.spawn(duty.name, async move { drive(app_of_duty, duty).await });
    }
    Ok(())
}

async fn drive(app: App, duty: Duty) {
    let mut tick = tokio::time::interval(duty.period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.life.stopping() => return,
            _ = tick.tick() => {}
        }
        let began = Instant::now();
        let outcome = AssertUnwindSafe((duty.run_once)(&app)).catch_unwind().await;
        metrics::histogram!(metric::BACKGROUND_SECONDS, "duty" => duty.name).record(began.elapsed().as_secs_f64());
        let word = match &outcome {
            Ok(Ok(())) => "done",
            Ok(Err(_)) => "failed",
            Err(_) => "panicked",
        };
        metrics::counter!(metric::BACKGROUND_RUNS, "duty" => duty.name, "outcome" => word).increment(1);
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(duty = duty.name, %error, "a background duty failed; it is tried again"),
            Err(_) => tracing::error!(duty = duty.name, "a background duty panicked; it is tried again"),
        }
    }
}

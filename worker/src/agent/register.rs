//! Registering, and again whenever something changes.

use super::{Fatal, Shared};
use crate::backoff::Backoff;
use crate::inventory::{Inspector, Inventory};
use crate::process::table;
use muster_protocol::client::ClientError;
use muster_protocol::error::code;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Looks at the machine every few seconds and registers what has changed.
pub(super) async fn keep_registered(shared: Arc<Shared>) {
    tokio::select! {
        () = look_and_register(&shared) => {}
        () = shared.exit.cancelled() => {}
    }
}

async fn look_and_register(shared: &Shared) {
    let mut inspector = Inspector::new();
    let mut opencode = shared.opencode.clone();
    let mut known: Option<Inventory> = None;
    let mut zombies = HashSet::new();
    loop {
        let inventory = inspector.inspect(shared).await;
        if known.as_ref() != Some(&inventory) {
            tell_changes(known.as_ref(), &inventory);
            register(shared, &inventory).await;
            known = Some(inventory);
        }
        table::reap_orphans(&mut zombies);
        if shared.room.look(shared).await
            && let Some(known) = &known
        {
            // The answer says whether it was somebody else who drained this worker.
            register(shared, known).await;
            shared.room.open(shared).await;
        }
        tokio::select! {
            () = tokio::time::sleep(shared.config.refresh) => {}
            () = opencode.changed() => {}
            () = shared.look_again.notified() => {}
            () = shared.register_again.notified() => known = None,
        }
    }
}

/// Registers, for as long as it takes.
async fn register(shared: &Shared, inventory: &Inventory) {
    let body = inventory.registration(&shared.config, &shared.worker_id, shared.instance);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        match shared.server.register(&body).await {
            Ok(registered) => {
                shared.contact.reached();
                shared.set_lease(registered.lease_ms);
                let first = shared.registered.send_replace(Some(Arc::new(registered))).is_none();
                if first {
                    tracing::info!("registered with {} as \"{}\"", shared.server.server(), shared.config.name);
                } else {
                    tracing::debug!("registered again");
                }
                return;
            }
            Err(error) if error.code() == code::SUPERSEDED => shared.end(Fatal::Superseded(error.to_string())),
            Err(error) => complain(shared, &error),
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

fn complain(shared: &Shared, error: &ClientError) {
    shared.contact.failed(error);
    if let ClientError::Refused { status, details, .. } = error
        && !error.is_retryable()
        && ![401, 403].contains(status)
    {
        let details = if details.is_null() { String::new() } else { format!(" ({details})") };
        tracing::warn!("the server does not register this worker: {error}{details}");
    }
}

fn tell_changes(before: Option<&Inventory>, now: &Inventory) {
    let Some(before) = before else { return };
    if before.models != now.models {
        tracing::info!(
            "{} models{}",
            now.models.len(),
            now.default_model.as_ref().map(|model| format!(", default {model}")).unwrap_or_default()
        );
    }
    for codebase in &now.codebases {
        let problem_before = before.codebases.iter().find(|known| known.path == codebase.path).and_then(|known| known.problem.as_ref());
        match (problem_before, &codebase.problem) {
            (Some(_), None) => tracing::info!("codebase {}: {} is there now", codebase.name, codebase.path),
            (None, Some(problem)) => tracing::warn!("codebase {}: {problem}", codebase.name),
            _ => {}
        }
    }
}

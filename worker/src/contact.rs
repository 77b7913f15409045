//! The server as seen from here: reached or not, told once a minute rather than at every try.

use muster_protocol::client::ClientError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often the same trouble is told.
const EVERY: Duration = Duration::from_mins(1);

/// What is known of the way to the server.
#[derive(Debug, Default)]
pub struct Contact {
    trouble: Mutex<Option<Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    told: Instant,
    kind: &'static str,
}

impl Contact {
    /// A request was answered.
    pub fn reached(&self) {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(trouble) = trouble {
            tracing::info!("the server answers again after {} s", trouble.since.elapsed().as_secs());
        }
    }

    /// A request failed. Only what is about the way to the server, or the right to speak to it, is told here.
    pub fn failed(&self, error: &ClientError) {
        let Some((kind, line)) = describe(error) else { return };
        let now = Instant::now();
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = trouble.as_ref().is_some_and(|known| known.kind == kind && now.duration_since(known.told) < EVERY);
        if !quiet {
            tracing::warn!("{line}");
            let since = trouble.as_ref().map_or(now, |known| known.since);
            *trouble = Some(Trouble { since, told: now, kind });
        }
    }
}

/// The kind of trouble and what to tell of it.
fn describe(error: &ClientError) -> Option<(&'static str, String)> {
    match error {
        ClientError::Refused { status: 401, message, .. } => Some((
            "401",
            format!(
                "the server does not know this worker's token: {message}. Give one with the scope `worker` as MUSTER_TOKEN (`muster token create --scope worker` makes it)"
            ),
        )),
        ClientError::Refused { status: 403, message, .. } => Some((
            "403",
            format!("the server does not let this worker do that: {message}. It needs a token with the scope `worker` as MUSTER_TOKEN"),
        )),
        ClientError::Refused { status, message, .. } if error.is_retryable() => {
            Some(("busy", format!("the server cannot answer now (HTTP {status}: {message}); trying again until it can")))
        }
        ClientError::Unreachable { .. } => {
            Some(("unreachable", format!("{error}; running tasks go on, and it is tried again until it answers")))
        }
        ClientError::Malformed { .. } => Some(("malformed", format!("{error}; is this a Muster server of a fitting version?"))),
        ClientError::Address { .. } | ClientError::Refused { .. } => None,
    }
}

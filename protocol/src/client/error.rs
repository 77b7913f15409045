//! What can go wrong between this client and a server, and how it is read from an answer.

use crate::error::ErrorBody;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use std::io;
use std::time::Duration;

/// What can come of a request besides its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none that this client can use.
    #[error("`{address}` is no usable server address: {reason}")]
    Address {
        /// As given.
        address: String,
        /// Why not.
        reason: String,
    },
    /// No connection, or it broke, or it took too long.
    #[error("cannot reach the server at {server}: {reason}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code; empty if the answer was not Muster's.
        code: String,
        /// The sentence for people.
        message: String,
        /// More, by code.
        details: Value,
        /// When the server asks to try again.
        retry_after: Option<Duration>,
    },
    /// The answer is none that this client reads.
    #[error("the server at {server} gave an answer that cannot be read: {reason}")]
    Malformed {
        /// The server's address.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later: no connection, overload, a fault of the server.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Address { .. } | Self::Malformed { .. } => false,
        }
    }

    /// The stable code of a refusal; empty otherwise.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }

    /// `details.next_seq` of a refusal with the code `gap`.
    #[must_use]
    pub fn next_seq(&self) -> Option<u64> {
        match self {
            Self::Refused { details, .. } => details["next_seq"].as_u64(),
            _ => None,
        }
    }
}

/// The cause at the bottom of a chain: reqwest's own sentence does not say why. A failed system call is told in words without its number.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(system) if NAMED.contains(&system.kind()) => system.kind().to_string(),
        _ => cause.to_string(),
    }
}

/// The kinds whose own words say enough.
const NAMED: [io::ErrorKind; 6] = [
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::TimedOut,
];

pub(super) async fn refusal(response: Response) -> ClientError {
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    let body = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(ErrorBody { error, .. }) => {
            ClientError::Refused { status: status.as_u16(), code: error.code, message: error.message, details: error.details, retry_after }
        }
        Err(_) => ClientError::Refused {
            status: status.as_u16(),
            code: String::new(),
            message: format!("the server answered {status}{}", hint(status)),
            details: Value::Null,
            retry_after,
        },
    }
}

fn hint(status: StatusCode) -> &'static str {
    if status == StatusCode::NOT_FOUND { "; is this a Muster server?" } else { "" }
}

//! Identifiers as newtypes, so that one cannot be passed for another.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Declares an id that Muster makes: a UUID, version 7, so that ids sort by the time they were made.
macro_rules! uuid_id {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    )+};
}

/// Declares an id that somebody else may give: text.
macro_rules! text_id {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(s: &str) -> Self {
                Self(s.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    )+};
}

uuid_id! {
    /// A server, for as long as its database lives.
    ServerId,
    /// A task; it is the A2A task id too.
    TaskId,
    /// A permission request or a question of a running task.
    InteractionId,
    /// A token; not the secret itself.
    TokenId,
    /// An entry of the event log.
    EventId,
    /// One start of a worker's daemon.
    InstanceId,
}

text_id! {
    /// A worker. The worker gives it itself and keeps it over restarts.
    WorkerId,
    /// A codebase. The server makes it; earlier clients treat it as opaque text.
    CodebaseId,
    /// A conversation (A2A's `contextId`); callers may choose it.
    ContextId,
    /// An OpenCode session (`ses_..`).
    SessionId,
    /// Who asks: `local`, or `token:<id>`.
    PrincipalId,
}

/// The longest id that a caller may choose, in bytes.
pub const MAX_ID_LEN: usize = 128;

/// Whether a caller's choice is fit to be an id: 1 to [`MAX_ID_LEN`] printable ASCII characters without space or slash.
#[must_use]
pub fn is_acceptable_id(id: &str) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

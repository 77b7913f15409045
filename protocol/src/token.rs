//! Tokens: who may ask what.

use crate::ids::{TokenId, WorkerId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything.
    Admin,
    /// Submit, cancel, answer, and what a viewer may.
    Operator,
    /// Read everything.
    Viewer,
    /// What a worker needs.
    Worker,
    /// What a peer needs.
    Peer,
    /// A2A messages, and its own tasks.
    Agent,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [Self::Admin, Self::Operator, Self::Viewer, Self::Worker, Self::Peer, Self::Agent];

    /// The word as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Worker => "worker",
            Self::Peer => "peer",
            Self::Agent => "agent",
        }
    }

    /// The scope of a word; `None` if there is none.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// `POST /v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateToken {
    /// What it allows.
    pub scope: Scope,
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// How long it is good for, in seconds; for ever if absent.
    #[serde(default)]
    pub ttl_s: Option<u64>,
    /// With the scope `worker`: the only worker that may use it.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
}

/// A token without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The only worker that may use it.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
}

/// The answer to [`CreateToken`]; the only time that the secret is shown.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// What goes into `Authorization: Bearer ..`.
    pub secret: String,
}

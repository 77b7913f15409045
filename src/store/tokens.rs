//! Tokens: who may ask what. Only the hash of a secret is kept.

use super::row::{Columns as _, wrong};
use super::sql::statements;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use muster_protocol::event::kind;
use muster_protocol::ids::{PrincipalId, ServerId, TokenId, WorkerId};
use muster_protocol::time::Timestamp;
use muster_protocol::token::{Scope, Token};
use serde_json::json;
use sqlx::any::AnyRow;

/// A token with what only the server needs to know of it.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// What everybody may see of it.
    pub token: Token,
    /// The SHA-256 of its text, in hexadecimal digits.
    pub hash: String,
    /// Whose it is.
    pub principal: PrincipalId,
    /// The peer that shows it; such a token is made of the network's key and not stored.
    pub peer: Option<ServerId>,
    /// When it was used last, roughly.
    pub last_used_at: Option<Timestamp>,
}

impl StoredToken {
    /// What a peer shows.
    #[must_use]
    pub fn of_peer(peer: ServerId, hash: &str) -> Self {
        let token = Token {
            id: TokenId(peer.0),
            name: format!("peer {peer}"),
            scope: Scope::Peer,
            worker_id: None,
            created_at: Timestamp(0),
            expires_at: None,
            revoked_at: None,
        };
        Self { token, hash: hash.to_owned(), principal: PrincipalId(format!("peer:{peer}")), peer: Some(peer), last_used_at: None }
    }
}

macro_rules! columns {
    () => {
        "id, hash, name, scope, principal, worker_id, created_at, expires_at, revoked_at, last_used_at"
    };
}

statements! {
    BY_HASH: concat!("SELECT ", columns!(), " FROM tokens WHERE hash = $1");
    LIST: concat!("SELECT ", columns!(), " FROM tokens ORDER BY id");
    COUNT_USABLE: "SELECT COUNT(*) AS n FROM tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";
    INSERT: "INSERT INTO tokens (id, hash, name, scope, principal, worker_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    REVOKE: "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    EXISTS: "SELECT id FROM tokens WHERE id = $1";
    USED: "UPDATE tokens SET last_used_at = $2 WHERE id = $1";
}

fn read(row: &AnyRow) -> sqlx::Result<StoredToken> {
    let scope = row.text("scope")?;
    let token = Token {
        id: row.parsed("id")?,
        name: row.text("name")?,
        scope: Scope::from_word(&scope).ok_or_else(|| wrong("scope", format!("`{scope}` is no scope")))?,
        worker_id: row.maybe_text("worker_id")?.map(WorkerId),
        created_at: row.time("created_at")?,
        expires_at: row.maybe_time("expires_at")?,
        revoked_at: row.maybe_time("revoked_at")?,
    };
    let principal = PrincipalId(row.text("principal")?);
    Ok(StoredToken { token, hash: row.text("hash")?, principal, peer: None, last_used_at: row.maybe_time("last_used_at")? })
}

impl Store {
    /// The token of a hash.
    ///
    /// # Errors
    /// Of the database.
    pub async fn token_by_hash(&self, hash: &str) -> Result<Option<StoredToken>, StoreError> {
        let row = BY_HASH.on(self.dialect()).bind(hash.to_owned()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// All tokens, oldest first, also those that are not good any more.
    ///
    /// # Errors
    /// Of the database.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let rows = LIST.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| read(row).map(|stored| stored.token)).collect::<sqlx::Result<_>>()?)
    }

    /// How many tokens are good at this time.
    ///
    /// # Errors
    /// Of the database.
    pub async fn count_usable_tokens(&self, now: Timestamp) -> Result<u64, StoreError> {
        Ok(COUNT_USABLE.on(self.dialect()).bind(now.0).fetch_one(self.readers()).await?.count("n")?)
    }
}

/// Adds a token.
#[derive(Debug, Clone)]
pub struct CreateToken(pub StoredToken);

impl Write for CreateToken {
    const NAME: &'static str = "create_token";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let StoredToken { token, hash, principal, .. } = &self.0;
        let statement = INSERT.on(tx.dialect()).bind(token.id.to_string()).bind(hash.clone()).bind(token.name.clone());
        let statement = statement.bind(token.scope.as_str()).bind(principal.0.clone());
        let statement = statement.bind(token.worker_id.as_ref().map(|id| id.0.clone()));
        tx.execute_aside(statement.bind(token.created_at.0).bind(token.expires_at.map(|at| at.0))).await?;
        let data = json!({"name": token.name, "scope": token.scope, "worker_id": token.worker_id});
        tx.event(event(kind::TOKEN_CREATED, token.id, token.created_at, data));
        Ok(())
    }
}

/// Ends a token. Answers whether there is such a token; one that has ended already stays as it is.
#[derive(Debug, Clone)]
pub struct RevokeToken {
    /// Which.
    pub id: TokenId,
    /// When.
    pub now: Timestamp,
}

impl Write for RevokeToken {
    const NAME: &'static str = "revoke_token";
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        let id = self.id.to_string();
        if tx.optional(EXISTS.on(tx.dialect()).bind(id.clone())).await?.is_none() {
            return Ok(false);
        }
        if tx.execute_aside(REVOKE.on(tx.dialect()).bind(id).bind(self.now.0)).await? > 0 {
            tx.event(event(kind::TOKEN_REVOKED, self.id, self.now, json!({})));
        }
        Ok(true)
    }
}

/// Notes that a token was used.
#[derive(Debug, Clone)]
pub struct NoteTokenUse {
    /// Which.
    pub id: TokenId,
    /// When.
    pub now: Timestamp,
}

impl Write for NoteTokenUse {
    const NAME: &'static str = "note_token_use";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        tx.execute_aside(USED.on(tx.dialect()).bind(self.id.to_string()).bind(self.now.0)).await?;
        Ok(())
    }
}

fn event(kind: &'static str, id: TokenId, at: Timestamp, data: serde_json::Value) -> NewEvent {
    NewEvent { kind, subject: format!("tokens/{id}"), at, data }
}

//! Other servers: who they are, where they are reached, and how far their logs were read.

use super::row::{Columns as _, to_int};
use super::sql::statements;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use muster_protocol::event::kind;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::Place;
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// In `peers.state`: a peer, and one that somebody removed.
const JOINED: &str = "joined";
const REMOVED: &str = "removed";

/// Another server, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPeer {
    /// Who.
    pub server_id: ServerId,
    /// What it is called.
    pub name: String,
    /// Where it is reached; empty for one that cannot be.
    pub url: String,
    /// Whether somebody removed it: it must not come back by itself.
    pub removed: bool,
    /// How far its log was read.
    pub place: Place,
    /// When it was heard of last.
    pub last_seen: Option<Timestamp>,
}

statements! {
    LIST: "SELECT server_id, name, url, state, epoch, cursor, last_seen FROM peers ORDER BY created_at, server_id";
    GET: "SELECT server_id, name, url, state, epoch, cursor, last_seen FROM peers WHERE server_id = $1";
    PUT: "INSERT INTO peers (server_id, name, url, state, epoch, cursor, created_at, last_seen) VALUES ($1, $2, $3, 'joined', '', 0, $4, $4)
        ON CONFLICT (server_id) DO UPDATE SET name = excluded.name, url = excluded.url, state = 'joined', last_seen = excluded.last_seen";
    REMOVE: "UPDATE peers SET state = 'removed' WHERE server_id = $1 AND state <> 'removed'";
    READ_TO: "UPDATE peers SET epoch = $2, cursor = $3, last_seen = $4 WHERE server_id = $1";
    SEEDS: "SELECT url FROM seeds ORDER BY created_at, url";
    ADD_SEED: "INSERT INTO seeds (url, created_at) VALUES ($1, $2) ON CONFLICT (url) DO NOTHING";
    DROP_SEED: "DELETE FROM seeds WHERE url = $1";
}

fn read(row: &AnyRow) -> sqlx::Result<StoredPeer> {
    Ok(StoredPeer {
        server_id: row.parsed("server_id")?,
        name: row.text("name")?,
        url: row.text("url")?,
        removed: row.text("state")? != JOINED,
        place: Place { epoch: row.maybe_text("epoch")?.unwrap_or_default(), sequence: row.count("cursor")? },
        last_seen: row.maybe_time("last_seen")?,
    })
}

impl Store {
    /// All other servers that are remembered, removed ones too.
    ///
    /// # Errors
    /// Of the database.
    pub async fn peers(&self) -> Result<Vec<StoredPeer>, StoreError> {
        let rows = LIST.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// One of them.
    ///
    /// # Errors
    /// Of the database.
    pub async fn peer(&self, id: ServerId) -> Result<Option<StoredPeer>, StoreError> {
        let row = GET.on(self.dialect()).bind(id.to_string()).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The addresses that people gave.
    ///
    /// # Errors
    /// Of the database.
    pub async fn seeds(&self) -> Result<Vec<String>, StoreError> {
        let rows = SEEDS.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| row.text("url")).collect::<sqlx::Result<_>>()?)
    }
}

/// Notes how far a peer's log was read.
pub(super) async fn read_to(tx: &mut Tx<'_>, peer: ServerId, place: &Place, now: Timestamp) -> sqlx::Result<()> {
    let note = READ_TO.on(tx.dialect()).bind(peer.to_string()).bind(place.epoch.clone()).bind(to_int(place.sequence)).bind(now.0);
    tx.execute_aside(note).await.map(drop)
}

/// Remembers a server, or its new name or address.
#[derive(Debug, Clone)]
pub struct PutPeer {
    /// Who.
    pub server_id: ServerId,
    /// What it is called.
    pub name: String,
    /// Where it is reached; empty for one that cannot be.
    pub url: String,
    /// Whether one that was removed is taken back; else it stays as it is.
    pub take_back: bool,
    /// When.
    pub now: Timestamp,
}

impl Write for PutPeer {
    const NAME: &'static str = "put_peer";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let known = tx.optional(GET.on(tx.dialect()).bind(self.server_id.to_string())).await?.as_ref().map(read).transpose()?;
        if known.as_ref().is_some_and(|known| known.removed) && !self.take_back {
            return Ok(());
        }
        let put = PUT.on(tx.dialect()).bind(self.server_id.to_string()).bind(self.name.clone()).bind(self.url.clone()).bind(self.now.0);
        tx.execute_aside(put).await?;
        if known.is_none_or(|known| known.removed) {
            tx.event(event(kind::PEER_JOINED, self.server_id, self.now, json!({ "name": self.name, "url": self.url })));
        }
        Ok(())
    }
}

/// Lets a peer go: it does not come back unless somebody joins it again.
#[derive(Debug, Clone)]
pub struct RemovePeer {
    /// Who.
    pub server_id: ServerId,
    /// When.
    pub now: Timestamp,
}

impl Write for RemovePeer {
    const NAME: &'static str = "remove_peer";
    /// Whether it was one.
    type Output = bool;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<bool> {
        if tx.execute_aside(REMOVE.on(tx.dialect()).bind(self.server_id.to_string())).await? == 0 {
            return Ok(false);
        }
        tx.event(event(kind::PEER_REMOVED, self.server_id, self.now, json!({ "state": REMOVED })));
        Ok(true)
    }
}

/// Remembers, or forgets, an address that somebody gave.
#[derive(Debug, Clone)]
pub struct KeepSeed {
    /// The address.
    pub url: String,
    /// Whether to forget it.
    pub forget: bool,
    /// When.
    pub now: Timestamp,
}

impl Write for KeepSeed {
    const NAME: &'static str = "keep_seed";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let statement = if self.forget { DROP_SEED } else { ADD_SEED }.on(tx.dialect()).bind(self.url.clone());
        let statement = if self.forget { statement } else { statement.bind(self.now.0) };
        tx.execute_aside(statement).await.map(drop)
    }
}

/// An event about a peer.
#[must_use]
pub fn event(kind: &'static str, peer: ServerId, at: Timestamp, data: Value) -> NewEvent {
    NewEvent { kind, subject: format!("peers/{peer}"), at, data }
}

//! Events of other servers: kept once, in the order of their origin, whichever way they came.

use super::events::COLUMNS;
use super::peers::read_to;
use super::row::{Columns as _, to_int};
use super::sql::statements;
use super::{Store, StoreError, Tx, Write};
use crate::domain::federation::{Step, step};
use muster_protocol::event::Event;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::Place;
use muster_protocol::time::Timestamp;
use std::collections::HashMap;

/// A start of a server, whose events are numbered from 1.
pub type Line = (ServerId, String);

statements! {
    HEADS: "SELECT origin, epoch, seq FROM event_heads";
    HEAD: "SELECT seq FROM event_heads WHERE origin = $1 AND epoch = $2";
    PUT_HEAD: "INSERT INTO event_heads (origin, epoch, seq) VALUES ($1, $2, $3)
        ON CONFLICT (origin, epoch) DO UPDATE SET seq = excluded.seq";
    OF_LINE: concat!("SELECT ", COLUMNS!(), " FROM events WHERE origin = $1 AND epoch = $2 AND origin_seq > $3 ORDER BY origin_seq LIMIT $4");
    SHARED_AFTER: concat!("SELECT ", COLUMNS!(), " FROM events WHERE seq > $1 ORDER BY seq LIMIT $2");
}

impl Store {
    /// How far the events of each start of each server are known, but for the current start of this one.
    ///
    /// # Errors
    /// Of the database.
    pub async fn event_heads(&self) -> Result<HashMap<Line, u64>, StoreError> {
        let rows = HEADS.on(self.dialect()).fetch_all(self.readers()).await?;
        let read = |row: &sqlx::any::AnyRow| Ok(((row.parsed("origin")?, row.text("epoch")?), row.count("seq")?));
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// Events of a start of a server, after a number.
    ///
    /// # Errors
    /// Of the database.
    pub async fn events_of_line(&self, line: &Line, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let query = OF_LINE.on(self.dialect()).bind(line.0.to_string()).bind(line.1.clone()).bind(to_int(after)).bind(i64::from(limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(super::events::read).collect::<sqlx::Result<_>>()?)
    }

    /// The events after a place of the log, those that are not shared too: their place is told.
    ///
    /// # Errors
    /// Of the database.
    pub async fn events_after(&self, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let query = SHARED_AFTER.on(self.dialect()).bind(to_int(after)).bind(i64::from(limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(super::events::read).collect::<sqlx::Result<_>>()?)
    }
}

/// Keeps events that a peer told, and how far its log was read.
#[derive(Debug, Clone)]
pub struct KeepTold {
    /// Who told them.
    pub peer: ServerId,
    /// In the order in which they were told.
    pub events: Vec<Event>,
    /// How far its log was read with them; nothing is noted if a hole is found.
    pub place: Place,
    /// When.
    pub now: Timestamp,
}

/// What became of events that were told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// How far is known now what was touched.
    pub heads: Vec<(Line, u64)>,
    /// What was known before.
    pub known: usize,
    /// The first event that was not kept, because others before it are missing, by its index.
    pub hole: Option<usize>,
}

impl Write for KeepTold {
    const NAME: &'static str = "keep_told";
    type Output = Kept;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<Kept> {
        let mut kept = Kept::default();
        let mut heads: HashMap<Line, (u64, u64)> = HashMap::new();
        for (n, event) in self.events.iter().enumerate() {
            let line = (event.origin, event.epoch.clone());
            if !heads.contains_key(&line) {
                let row = tx.optional(HEAD.on(tx.dialect()).bind(line.0.to_string()).bind(line.1.clone())).await?;
                let head = row.map(|row| row.count("seq")).transpose()?.unwrap_or(0);
                heads.insert(line.clone(), (head, head));
            }
            let Some((head, _)) = heads.get_mut(&line) else { continue };
            match step(*head, event) {
                Step::Next(now_at) => {
                    tx.event_of_others(event);
                    *head = now_at;
                }
                Step::Known => kept.known += 1,
                Step::Hole => {
                    kept.hole = Some(n);
                    break;
                }
            }
        }
        for (line, (head, before)) in heads {
            if head > before {
                let put = PUT_HEAD.on(tx.dialect()).bind(line.0.to_string()).bind(line.1.clone()).bind(to_int(head));
                tx.execute_aside(put).await?;
            }
            kept.heads.push((line, head));
        }
        if kept.hole.is_none() {
            read_to(tx, self.peer, &self.place, self.now).await?;
        }
        Ok(kept)
    }
}

//! What a failed transaction means.

use std::borrow::Cow;

/// A failed transaction.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the database said.
    pub(super) error: sqlx::Error,
    /// Whether it happened while committing.
    pub(super) at_commit: bool,
}

/// What follows from it.
#[derive(Debug)]
pub(in crate::store) enum Fault {
    /// Going on would be unsafe.
    Fatal(String),
    /// It cannot write now; later perhaps.
    Unavailable(String),
    /// The connection was lost while committing and did not come back: nobody knows whether the batch is stored.
    Unknown(String),
    /// A write of the batch is at fault.
    Statement(sqlx::Error),
}

impl Failed {
    /// Whether the connection is gone: an I/O error, or PostgreSQL is shutting down (class 57P, 08).
    pub(super) fn connection_lost(&self) -> bool {
        match &self.error {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(_) => self.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
            _ => false,
        }
    }

    /// Whether the same again may succeed: a serialization failure or a deadlock.
    pub(super) fn is_conflict(&self) -> bool {
        self.code().is_some_and(|code| code == "40001" || code == "40P01")
    }

    pub(super) fn into_fault(self) -> Fault {
        let reason = self.error.to_string();
        match self.code().as_deref() {
            // SQLITE_FULL, PostgreSQL class 53 (disk full, out of memory, too many connections).
            Some("13") => Fault::Unavailable("the disk is full".to_owned()),
            Some(code) if code.starts_with("53") && code.len() == 5 => Fault::Unavailable(reason),
            // SQLITE_BUSY and SQLITE_LOCKED with their extended codes.
            Some(code) if primary(code) == Some(5) || primary(code) == Some(6) => Fault::Unavailable(reason),
            // SQLITE_IOERR_SHMSIZE: no room for the index of the write-ahead log, before anything was written.
            Some("4874") => Fault::Unavailable("the disk is full".to_owned()),
            // SQLITE_IOERR while writing or syncing, SQLITE_CORRUPT, SQLITE_NOTADB: what the file holds is unknown.
            Some(code) if matches!(primary(code), Some(10 | 11 | 26)) => Fault::Fatal(reason),
            // SQLITE_READONLY, SQLITE_CANTOPEN.
            Some(code) if matches!(primary(code), Some(8 | 14)) => Fault::Unavailable(reason),
            _ if self.connection_lost() => Fault::Unavailable(reason),
            _ => Fault::Statement(self.error),
        }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.error.as_database_error().and_then(sqlx::error::DatabaseError::code)
    }
}

/// The primary part of a SQLite result code; `None` for PostgreSQL's, which have five characters.
fn primary(code: &str) -> Option<u32> {
    if code.len() == 5 { None } else { code.parse::<u32>().ok().map(|code| code & 0xff) }
}

//! OpenCode sessions and their messages, as workers tell of them. A session is known by its worker and its id: one id on two machines is two
//! sessions. It belongs to the codebase that it was told of last.

mod read;
mod sync;

pub use read::{SessionFilter, SessionPlace};
pub use sync::{PutMessages, PutSessions, RemoveOutcome, RemoveSessions, SyncOutcome};

use super::sql::Sql;

/// The statements of all files of this module.
pub(in crate::store) fn all() -> impl Iterator<Item = &'static (&'static str, Sql)> {
    read::ALL.iter().chain(sync::ALL)
}

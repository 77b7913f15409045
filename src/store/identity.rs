//! Who this server is: made when the database is created, kept as long as it lives.

use super::row::Columns as _;
use super::sql::{Dialect, statements};
use crate::clock::{Clock, Ids};
use muster_protocol::ids::ServerId;
use sqlx::AnyConnection;

/// A server's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For as long as the database lives.
    pub server_id: ServerId,
    /// This start of the server: its events are numbered anew in each (`store/epochs`).
    pub epoch: String,
    /// As configured.
    pub name: String,
}

statements! {
    READ: "SELECT value FROM server WHERE key = $1";
    WRITE: "INSERT INTO server (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
}

impl Identity {
    /// Reads the identity, and makes it in a new database.
    pub(super) async fn load(
        conn: &mut AnyConnection,
        dialect: Dialect,
        name: &str,
        clock: &dyn Clock,
        ids: &dyn Ids,
    ) -> sqlx::Result<Self> {
        let mut made = || ids.uuid(clock.now()).to_string();
        let server_id = read_or_make(conn, dialect, "server_id", &mut made).await?;
        let epoch = made();
        WRITE.on(dialect).bind("name").bind(name.to_owned()).execute(&mut *conn).await?;
        let server_id = server_id.parse().map_err(|e: uuid::Error| super::row::wrong("server_id", e.to_string()))?;
        super::epochs::begin(conn, dialect, server_id, &epoch).await?;
        Ok(Self { server_id, epoch, name: name.to_owned() })
    }
}

async fn read_or_make(
    conn: &mut AnyConnection,
    dialect: Dialect,
    key: &'static str,
    make: &mut (dyn FnMut() -> String + Send),
) -> sqlx::Result<String> {
    if let Some(row) = READ.on(dialect).bind(key).fetch_optional(&mut *conn).await? {
        return row.text("value");
    }
    let value = make();
    WRITE.on(dialect).bind(key).bind(value.clone()).execute(&mut *conn).await?;
    Ok(value)
}

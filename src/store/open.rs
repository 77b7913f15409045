//! Opening the store: connections, migrations, identity, and the lock that keeps a second server away.

use super::Store;
use super::identity::Identity;
use super::row::Columns as _;
use super::sql::Dialect;
use super::writer::{Writer, WriterConnection};
use crate::clock::{Clock, Ids};
use crate::domain::federation::Shared;
use crate::events::Hub;
use sqlx::AnyConnection;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, query};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// "muster" in ASCII: the advisory lock that a server holds on its PostgreSQL database.
const LOCK_KEY: i64 = 0x6d75_7374_6572;
const TAKE_LOCK: &str = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN 1::bigint ELSE 0::bigint END AS taken";
const LOCK_HOLDER: &str = "SELECT a.application_name::text AS holder FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = $1 AND l.objid::bigint = $2
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1";

/// How often, and with which pauses, the lock of a server that may just be ending is tried.
const LOCK_TRIES: u32 = 11;
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// How to open a store.
pub struct OpenOptions {
    /// `sqlite:///path/file.db` or `postgres://user@host/database`.
    pub url: String,
    /// The server's name.
    pub name: String,
    /// Which types of events other servers may see.
    pub shared: Shared,
    /// How many reads there may be at once.
    pub readers: u32,
    /// How many writes may wait.
    pub queue: usize,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// What makes ids.
    pub ids: Arc<dyn Ids>,
}

/// Why a store cannot be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that Muster can use.
    #[error("the database URL must begin with sqlite:// or postgres://")]
    Url,
    /// There is no connection to be had.
    #[error("cannot open the database: {reason}; check the database URL, that the database exists, and that this user may use it")]
    Connect {
        /// What the database said.
        reason: String,
    },
    /// Another server uses it.
    #[error("the database is in use by {holder}; stop that server first, or give this one another database")]
    Locked {
        /// The other server, as far as known.
        holder: String,
    },
    /// The schema is not what this version expects.
    #[error("the database's schema cannot be brought up to date: {reason}; it may have been used by a newer version of Muster")]
    Migrate {
        /// What is wrong.
        reason: String,
    },
    /// The database can be reached, but not used.
    #[error("the database cannot be used: {reason}")]
    Unusable {
        /// What it said.
        reason: String,
    },
}

impl Store {
    /// Opens the store: connects, locks, migrates, and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: OpenOptions) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of_url(&options.url).ok_or(OpenError::Url)?;
        let unusable = |e: sqlx::Error| OpenError::Unusable { reason: e.to_string() };
        let mut conn = connect_writer(&options.url, dialect, &options.name).await?;
        MIGRATIONS.run(&mut conn).await.map_err(|e| OpenError::Migrate { reason: e.to_string() })?;
        let identity = Identity::load(&mut conn, dialect, &options.name, &*options.clock, &*options.ids).await.map_err(unusable)?;
        let readers = connect_readers(&options.url, dialect, options.readers).await?;
        let hub = Arc::new(Hub::default());
        let conn = WriterConnection::new(conn, options.url, dialect, identity.clone(), options.shared);
        let writer = Writer::start(conn, Arc::clone(&hub), options.clock, options.ids, options.queue);
        let writer = writer.map_err(|e| OpenError::Unusable { reason: format!("the thread that writes cannot be started: {e}") })?;
        Ok(Self { readers, writer, hub, tails: Arc::default(), dialect, identity })
    }
}

/// Connects for writing; on PostgreSQL it takes the server's lock, which lives as long as the connection.
pub(super) async fn connect_writer(url: &str, dialect: Dialect, name: &str) -> Result<AnyConnection, OpenError> {
    let failed = |e: sqlx::Error| OpenError::Connect { reason: e.to_string() };
    let options = connect_options(url, dialect).map_err(failed)?;
    let mut conn = tokio::time::timeout(Duration::from_secs(10), AnyConnection::connect_with(&options))
        .await
        .map_err(|_| OpenError::Connect { reason: "no answer within 10 s".to_owned() })?
        .map_err(failed)?;
    set_up(&mut conn, dialect).await.map_err(failed)?;
    if dialect == Dialect::Postgres {
        for setting in BY_INDEX {
            query(setting).execute(&mut conn).await.map_err(failed)?;
        }
        lock_database(&mut conn, name).await?;
    }
    Ok(conn)
}

async fn connect_readers(url: &str, dialect: Dialect, most: u32) -> Result<sqlx::AnyPool, OpenError> {
    let failed = |e: sqlx::Error| OpenError::Connect { reason: e.to_string() };
    let options = connect_options(url, dialect).map_err(failed)?;
    AnyPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |conn, _| Box::pin(set_up(conn, dialect)))
        .connect_with(options)
        .await
        .map_err(failed)
}

fn connect_options(url: &str, dialect: Dialect) -> sqlx::Result<AnyConnectOptions> {
    match dialect {
        // The file is made if it is not there.
        Dialect::Sqlite if !url.contains("mode=") => {
            let separator = if url.contains('?') { '&' } else { '?' };
            AnyConnectOptions::from_str(&format!("{url}{separator}mode=rwc"))
        }
        _ => AnyConnectOptions::from_str(url),
    }
}

const SQLITE_SETTINGS: [&str; 4] =
    ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA busy_timeout = 5000", "PRAGMA cache_size = -16000"];
const POSTGRES_SETTINGS: [&str; 3] = ["SET tcp_keepalives_idle = 10", "SET tcp_keepalives_interval = 5", "SET tcp_keepalives_count = 3"];

/// The writer's statements all find their rows by index. Plans are made when a table is small and kept while it grows; without this they would go on
/// reading all of it.
const BY_INDEX: [&str; 3] = ["SET enable_seqscan = off", "SET enable_hashjoin = off", "SET enable_mergejoin = off"];

/// SQLite: readers beside the writer (WAL), and a commit that is on the disk before it is answered (FULL). PostgreSQL: it notices within 25 s
/// that this end is gone, and lets go of the lock.
async fn set_up(conn: &mut AnyConnection, dialect: Dialect) -> sqlx::Result<()> {
    let settings: &[&'static str] = match dialect {
        Dialect::Sqlite => &SQLITE_SETTINGS,
        Dialect::Postgres => &POSTGRES_SETTINGS,
    };
    for setting in settings {
        query(*setting).fetch_all(&mut *conn).await?;
    }
    Ok(())
}

/// Tries for a while: PostgreSQL takes a moment to see that a server that has just ended is gone.
async fn take_lock(conn: &mut AnyConnection) -> sqlx::Result<bool> {
    for again in (0..LOCK_TRIES).rev() {
        let row = query(TAKE_LOCK).bind(LOCK_KEY).fetch_one(&mut *conn).await?;
        if row.int("taken")? != 0 {
            return Ok(true);
        }
        if again > 0 {
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }
    Ok(false)
}

async fn lock_database(conn: &mut AnyConnection, name: &str) -> Result<(), OpenError> {
    let unusable = |e: sqlx::Error| OpenError::Unusable { reason: e.to_string() };
    if !take_lock(conn).await.map_err(unusable)? {
        let holder =
            query(LOCK_HOLDER).bind(LOCK_KEY >> 32).bind(LOCK_KEY & 0xffff_ffff).fetch_optional(&mut *conn).await.map_err(unusable)?;
        let holder = holder.and_then(|row| row.text("holder").ok()).filter(|holder| !holder.is_empty());
        return Err(OpenError::Locked { holder: holder.unwrap_or_else(|| "another Muster server".to_owned()) });
    }
    // SET takes no parameters; the name is quoted by doubling its quotes.
    let quoted = name.replace('\'', "''");
    let statement = format!("SET application_name = 'the Muster server \"{quoted}\"'");
    query(AssertSqlSafe(statement)).execute(&mut *conn).await.map_err(unusable)?;
    Ok(())
}

//! Databases to measure on, each fresh: a directory, and for PostgreSQL a database of its own beside it.

use anyhow::{Context as _, Result};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Embedded.
    Sqlite,
    /// A server.
    Postgres,
}

impl Kind {
    /// Its word in the results.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A database that nobody has used yet, or one that a server has left.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// Which.
    pub(crate) kind: Kind,
    /// Its URL.
    pub(crate) url: String,
    /// Where its server keeps its files.
    pub(crate) dir: PathBuf,
}

/// Makes databases.
#[derive(Debug, Clone)]
pub(crate) struct Databases {
    /// On a disk that survives.
    pub(crate) dir: PathBuf,
    /// A PostgreSQL in which databases can be made.
    pub(crate) postgres: Option<String>,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Databases {
    /// Those that can be measured.
    #[must_use]
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let postgres = self.postgres.as_ref().map(|_| Kind::Postgres);
        std::iter::once(Kind::Sqlite).chain(postgres).collect()
    }

    /// A new one.
    ///
    /// # Errors
    /// Of the file system or the database.
    pub(crate) async fn fresh(&self, kind: Kind) -> Result<Database> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench_{}_{number}", std::process::id());
        let dir = self.dir.join(&name);
        std::fs::create_dir_all(dir.join("data"))?;
        let url = match (kind, &self.postgres) {
            (Kind::Postgres, Some(server)) => {
                let mut connection = AnyConnection::connect(server).await.context("connecting to PostgreSQL")?;
                sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
                let (before, _) = server.rsplit_once('/').context("the URL of PostgreSQL names no database")?;
                format!("{before}/{name}")
            }
            _ => sqlite_url(&dir.join("data/muster.db")),
        };
        Ok(Database { kind, url, dir })
    }
}

/// The URL of a file.
#[must_use]
pub(crate) fn sqlite_url(path: &Path) -> String {
    format!("sqlite://{}?mode=rwc", path.display())
}

impl Database {
    /// A connection as the server's writer has it: a commit is on the disk before it is answered.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn connect(&self) -> Result<AnyConnection> {
        let mut connection = AnyConnection::connect(&self.url).await?;
        if self.kind == Kind::Sqlite {
            for setting in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -16000"] {
                sqlx::query(setting).fetch_all(&mut connection).await?;
            }
        }
        Ok(connection)
    }

    /// The columns of a table.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn columns(&self, connection: &mut AnyConnection, table: &str) -> Result<Vec<String>> {
        let statement = match self.kind {
            Kind::Sqlite => "SELECT name AS name FROM pragma_table_info($1)",
            Kind::Postgres => "SELECT column_name::text AS name FROM information_schema.columns WHERE table_name = $1",
        };
        let rows = sqlx::query(statement).bind(table.to_owned()).fetch_all(connection).await?;
        Ok(rows.iter().map(|row| row.try_get("name")).collect::<sqlx::Result<_>>()?)
    }
}

//! A real PostgreSQL: the one of `TEST_POSTGRES_URL`, else a private one that lives as long as the suite.

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh");

static URL: OnceCell<Url> = OnceCell::const_new();
/// The directory by which a private one is stopped.
static PRIVATE: Mutex<Option<String>> = Mutex::new(None);
/// What was made in one that is not private.
static MADE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The PostgreSQL of the suite.
pub(crate) struct Postgres;

impl Postgres {
    /// Makes an empty database and answers its URL.
    pub(crate) async fn fresh_database() -> Result<String> {
        let server = URL.get_or_try_init(find).await?;
        let name = format!("it_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(server.as_str()).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
        let mut url = server.clone();
        url.set_path(&name);
        MADE.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        Ok(url.into())
    }
}

async fn find() -> Result<Url> {
    if let Ok(given) = std::env::var("TEST_POSTGRES_URL") {
        return given.parse().context("TEST_POSTGRES_URL is no URL");
    }
    let output = tokio::task::spawn_blocking(|| Command::new(SCRIPT).arg("start").stdin(Stdio::null()).output()).await??;
    anyhow::ensure!(output.status.success(), "PostgreSQL did not start: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (url, dir) = text.trim().split_once('\n').context("scripts/postgres.sh printed something else")?;
    *PRIVATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(dir.to_owned());
    Ok(url.parse()?)
}

pub(super) fn is_available() -> bool {
    std::env::var_os("TEST_POSTGRES_URL").is_some()
        || Command::new(SCRIPT).arg("find").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Removes what was made in a PostgreSQL that stays.
pub(super) async fn clean_up() {
    if PRIVATE.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        return;
    }
    let Some(url) = URL.get() else { return };
    let Ok(mut connection) = PgConnection::connect(url.as_str()).await else { return };
    let made = std::mem::take(&mut *MADE.lock().unwrap_or_else(PoisonError::into_inner));
    for name in made {
        let _ = sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).execute(&mut connection).await;
    }
}

/// Stops a private one.
pub(super) fn stop() {
    let dir = PRIVATE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(dir) = dir {
        let _ = Command::new(SCRIPT).args(["stop", &dir]).status();
    }
}

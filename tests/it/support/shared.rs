//! A server that the cases of a file share.

use super::{Cx, Http, Postgres, Server};
use anyhow::{Result, anyhow};
use std::fs;
use std::path::Path;
use tokio::sync::OnceCell;

/// Started by the first case that asks for it. Its cases keep apart by the names of what they make.
pub(crate) struct Shared {
    name: &'static str,
    settings: &'static str,
    on_postgres: bool,
    server: OnceCell<Result<Server, String>>,
}

impl Shared {
    /// One with the embedded database; `name` names its directory, `settings` are lines of its server.toml.
    pub(crate) const fn embedded(name: &'static str, settings: &'static str) -> Self {
        Self { name, settings, on_postgres: false, server: OnceCell::const_new() }
    }

    /// One on a fresh PostgreSQL database.
    pub(crate) const fn on_postgres(name: &'static str, settings: &'static str) -> Self {
        Self { name, settings, on_postgres: true, server: OnceCell::const_new() }
    }

    /// The server; its log is shown if the case fails.
    pub(crate) async fn get(&'static self, cx: &Cx) -> Result<&'static Server> {
        let dir = cx.shared_dir(self.name)?;
        let start = async || self.start(&dir).await.map_err(|error| format!("{error:#}"));
        let server = self.server.get_or_init(start).await;
        server.as_ref().map_err(|error| anyhow!("the shared server did not start: {error}"))
    }

    /// The local user of the server.
    pub(crate) async fn http(&'static self, cx: &Cx) -> Result<Http> {
        Ok(Http::new(self.get(cx).await?))
    }

    async fn start(&self, dir: &Path) -> Result<Server> {
        let config = dir.join("server.toml");
        fs::write(&config, self.settings)?;
        let server = Server::new(dir, "server")?.with_args(["--config".into(), config.into_os_string()]);
        if self.on_postgres {
            return server.with_args(["--database-url".to_owned(), Postgres::fresh_database().await?]).launch().await;
        }
        server.launch().await
    }
}

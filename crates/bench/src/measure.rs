//! What is measured, one file a measure.

mod a2a;
mod bytes;
mod creates;
mod freshness;
mod held;
mod list;
mod lives;
mod memory;
mod network;
mod raw;
mod registrations;
mod startup;
mod token;
mod viewer;

use crate::database::{Databases, Kind};
use crate::load::Plan;
use crate::opencode::OpenCode;
use crate::raw::http::Bare;
use crate::results::Run;
use crate::server::Server;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::time::Duration;

/// What every measure works with.
pub(crate) struct Bench {
    /// Where databases come from.
    pub(crate) databases: Databases,
    /// How long throughput is measured.
    pub(crate) plan: Plan,
    /// How long latencies are sampled.
    pub(crate) sampling: Duration,
    /// How much of the large measures is made: 1 for all of it.
    pub(crate) scale: f64,
    /// The bare handler.
    pub(crate) bare: Bare,
    /// The OpenCode program.
    pub(crate) opencode: Option<PathBuf>,
    /// For files.
    pub(crate) dir: PathBuf,
}

/// The measures by the names that `--only` knows.
pub(crate) const NAMES: [&str; 19] = [
    "raw",
    "lives",
    "creates",
    "registrations",
    "held",
    "list",
    "viewer",
    "bytes",
    "token",
    "freshness",
    "sends",
    "subscribers",
    "tasks",
    "events",
    "catchup",
    "coordination",
    "idlenet",
    "memory",
    "startup",
];

impl Bench {
    /// Runs a measure on all databases.
    ///
    /// # Errors
    /// If it could not be made; what it measured until then is kept.
    pub(crate) async fn run(&self, name: &str, run: &mut Run) -> Result<()> {
        match name {
            "raw" => return raw::run(self, run).await,
            "token" => return self.tokens(run).await,
            "freshness" => return self.freshness(run).await,
            _ => {}
        }
        for kind in self.databases.kinds() {
            eprintln!("{name} on {} ..", kind.as_str());
            match name {
                "lives" => lives::run(self, kind, run).await,
                "creates" => creates::run(self, kind, run).await,
                "registrations" => registrations::run(self, kind, run).await,
                "held" => held::run(self, kind, run).await,
                "list" => list::run(self, kind, run).await,
                "viewer" => viewer::run(self, kind, run).await,
                "bytes" => bytes::run(self, kind, run).await,
                "sends" => a2a::sends(self, kind, run).await,
                "subscribers" => a2a::subscribers(self, kind, run).await,
                "tasks" => a2a::tasks(self, kind, run).await,
                "events" => network::events(self, kind, run).await,
                "catchup" => network::catch_up(self, kind, run).await,
                "coordination" => network::coordination(self, kind, run).await,
                "idlenet" => network::idle(self, kind, run).await,
                "memory" => memory::run(self, kind, run).await,
                "startup" => startup::run(self, kind, run).await,
                _ => anyhow::bail!("there is no measure `{name}`; known: {}", NAMES.join(", ")),
            }
            .with_context(|| format!("{name} on {}", kind.as_str()))?;
        }
        Ok(())
    }

    /// How soon the registry shows what changes on a machine with OpenCode.
    async fn freshness(&self, run: &mut Run) -> Result<()> {
        let Some(program) = &self.opencode else {
            eprintln!("freshness: left out, there is no OpenCode");
            return Ok(());
        };
        eprintln!("freshness ..");
        let bare = OpenCode::start(program, &self.dir).await?;
        freshness::run(self, &bare, run).await.context("freshness")
    }

    /// The time to the first token, which needs OpenCode.
    async fn tokens(&self, run: &mut Run) -> Result<()> {
        let Some(program) = &self.opencode else {
            eprintln!("token: left out, there is no OpenCode");
            return Ok(());
        };
        let bare = OpenCode::start(program, &self.dir).await?;
        for kind in self.databases.kinds() {
            eprintln!("token on {} ..", kind.as_str());
            token::run(self, &bare, kind, run).await.with_context(|| format!("token on {}", kind.as_str()))?;
        }
        Ok(())
    }

    /// A server on a fresh database.
    async fn server(&self, kind: Kind) -> Result<Server> {
        Server::start(self.databases.fresh(kind).await?).await
    }

    /// A large number, or less of it in a short run.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a count")]
    fn scaled(&self, count: usize) -> usize {
        (count as f64 * self.scale).ceil() as usize
    }
}

/// The name of a raw limit beside a database's column.
fn raw_of(kind: Kind, what: &str) -> String {
    let database = match kind {
        Kind::Sqlite => "SQLite",
        Kind::Postgres => "PostgreSQL",
    };
    format!("{database}, {what}")
}

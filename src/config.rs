//! What the server runs with: `config/server.toml` (embedded) < a file < environment < command line, checked as a whole.
//!
//! [`Config::load`] finds all problems at once. What can only be known later (is there a token in the store? is the directory
//! writable?) is checked by `serve`.

mod args;
mod check;
mod layers;
mod settings;
mod values;

pub use args::ServeArgs;
pub use check::peer_url;

use crate::domain::federation::Shared;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Everything, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's name.
    pub name: String,
    /// Where the server keeps what is its own.
    pub data_dir: PathBuf,
    /// The address under which others reach it, if a proxy or a network is in front.
    pub public_url: Option<Url>,
    /// Whether nobody is asked for a token.
    pub insecure: bool,
    /// Where it listens.
    pub listen: Listen,
    /// The database.
    pub database: DatabaseConfig,
    /// What a caller may use.
    pub limits: Limits,
    /// How long a worker's rights last.
    pub leases: Leases,
    /// The worker agents; at least one, the first is the default.
    pub agents: Vec<AgentConfig>,
    /// Logging.
    pub log: LogConfig,
    /// A2A.
    pub a2a: A2aConfig,
    /// The network of servers.
    pub network: NetworkConfig,
    /// Coordinations.
    pub coordination: CoordinationConfig,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Each address; at least one.
    pub addresses: Vec<SocketAddr>,
    /// Whether they are the default ones: then `[::1]` is left out on a machine that has none.
    pub is_default: bool,
}

impl Listen {
    /// The addresses that other machines can reach.
    pub fn beyond_loopback(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().copied().filter(|address| !address.ip().to_canonical().is_loopback())
    }
}

/// The database. Its `Debug` and `Display` hide the password.
#[derive(Clone)]
pub struct DatabaseConfig {
    place: Place,
    /// Connections that read at the same time.
    pub readers: u32,
    /// How many writes may wait.
    pub queue: usize,
}

#[derive(Clone)]
enum Place {
    Sqlite(PathBuf),
    Postgres(SecretString),
}

impl DatabaseConfig {
    /// The embedded database in a file, with default sizes.
    #[must_use]
    pub fn sqlite(file: PathBuf) -> Self {
        Self { place: Place::Sqlite(file), readers: 4, queue: 10_000 }
    }

    /// A PostgreSQL database by its URL, with default sizes.
    #[must_use]
    pub fn postgres(url: &str) -> Self {
        Self { place: Place::Postgres(url.into()), readers: 4, queue: 10_000 }
    }

    /// The address with its password, for the driver only.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            // What would be read as the end of the path, or as an escape, is escaped.
            Place::Sqlite(file) => {
                let file = file.to_string_lossy();
                let file = file.replace('%', "%25").replace('?', "%3F").replace('#', "%23").replace(' ', "%20");
                format!("sqlite://{file}")
            }
            Place::Postgres(url) => url.expose_secret().to_owned(),
        }
    }

    /// The file of the embedded database.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(file) => Some(file),
            Place::Postgres(_) => None,
        }
    }
}

impl fmt::Display for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Sqlite(file) => write!(f, "SQLite, {}", file.display()),
            Place::Postgres(url) => match Url::parse(url.expose_secret()) {
                Ok(url) => write!(f, "PostgreSQL, {}{}", url.host_str().unwrap_or("local socket"), url.path()),
                Err(_) => f.write_str("PostgreSQL"),
            },
        }
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("place", &format_args!("{self}"))
            .field("readers", &self.readers)
            .field("queue", &self.queue)
            .finish()
    }
}

/// What a caller may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes.
    pub max_body: usize,
    /// How long an answer may take, except of long polls and streams.
    pub request_timeout: Duration,
    /// How many requests may be under way at once.
    pub max_requests: usize,
    /// How long a stop waits.
    pub shutdown_grace: Duration,
}

/// How long a worker's rights last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leases {
    /// How long an attempt stays a worker's without a sign of it.
    pub lease: Duration,
    /// How long a pull waits.
    pub wait: Duration,
    /// The lease of a plain worker.
    pub plain_lease: Duration,
    /// How long a task is kept for the plain worker that it was shown to.
    pub reservation: Duration,
    /// When a task whose worker is lost is given up.
    pub lost_after: Duration,
    /// When a silent worker is offline.
    pub offline_after: Duration,
}

/// A worker agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Its name, unique.
    pub name: String,
    /// What it is good at, for people and for its card.
    pub specialty: String,
    /// What OpenCode is told before the message.
    pub instructions: String,
    /// What a machine must have to get its work.
    pub capability: Option<String>,
    /// The model it works with.
    pub model: Option<String>,
}

/// The card that is answered to whoever says no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardForm {
    /// With the fields of 1.0 and of 0.3.
    Hybrid,
    /// With those of 1.0 alone.
    V1,
}

/// A2A.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "settings that do not depend on each other")]
pub struct A2aConfig {
    /// The card that is answered to whoever says no version.
    pub card: CardForm,
    /// Whether webhooks are taken, and told of their tasks.
    pub push_notifications: bool,
    /// Whether they may be in private networks and on this machine.
    pub webhooks_to_private: bool,
    /// Whether the default agent is the one that the official conformance kit talks to.
    pub conformance_agent: bool,
    /// The extension that callers must say they speak.
    pub required_extension: Option<String>,
    /// Whether gRPC is spoken.
    pub grpc: bool,
    /// How often agents of others are looked at.
    pub agent_check: Duration,
    /// How long they may take to answer a message, or to name the task that it is.
    pub agent_answer: Duration,
}

/// The network of servers.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The servers to join.
    pub connect: Vec<Url>,
    /// What all servers of the network know and nobody else; none: only servers of this machine.
    pub key: Option<SecretString>,
    /// Which events other servers may see.
    pub shared: Shared,
}

/// How long the parts of a coordination are waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinationConfig {
    /// From its beginning; a message may ask for less.
    pub deadline: Duration,
    /// From when the machine of a part is lost.
    pub patience: Duration,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One object a line.
    Json,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `level` or `target=level,..`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether requests and answers are logged with their bodies.
    pub http: bool,
}

/// All that is wrong with a configuration, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// What the configuration takes from its surroundings; passed in, so that tests need not change the process.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The machine's host name.
    pub host: String,
    /// The user's data directory, if there is one.
    pub user_data_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { env: env.collect(), host, user_data_dir: dirs::data_dir() }
    }
}

impl Config {
    /// Reads all layers and checks them.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(args: &ServeArgs, around: &Surroundings) -> Result<Self, ConfigError> {
        let file = match &args.config {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    ConfigError(vec![format!("cannot read the configuration file {}: {error}; check --config", path.display())])
                })?;
                Some((path.as_path(), text))
            }
        };
        let layers =
            layers::Layers { file: file.as_ref().map(|(path, text)| (*path, text.as_str())), env: &around.env, flags: args.layer() };
        let mut layered = layers::layered(&layers);
        let mut problems = std::mem::take(&mut layered.problems);
        let (config, wrong) = layered.settings.take().map(|settings| check::check(settings, around)).unwrap_or_default();
        problems.extend(wrong.into_iter().map(|(key, problem)| match layered.source(&key) {
            Some(source) => format!("`{key}` in {source}: {problem}"),
            None => format!("`{key}`: {problem}"),
        }));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError(problems)),
        }
    }
}

#[cfg(test)]
mod tests;

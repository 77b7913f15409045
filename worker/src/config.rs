//! Options: the embedded default, then the configuration file, then the environment, then the command line.
//! All problems are found at once, one line each.

mod layers;

use crate::policy::Limits;
use clap::Parser;
use layers::Reader;
use secrecy::SecretString;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `config/worker.toml`: every option with its default and meaning.
pub const DEFAULTS: &str = include_str!("../../config/worker.toml");

/// Runs tasks of a Muster server in the OpenCode of this machine.
///
/// Every option can also be given by the environment (MUSTER_SERVER, MUSTER_NAME, ..) and in a configuration file;
/// config/worker.toml lists them all.
#[derive(Debug, Default, Clone, Parser)]
#[expect(clippy::doc_markdown, reason = "shown as help on the command line, where backticks are noise")]
#[command(name = "muster-worker", version)]
pub struct Flags {
    /// The address of the Muster server [env: MUSTER_SERVER]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// The name of this machine; its host name if not given [env: MUSTER_NAME]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A directory that tasks can be run in; may be given several times [env: MUSTER_CODEBASES, separated by commas]
    #[arg(long = "codebase", value_name = "NAME=PATH")]
    pub codebases: Vec<String>,
    /// How many tasks run at once [env: MUSTER_SLOTS]
    #[arg(long, value_name = "N")]
    pub slots: Option<String>,
    /// A label by which tasks can ask for this machine; may be given several times [env: MUSTER_LABELS]
    #[arg(long = "label", value_name = "K=V")]
    pub labels: Vec<String>,
    /// The OpenCode program [env: MUSTER_OPENCODE]
    #[arg(long, value_name = "PATH")]
    pub opencode: Option<String>,
    /// A configuration file [env: MUSTER_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where identity and spool are kept [env: MUSTER_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// The token for the server; the environment is the better place, since others can see command lines [env: MUSTER_TOKEN]
    #[arg(long, value_name = "T")]
    pub token: Option<String>,
    /// OpenCode with a home of its own, offline, without the user's configuration [env: MUSTER_ISOLATED]
    #[arg(long)]
    pub isolated: bool,
    /// Which OpenCode sessions of this machine the server is told of: `all`, `own` (those that Muster began) or `none` [env: MUSTER_SESSIONS_SHARE]
    #[arg(long, value_name = "WHICH")]
    pub share_sessions: Option<String>,
    /// Configuration for OpenCode, as JSON [env: MUSTER_OPENCODE_CONFIG]
    #[arg(long, value_name = "JSON")]
    pub opencode_config: Option<String>,
    /// `human` or `json` [env: MUSTER_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Which sessions the server is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All on this machine.
    All,
    /// Those that Muster began.
    Own,
    /// None.
    None,
}

/// What the server is told of OpenCode's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// Which.
    pub share: Share,
    /// Of those changed in the last so many days the messages, too.
    pub days: u32,
}

/// A configured codebase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodebaseSetting {
    /// Its name.
    pub name: String,
    /// Its absolute path.
    pub path: PathBuf,
    /// What it is.
    pub description: String,
    /// How many writing tasks may run in it at once.
    pub parallel: u32,
}

/// Where the options came from, to read them again. Not printed: the environment has secrets.
#[derive(Clone)]
pub struct Origin(std::sync::Arc<(Flags, BTreeMap<String, String>)>);

impl Origin {
    /// The configuration file, if there is one, or the place where one may appear.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        layers::place(&self.0.0, &self.0.1)
    }

    /// Reads and checks all options again.
    ///
    /// # Errors
    /// Every problem, one line each.
    pub fn load(&self) -> Result<Config, Vec<String>> {
        load(&self.0.0, &self.0.1)
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Origin")
    }
}

/// The options, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's address.
    pub server: String,
    /// The token for the server.
    pub token: Option<SecretString>,
    /// This machine's name for people.
    pub name: String,
    /// This machine's host name.
    pub hostname: String,
    /// The home directory: the global codebase.
    pub home: PathBuf,
    /// Where identity and spool are kept.
    pub state_dir: PathBuf,
    /// How many tasks run at once.
    pub slots: u32,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Codebases besides the global one.
    pub codebases: Vec<CodebaseSetting>,
    /// The OpenCode program, if given.
    pub opencode: Option<PathBuf>,
    /// Whether OpenCode has a home of its own.
    pub isolated: bool,
    /// Configuration for OpenCode.
    pub opencode_config: Option<Value>,
    /// Environment variables passed to OpenCode.
    pub pass_env: Vec<String>,
    /// Whether the bash calls of OpenCode are marked.
    pub mark_processes: bool,
    /// What one run may take.
    pub limits: Limits,
    /// What the server is told of OpenCode's sessions.
    pub sessions: Sessions,
    /// How long running tasks may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// How often codebases are looked at.
    pub refresh: Duration,
    /// How often models are read.
    pub models_refresh: Duration,
    /// How many bytes the spool may have.
    pub spool_max_bytes: u64,
    /// How long OpenCode may give no sign of life.
    pub opencode_silence: Duration,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Where all this came from.
    pub origin: Origin,
}

/// The process's environment, as far as it is text.
#[must_use]
pub fn system_env() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Reads and checks all options.
///
/// # Errors
/// Every problem, one line each.
pub fn load(flags: &Flags, env: &BTreeMap<String, String>) -> Result<Config, Vec<String>> {
    let mut reader = layers::read(flags, env)?;
    let config = assemble(&mut reader, env, Origin(std::sync::Arc::new((flags.clone(), env.clone()))));
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

fn assemble(reader: &mut Reader, env: &BTreeMap<String, String>, origin: Origin) -> Config {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let home = home(reader, env);
    let name = match reader.text("name") {
        name if name.is_empty() => hostname.clone(),
        name => name,
    };
    if !(1..=128).contains(&name.len()) || name.chars().any(char::is_control) {
        reader.problem(format!("name: `{}` must have 1 to 128 characters, without control characters", name.escape_debug()));
    }
    let isolated = reader.get::<bool>("isolated").unwrap_or_default();
    let pass_env = reader.get(if isolated { "isolated_pass_env" } else { "pass_env" }).unwrap_or_default();
    Config {
        server: server(reader),
        token: Some(reader.text("token")).filter(|token| !token.is_empty()).map(SecretString::from),
        state_dir: state_dir(reader, &name),
        slots: reader.number("slots", 1, 1024),
        labels: reader.labels(),
        codebases: codebases(reader, &home),
        opencode: Some(reader.text("opencode")).filter(|path| !path.is_empty()).map(|path| absolute(&expand(&path, &home))),
        isolated,
        opencode_config: reader.json("opencode_config"),
        pass_env,
        mark_processes: reader.get("mark_processes").unwrap_or_default(),
        limits: limits(reader),
        sessions: Sessions { share: share(reader), days: reader.number("sessions.days", 0, 36_500) },
        drain_timeout: reader.seconds("drain_timeout_s", 0, 86_400),
        refresh: reader.seconds("refresh_s", 1, 10),
        models_refresh: reader.seconds("models_refresh_s", 1, 86_400),
        spool_max_bytes: reader.number("spool_max_bytes", 1 << 20, u64::MAX),
        opencode_silence: reader.seconds("opencode_silence_s", 11, 3_600),
        log: reader.text("log"),
        log_format: log_format(reader),
        origin,
        name,
        hostname,
        home,
    }
}

fn limits(reader: &mut Reader) -> Limits {
    let week = 7 * 86_400;
    Limits {
        wall: reader.seconds("limits.wall_s", 0, week),
        stall: reader.seconds("limits.stall_s", 0, week),
        retry_wait: reader.seconds("limits.retry_wait_s", 0, week),
        steps: reader.number("limits.steps", 0, u32::MAX),
        unfinished_steps: reader.number("limits.unfinished_steps", 0, u32::MAX),
        compactions: reader.number("limits.compactions", 0, u32::MAX),
        tokens: reader.number("limits.tokens", 0, u64::MAX),
        cost_usd: reader.get::<f64>("limits.cost_usd").unwrap_or_default(),
        answer: reader.seconds("answer_timeout_s", 0, week),
    }
}

fn server(reader: &mut Reader) -> String {
    let server = reader.text("server");
    if let Err(error) = muster_protocol::client::Client::new(&server, None) {
        reader.problem(format!("server: {error}"));
    }
    server
}

fn home(reader: &mut Reader, env: &BTreeMap<String, String>) -> PathBuf {
    let home = env.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).or_else(dirs::home_dir).unwrap_or_default();
    if !home.is_absolute() {
        reader.problem("HOME is not set to an absolute path; set it to the home directory of the user that the worker runs as".to_owned());
    }
    home
}

fn state_dir(reader: &mut Reader, name: &str) -> PathBuf {
    let given = reader.text("state_dir");
    if !given.is_empty() {
        return absolute(Path::new(&given));
    }
    let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    if let Some(base) = dirs::state_dir().or_else(dirs::data_local_dir) {
        base.join("muster").join("workers").join(safe.trim_start_matches('.'))
    } else {
        reader.problem("state_dir: there is no default here; give one with --state-dir".to_owned());
        PathBuf::new()
    }
}

fn log_format(reader: &mut Reader) -> LogFormat {
    match reader.text("log_format").as_str() {
        "human" => LogFormat::Human,
        "json" => LogFormat::Json,
        other => {
            reader.problem(format!("log_format: `{other}` is neither `human` nor `json`"));
            LogFormat::Human
        }
    }
}

fn share(reader: &mut Reader) -> Share {
    match reader.text("sessions.share").as_str() {
        "all" => Share::All,
        "own" => Share::Own,
        "none" => Share::None,
        other => {
            reader.problem(format!("sessions.share: `{other}` is neither `all` nor `own` nor `none`"));
            Share::None
        }
    }
}

fn codebases(reader: &mut Reader, home: &Path) -> Vec<CodebaseSetting> {
    let mut settings = reader.codebases();
    for setting in &mut settings {
        setting.path = absolute(&expand(&setting.path.to_string_lossy(), home));
        if setting.name == muster_protocol::codebase::GLOBAL_NAME {
            reader.problem("codebases: the name `global` is taken by the home directory; choose another one".to_owned());
        }
        if setting.name.is_empty() || setting.name.chars().any(char::is_control) {
            reader.problem(format!("codebases: `{}` is no usable name", setting.name.escape_debug()));
        }
    }
    settings
}

/// A path with `~` for the home directory.
fn expand(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

fn absolute(path: &Path) -> PathBuf {
    // Without `..` and `.`, as far as that needs no look at the disk: the path is the codebase's key at the server.
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.components().collect())
}

#[cfg(test)]
mod tests;

//! From what was written to what is meant, with every problem told.

use super::settings::{
    A2aSettings, AgentSettings, CoordinationSettings, DatabaseSettings, LeaseSettings, LimitSettings, LogSettings, NetworkSettings,
    Settings,
};
use super::values::{duration, is_name, listen_address, name_from_host, size};
use super::{
    A2aConfig, AgentConfig, CardForm, Config, CoordinationConfig, DatabaseConfig, Leases, Limits, Listen, LogConfig, LogFormat,
    NetworkConfig, Surroundings,
};
use crate::domain::federation::Shared;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Problems found so far: the key and what is wrong.
struct Problems(Vec<(String, String)>);

impl Problems {
    fn tell(&mut self, key: &str, problem: impl std::fmt::Display) {
        self.0.push((key.to_owned(), problem.to_string()));
    }

    /// The value, or the problem told.
    fn take<T>(&mut self, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|problem| self.tell(key, problem)).ok()
    }

    /// A duration above zero.
    fn duration(&mut self, key: &str, text: &str) -> Option<Duration> {
        let value = duration(text).and_then(|d| if d.is_zero() { Err("must be longer than zero".to_owned()) } else { Ok(d) });
        self.take(key, value)
    }
}

/// Checks everything, and tells what is wrong: the key and a sentence.
pub(super) fn check(settings: Settings, around: &Surroundings) -> (Option<Config>, Vec<(String, String)>) {
    let mut problems = Problems(Vec::new());
    let config = config(settings, around, &mut problems);
    (config, problems.0)
}

fn config(settings: Settings, around: &Surroundings, problems: &mut Problems) -> Option<Config> {
    let name = server_name(&settings.name, around, problems);
    let data_dir = data_dir(&settings, around, problems);
    let listen = listen(&settings, problems);
    let public_url = public_url(&settings.public_url, problems);
    let database = data_dir.as_deref().and_then(|dir| database(&settings.database, dir, problems));
    let limits = limits(&settings.limits, problems);
    let leases = leases(&settings.leases, problems);
    let agents = agents(settings.agents, problems);
    let log = log(settings.log, problems);
    let a2a = a2a(&settings.a2a, problems);
    let network = network(settings.network, problems);
    let coordination = coordination(&settings.coordination, problems);
    Some(Config {
        name: name?,
        data_dir: data_dir?,
        public_url: public_url?,
        insecure: settings.insecure,
        listen,
        database: database?,
        limits: limits?,
        leases: leases?,
        agents,
        log: log?,
        a2a: a2a?,
        network: network?,
        coordination,
    })
}

fn server_name(name: &str, around: &Surroundings, problems: &mut Problems) -> Option<String> {
    match name {
        "" => Some(name_from_host(&around.host)),
        name if is_name(name) => Some(name.to_owned()),
        name => {
            problems.tell("name", format_args!("`{name}` cannot be a name; use 1 to 64 of A-Z a-z 0-9 . _ -"));
            None
        }
    }
}

/// The directory is named by the name that was *set*, so that a new host name does not lose the data.
fn data_dir(settings: &Settings, around: &Surroundings, problems: &mut Problems) -> Option<PathBuf> {
    if !settings.data_dir.is_empty() {
        return Some(absolute(&settings.data_dir));
    }
    let Some(user) = &around.user_data_dir else {
        problems.tell("data_dir", "this user has no data directory (is HOME set?); give one with --data-dir");
        return None;
    };
    let name = if settings.name.is_empty() { "default" } else { &settings.name };
    Some(user.join("muster").join("servers").join(name))
}

/// Also a relative path stays the same wherever the process goes.
fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

fn listen(settings: &Settings, problems: &mut Problems) -> Listen {
    if settings.listen.is_empty() {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, settings.port));
        return Listen { addresses: vec![v4, v6], is_default: true };
    }
    let mut addresses = Vec::new();
    for text in &settings.listen {
        match problems.take("listen", listen_address(text)) {
            Some(address) if address.port() != 0 && addresses.contains(&address) => {
                problems.tell("listen", format_args!("{address} is there twice; leave one out"));
            }
            address => addresses.extend(address),
        }
    }
    Listen { addresses, is_default: false }
}

/// The outer `None` is a problem, the inner one is no public address.
#[expect(clippy::option_option, reason = "the two are different things")]
fn public_url(text: &str, problems: &mut Problems) -> Option<Option<Url>> {
    if text.is_empty() {
        return Some(None);
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none() => {
            Some(Some(url))
        }
        _ => {
            problems.tell("public_url", "must be an http or https address without user and password, such as https://muster.example.com");
            None
        }
    }
}

fn database(settings: &DatabaseSettings, data_dir: &Path, problems: &mut Problems) -> Option<DatabaseConfig> {
    if !(1..=64).contains(&settings.readers) {
        problems.tell("database.readers", "must be 1 to 64");
    }
    if settings.queue == 0 {
        problems.tell("database.queue", "must be at least 1");
    }
    let mut config = problems.take("database.url", database_url(&settings.url, data_dir))?;
    config.readers = settings.readers;
    config.queue = settings.queue as usize;
    Some(config)
}

/// The messages never show the address: it may hold a password.
fn database_url(text: &str, data_dir: &Path) -> Result<DatabaseConfig, String> {
    if text.is_empty() {
        return Ok(DatabaseConfig::sqlite(data_dir.join("muster.db")));
    }
    if let Some(rest) = text.strip_prefix("sqlite:") {
        let file = rest.strip_prefix("//").unwrap_or(rest);
        return match file {
            "" | ":memory:" | "/" => Err("names no file; write sqlite:/path/to/muster.db, or leave it empty".to_owned()),
            file if file.contains('?') => Err("options after `?` are not possible for SQLite; write sqlite:/path/to/muster.db".to_owned()),
            file => Ok(DatabaseConfig::sqlite(absolute(file))),
        };
    }
    let url = Url::parse(text).map_err(|_| "must be postgres://user:password@host/database or sqlite:/path/to/file".to_owned())?;
    match url.scheme() {
        "postgres" | "postgresql" if url.path().len() > 1 => Ok(DatabaseConfig::postgres(text)),
        "postgres" | "postgresql" => Err("names no database; write postgres://user:password@host/database".to_owned()),
        other => Err(format!("{other}:// is not supported; use postgres:// or sqlite:")),
    }
}

fn limits(settings: &LimitSettings, problems: &mut Problems) -> Option<Limits> {
    const SMALLEST_BODY: usize = 64 << 10;
    let max_body = size(&settings.max_body).and_then(|size| {
        if size < SMALLEST_BODY { Err("must be at least 64 KiB: workers report in batches".to_owned()) } else { Ok(size) }
    });
    let max_body = problems.take("limits.max_body", max_body);
    let request_timeout = problems.duration("limits.request_timeout", &settings.request_timeout);
    let shutdown_grace = problems.duration("limits.shutdown_grace", &settings.shutdown_grace);
    if settings.max_requests == 0 {
        problems.tell("limits.max_requests", "must be at least 1");
    }
    Some(Limits {
        max_body: max_body?,
        request_timeout: request_timeout?,
        max_requests: settings.max_requests as usize,
        shutdown_grace: shutdown_grace?,
    })
}

fn leases(settings: &LeaseSettings, problems: &mut Problems) -> Option<Leases> {
    let lease = problems.duration("leases.lease", &settings.lease);
    let wait = problems.duration("leases.wait", &settings.wait);
    let plain_lease = problems.duration("leases.plain_lease", &settings.plain_lease);
    let reservation = problems.duration("leases.reservation", &settings.reservation);
    let lost_after = problems.duration("leases.lost_after", &settings.lost_after);
    let offline_after = problems.duration("leases.offline_after", &settings.offline_after);
    let leases = Leases {
        lease: lease?,
        wait: wait?,
        plain_lease: plain_lease?,
        reservation: reservation?,
        lost_after: lost_after?,
        offline_after: offline_after?,
    };
    if leases.wait > leases.lease / 3 {
        problems.tell("leases.wait", format_args!("{:?} is more than a third of leases.lease ({:?})", leases.wait, leases.lease));
    }
    if leases.lost_after < leases.lease {
        problems.tell("leases.lost_after", "must not be shorter than leases.lease");
    }
    if leases.offline_after < leases.lease {
        problems.tell("leases.offline_after", "must not be shorter than leases.lease");
    }
    Some(leases)
}

fn agents(settings: Vec<AgentSettings>, problems: &mut Problems) -> Vec<AgentConfig> {
    const BUILT_IN: [&str; 2] = ["coordinator", "monitor"];
    if settings.is_empty() {
        problems.tell("agents", "there must be at least one; leave [[agents]] out to have the default ones");
    }
    let mut agents: Vec<AgentConfig> = Vec::new();
    for (i, agent) in settings.into_iter().enumerate() {
        let name = &agent.name;
        if !is_name(name) {
            problems.tell(&format!("agents[{i}].name"), format_args!("`{name}` cannot be a name; use 1 to 64 of A-Z a-z 0-9 . _ -"));
        } else if BUILT_IN.contains(&name.as_str()) || agents.iter().any(|other| other.name == *name) {
            problems.tell(&format!("agents[{i}].name"), format_args!("`{name}` is taken; choose another"));
        }
        if !agent.model.is_empty() && !agent.model.contains('/') {
            problems.tell(&format!("agents[{i}].model"), format_args!("`{}` must be written as provider/model", agent.model));
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        agents.push(AgentConfig {
            name: agent.name,
            specialty: agent.specialty,
            instructions: agent.instructions,
            capability: some(agent.capability),
            model: some(agent.model),
        });
    }
    agents
}

fn a2a(settings: &A2aSettings, problems: &mut Problems) -> Option<A2aConfig> {
    let card = match settings.card.as_str() {
        "hybrid" => CardForm::Hybrid,
        "1.0" => CardForm::V1,
        other => {
            problems.tell("a2a.card", format_args!("`{other}` is unknown; use hybrid or 1.0"));
            return None;
        }
    };
    let required_extension = Some(settings.required_extension.trim().to_owned()).filter(|uri| !uri.is_empty());
    if required_extension.as_ref().is_some_and(|uri| uri.contains([',', ' ']) || !uri.is_ascii()) {
        problems.tell("a2a.required_extension", "must be one URI");
    }
    let agent_check = problems.duration("a2a.agent_check", &settings.agent_check)?;
    let agent_answer = problems.duration("a2a.agent_answer", &settings.agent_answer)?;
    Some(A2aConfig {
        agent_check,
        agent_answer,
        card,
        push_notifications: settings.push_notifications,
        webhooks_to_private: settings.webhooks_to_private,
        conformance_agent: settings.conformance_agent,
        required_extension,
        grpc: settings.grpc,
    })
}

fn coordination(settings: &CoordinationSettings, problems: &mut Problems) -> CoordinationConfig {
    // What the parts were begun with is remembered for a day.
    const LONGEST_S: u32 = 12 * 60 * 60;
    for (key, seconds) in [("coordination.deadline_s", settings.deadline_s), ("coordination.patience_s", settings.patience_s)] {
        if !(1..=LONGEST_S).contains(&seconds) {
            problems.tell(key, format_args!("must be 1 to {LONGEST_S} seconds"));
        }
    }
    let seconds = |n: u32| Duration::from_secs(n.into());
    CoordinationConfig { deadline: seconds(settings.deadline_s), patience: seconds(settings.patience_s) }
}

fn log(settings: LogSettings, problems: &mut Problems) -> Option<LogConfig> {
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&settings.filter) {
        problems.tell("log.filter", format_args!("`{}` is no filter ({error}); write for example info or muster=debug", settings.filter));
    }
    let format = match settings.format.as_str() {
        "human" => LogFormat::Human,
        "json" => LogFormat::Json,
        other => {
            problems.tell("log.format", format_args!("`{other}` is unknown; use human or json"));
            return None;
        }
    };
    Some(LogConfig { filter: settings.filter, format, http: settings.http })
}

/// The shortest key of a network: shorter ones are guessed.
const SHORTEST_KEY: usize = 16;

fn network(settings: NetworkSettings, problems: &mut Problems) -> Option<NetworkConfig> {
    let mut connect = Vec::new();
    for text in settings.connect.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        match peer_url(text) {
            Ok(url) if connect.contains(&url) => {}
            Ok(url) => connect.push(url),
            Err(problem) => problems.tell("network.connect", problem),
        }
    }
    let key = match settings.key.len() {
        0 => None,
        length if length < SHORTEST_KEY => {
            problems
                .tell("network.key", format_args!("must have {SHORTEST_KEY} characters or more; `openssl rand -hex 32` makes a good one"));
            None
        }
        _ => Some(settings.key.into()),
    };
    let shared = problems.take("network.share", Shared::new(&settings.share))?;
    Some(NetworkConfig { connect, key, shared })
}

/// The address of a server, without a slash at its end; `host:port` is enough.
///
/// # Errors
/// What is wrong with it.
pub fn peer_url(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|e| format!("`{text}` is no address of a server: {e}; write http://host:port"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{text}` is no address of a server; write http://host:port, without user and password"));
    }
    Ok(url)
}

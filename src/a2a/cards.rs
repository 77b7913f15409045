//! What the cards of this server and of its agents say.

use super::asked::Asked;
use super::error::{A2aError, Outcome};
use crate::agents::{Agent, Machine, NoCard};
use crate::app::App;
use crate::auth::local::Connection;
use crate::domain::foreign::{ForeignCard, ForeignSelf, has_extended};
use crate::error::ApiError;
use crate::presence::is_there;
use crate::store::codebases::CodebaseFilter;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};
use muster_protocol::a2a::{
    AgentCapabilities, AgentCard, AgentExtension, AgentInterface, AgentProvider, AgentSkill, ErrorKind, HttpScheme, Metadata,
    SecurityRequirement, SecurityScheme, StringList, binding,
};
use muster_protocol::codebase::{Codebase, CodebaseStatus};
use muster_protocol::peer::Peer;
use serde_json::json;
use std::collections::BTreeMap;
use url::Url;

/// The name of the scheme of the tokens.
const TOKEN: &str = "token";
/// The extension that lists the servers of the network.
const NETWORK: &str = "urn:muster:network";
/// How many models a description names.
const MODELS_NAMED: usize = 8;
const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

/// The server's address as its callers see it: as configured, else as they address it; without a slash at its end.
pub(super) fn base(app: &App, uri: &Uri, headers: &HeaderMap, connection: Option<&Connection>) -> String {
    if let Some(url) = &app.config.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let named = headers.get(HOST).and_then(|host| host.to_str().ok()).or_else(|| uri.authority().map(Authority::as_str));
    let host = named.filter(|host| Url::parse(&format!("http://{host}")).is_ok_and(|url| url.path() == "/" && url.username().is_empty()));
    let listener = connection.map(|connection| connection.listener.to_string());
    let host = host.map(str::to_owned).or(listener).unwrap_or_else(|| "localhost".to_owned());
    format!("http://{host}")
}

/// The address for gRPC, host and port. A server below a path has none.
fn grpc_address(base: &str) -> Option<String> {
    let url = Url::parse(base).ok().filter(|url| url.path() == "/")?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// A card under way: everything but who it is and what it can do. Without an agent it is the server's.
fn blank(app: &App, base: &str, agent: Option<&str>) -> AgentCard {
    let path = agent.map(|name| format!("/agents/{name}")).unwrap_or_default();
    let interface = |url: String, binding: &str, version: &str| AgentInterface {
        url,
        protocol_binding: binding.to_owned(),
        tenant: None,
        protocol_version: version.to_owned(),
    };
    let grpc = grpc_address(base).filter(|_| app.config.a2a.grpc);
    // One address for all: there an agent is chosen by what is sent along.
    let grpc = grpc.map(|url| AgentInterface { tenant: agent.map(str::to_owned), ..interface(url, binding::GRPC, "1.0") });
    let rpc = if path.is_empty() { format!("{base}/") } else { format!("{base}{path}") };
    let http = HttpScheme {
        description: "a token of this server (`muster token create --scope agent`); on its own machine none is needed".to_owned(),
        scheme: "Bearer".to_owned(),
        bearer_format: String::new(),
    };
    let requirement = SecurityRequirement { schemes: BTreeMap::from([(TOKEN.to_owned(), StringList::default())]) };
    let is_open = app.config.insecure || (app.config.public_url.is_none() && app.config.listen.beyond_loopback().next().is_none());
    AgentCard {
        supported_interfaces: [
            Some(interface(rpc.clone(), binding::JSONRPC, "1.0")),
            Some(interface(format!("{base}{path}"), binding::HTTP_JSON, "1.0")),
            grpc,
            Some(interface(rpc, binding::JSONRPC, "0.3")),
        ]
        .into_iter()
        .flatten()
        .collect(),
        provider: Some(AgentProvider { url: base.to_owned(), organization: "Muster".to_owned() }),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: AgentCapabilities {
            streaming: Some(true),
            push_notifications: Some(app.config.a2a.push_notifications),
            extensions: app.config.a2a.required_extension.iter().map(|uri| required(uri)).collect(),
            extended_agent_card: Some(true),
        },
        // Whoever declares a scheme must refuse those who do not follow it.
        security_schemes: if is_open { BTreeMap::new() } else { BTreeMap::from([(TOKEN.to_owned(), SecurityScheme::Http(http))]) },
        security_requirements: if is_open { Vec::new() } else { vec![requirement] },
        default_input_modes: vec![TEXT.to_owned(), JSON.to_owned()],
        default_output_modes: vec![TEXT.to_owned(), JSON.to_owned(), "text/x-diff".to_owned()],
        ..AgentCard::default()
    }
}

/// The servers that this one knows, for readers who know what that is: each with its name and state. None where there are none.
fn network_extension(peers: Vec<Peer>) -> Option<AgentExtension> {
    let list: Vec<_> = peers.into_iter().map(|peer| json!({ "name": peer.name, "url": peer.url, "state": peer.state })).collect();
    (!list.is_empty()).then(|| AgentExtension {
        uri: NETWORK.to_owned(),
        description: "The servers of the network".to_owned(),
        params: Metadata::from_iter([("peers".to_owned(), json!(list))]),
        ..AgentExtension::default()
    })
}

fn with(capabilities: AgentCapabilities, extension: Option<AgentExtension>) -> AgentCapabilities {
    AgentCapabilities { extensions: capabilities.extensions.into_iter().chain(extension).collect(), ..capabilities }
}

fn required(uri: &str) -> AgentExtension {
    AgentExtension { uri: uri.to_owned(), required: true, ..AgentExtension::default() }
}

fn skill(id: &str, name: &str, description: String, tags: &[&str]) -> AgentSkill {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    AgentSkill { id: id.to_owned(), name: name.to_owned(), description, tags, ..AgentSkill::default() }
}

impl App {
    /// The server's card: its own agents as skills, and (`everything`) the machines.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn server_card(&self, base: &str, everything: bool) -> Result<AgentCard, ApiError> {
        let name = &self.store.identity().name;
        let peers = everything.then(|| network_extension(crate::network::shown(self)));
        let mut skills: Vec<_> = self.own().iter().map(|agent| self.own_skill(agent)).collect();
        if everything {
            skills.extend(self.machines().await?.iter().map(machine_skill));
        }
        let blank = blank(self, base, None);
        Ok(AgentCard {
            name: name.clone(),
            description: format!(
                "{name} gives work to machines that run OpenCode. A message goes to the agent named in its metadata (`agent`), which also has an \
                 address of its own, {base}/agents/NAME; without a name its content decides."
            ),
            skills,
            capabilities: with(blank.capabilities, peers.flatten()),
            ..blank
        })
    }

    /// An agent's card.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn agent_card(&self, base: &str, agent: &Agent) -> Result<AgentCard, ApiError> {
        let name = self.agent_name(agent);
        let blank = blank(self, base, Some(&name));
        if let Agent::External(name) = agent {
            return self.external_card(name, blank).await;
        }
        let Agent::Machine(id, _) = agent else {
            let skill = self.own_skill(agent);
            return Ok(AgentCard { name, description: skill.description.clone(), skills: vec![skill], ..blank });
        };
        let machines = self.machines().await?;
        let machine =
            machines.into_iter().find(|machine| machine.worker.worker_id == *id).ok_or_else(|| ApiError::not_found("agent", &name))?;
        let filter = CodebaseFilter { worker: Some(id.clone()), ..CodebaseFilter::default() };
        let skills = self.codebases(&filter).await?.iter().map(codebase_skill).collect();
        Ok(AgentCard { name, description: describe(&machine), skills, ..blank })
    }

    /// The card of an agent of others, as this server speaks for it.
    async fn external_card(&self, name: &str, blank: AgentCard) -> Result<AgentCard, ApiError> {
        let agent = self.store.external_agent(name).await?.ok_or_else(|| ApiError::not_found("agent", name))?;
        let there = agent.health.reason.as_ref().map(|reason| format!(" (not there: {reason})")).unwrap_or_default();
        let ForeignCard { name, description, version, skills, .. } = agent.card;
        let description = format!("{description}{there}");
        let extended = has_extended(&agent.raw);
        Ok(spoken_for(&agent.name, ForeignSelf { name, description, version, skills }, extended, blank))
    }

    fn own_skill(&self, agent: &Agent) -> AgentSkill {
        let name = self.agent_name(agent);
        let (description, tag) = match agent {
            Agent::Monitor => ("Answers from the event log: workers, tasks, events".to_owned(), "monitor"),
            Agent::Coordinator => {
                ("Splits work among agents, which do their parts side by side, and says who did what".to_owned(), "coordinator")
            }
            Agent::Specialist(n) => (self.config.agents[*n].specialty.clone(), self.config.agents[*n].name.as_str()),
            Agent::Conformance => ("Does what the official conformance kit of A2A wants".to_owned(), "conformance"),
            Agent::Machine(..) => ("OpenCode on a machine".to_owned(), "machine"),
            Agent::External(_) => ("An agent of somebody else's".to_owned(), "external"),
        };
        skill(&name, &name, description, &["agent", tag])
    }
}

/// The card of an agent of others: what it says of itself, at this server's addresses.
fn spoken_for(name: &str, said: ForeignSelf, extended: bool, blank: AgentCard) -> AgentCard {
    let skills = said.skills.into_iter().map(|skill| AgentSkill {
        id: skill.id,
        name: skill.name,
        description: skill.description,
        tags: skill.tags,
        ..AgentSkill::default()
    });
    let capabilities = AgentCapabilities { extended_agent_card: Some(extended), ..blank.capabilities.clone() };
    AgentCard {
        name: name.to_owned(),
        description: said.description,
        version: said.version,
        skills: skills.collect(),
        capabilities,
        ..blank
    }
}

fn machine_skill(machine: &Machine) -> AgentSkill {
    skill(&machine.name, &machine.name, describe(machine), &["agent", "machine", "opencode"])
}

/// The machine, whether it is there, and its models.
fn describe(machine: &Machine) -> String {
    let worker = &machine.worker;
    let place = worker.hostname.as_deref().map(|host| format!(" on {host}")).unwrap_or_default();
    let there = if is_there(worker) { String::new() } else { format!(" ({})", worker.status) };
    let mut models: Vec<_> = worker.models.iter().map(|model| model.id.as_str()).collect();
    let more = models.len().saturating_sub(MODELS_NAMED);
    models.truncate(MODELS_NAMED);
    let models = match (models.is_empty(), more) {
        (true, _) => "it has told no models".to_owned(),
        (false, 0) => format!("models: {}", models.join(", ")),
        (false, more) => format!("models: {} and {more} more", models.join(", ")),
    };
    let chooses = "the message's metadata chooses `codebase`, `model` and `mode`";
    format!("OpenCode{place}{there}; {models}; {chooses}")
}

fn codebase_skill(codebase: &Codebase) -> AgentSkill {
    let there = if codebase.status == CodebaseStatus::Active { "" } else { " (offline)" };
    let what = match (codebase.is_global, codebase.description.is_empty()) {
        (true, true) => "Works in the home directory".to_owned(),
        (false, true) => format!("Works in {}", codebase.path),
        (_, false) => codebase.description.clone(),
    };
    skill(codebase.id.as_str(), &codebase.name, format!("{what}{there}"), &["codebase", "opencode"])
}

impl Asked {
    /// `GetExtendedAgentCard`: the card with everything, for callers who are known.
    ///
    /// # Errors
    /// Of the store; an agent that has left; an agent of others that has none, or answers with something else.
    pub(super) async fn extended_card(&self) -> Outcome<AgentCard> {
        let card = match &self.agent {
            None => self.app.server_card(&self.base, true).await,
            Some(Agent::External(name)) => match self.app.extended_card_of(name).await {
                Ok(said) => return Ok(spoken_for(name, said, true, blank(&self.app, &self.base, Some(name)))),
                Err(NoCard::Refused(error)) => Err(error),
                Err(NoCard::Undeclared) => {
                    return Err(A2aError::new(ErrorKind::UnsupportedOperation, format!("the agent {name} declares no extended card")));
                }
                Err(NoCard::Unset(reason)) => return Err(A2aError::new(ErrorKind::ExtendedAgentCardNotConfigured, reason)),
                Err(NoCard::Nonsense(reason)) => return Err(A2aError::new(ErrorKind::InvalidAgentResponse, reason)),
                Err(NoCard::Away(reason)) => return Err(A2aError::new(ErrorKind::Unavailable, reason)),
            },
            Some(agent) => self.app.agent_card(&self.base, agent).await,
        };
        card.map_err(|error| match error {
            ApiError::NotFound { .. } => {
                A2aError::new(ErrorKind::ExtendedAgentCardNotConfigured, "the agent has left, and its card with it")
            }
            other => other.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::grpc_address;

    #[test]
    fn an_address_of_grpc_has_a_port_and_no_path() {
        for (base, address) in [
            ("http://127.0.0.1:5001", Some("127.0.0.1:5001")),
            ("http://[::1]:5001", Some("[::1]:5001")),
            ("https://muster.example", Some("muster.example:443")),
            ("http://muster.example", Some("muster.example:80")),
            ("https://example.com/muster", None),
        ] {
            assert_eq!(grpc_address(base).as_deref(), address, "{base}");
        }
    }
}

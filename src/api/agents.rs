//! `/v1/agents`: the directory of agents, and agents of others. `GET /agents`: this server's agents and workers as cards of the earlier system.

use super::extract::{Json as Body, PathId, PathParam};
use crate::agents::AgentAddress;
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use muster_protocol::agent::{AddAgent, AgentEntry};
use muster_protocol::monitor::{EarlierCapabilities, EarlierCard, EarlierScheme, EarlierSkill, MonitorAgent, Provider};
use muster_protocol::worker::Done;

/// The name of an agent in the path.
#[derive(Debug, Clone)]
pub(crate) struct AgentName(String);

impl PathParam for AgentName {
    const NOUN: &'static str = "agent";

    fn parse(segment: &str) -> Option<Self> {
        Some(Self(segment.to_owned()))
    }
}

/// `GET /v1/agents`
#[utoipa::path(get, path = "/v1/agents", tag = "agents", summary = "List the agents",
    description = "This server's own agents, its machines, and agents of others, each with its address here and whether it is there.",
    responses((status = 200, body = Vec<AgentEntry>)))]
pub(crate) async fn directory(State(app): State<App>, _who: Principal, headers: HeaderMap) -> Result<Json<Vec<AgentEntry>>, ApiError> {
    Ok(Json(app.directory(&AgentAddress(base(&app, &headers))).await?))
}

/// `GET /v1/agents/{name}`
#[utoipa::path(get, path = "/v1/agents/{name}", tag = "agents", summary = "Get an agent",
    description = "An agent of the directory. Of an agent of others also its card, as it came.",
    params(("name" = String, Path)), responses((status = 200, body = AgentEntry), (status = 404)))]
pub(crate) async fn get(
    State(app): State<App>,
    _who: Principal,
    PathId(name): PathId<AgentName>,
    headers: HeaderMap,
) -> Result<Json<AgentEntry>, ApiError> {
    Ok(Json(app.directory_entry(&name.0, &AgentAddress(base(&app, &headers))).await?))
}

/// `POST /v1/agents`
#[utoipa::path(post, path = "/v1/agents", tag = "agents", summary = "Add an agent of others",
    description = "Reads the agent's card (A2A 1.0 or 0.3), checks it, and gives the agent an address here. The same again says anew what it is.",
    request_body = AddAgent,
    responses((status = 200, body = AgentEntry), (status = 409, description = "The name is another agent's"),
        (status = 422, description = "There is no card, or it cannot be believed: all that is wrong with it is said")))]
pub(crate) async fn add(
    State(app): State<App>,
    _who: Principal,
    headers: HeaderMap,
    Body(body): Body<AddAgent>,
) -> Result<Json<AgentEntry>, ApiError> {
    let agent = app.add_agent(body).await?;
    Ok(Json(app.directory_entry(&agent.name, &AgentAddress(base(&app, &headers))).await?))
}

/// `DELETE /v1/agents/{name}`
#[utoipa::path(delete, path = "/v1/agents/{name}", tag = "agents", summary = "Remove an agent of others",
    description = "Its tasks that have not ended fail (`agent_removed`), and the agent is asked to cancel them.",
    params(("name" = String, Path)), responses((status = 200, body = Done), (status = 404)))]
pub(crate) async fn remove(State(app): State<App>, _who: Principal, PathId(name): PathId<AgentName>) -> Result<Json<Done>, ApiError> {
    app.remove_agent(&name.0).await?;
    Ok(Json(Done { success: true, message: format!("the agent {} is removed", name.0) }))
}

/// The server's address as its callers see it.
fn base(app: &App, headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    app.config.public_url.as_ref().map_or_else(|| format!("http://{host}"), |url| url.as_str().trim_end_matches('/').to_owned())
}

/// `GET /agents`
#[utoipa::path(get, path = "/agents", tag = "agents", summary = "List the agents (earlier cards)",
    description = "Cards with the earlier system's fields. All share this server's address: a message names its agent in `metadata.agent`.",
    responses((status = 200, body = Vec<EarlierCard>)))]
pub(crate) async fn list(State(app): State<App>, _who: Principal, headers: HeaderMap) -> Result<Json<Vec<EarlierCard>>, ApiError> {
    let url = base(&app, &headers);
    let agents = app.monitored_agents().await?;
    Ok(Json(agents.into_iter().map(|agent| card(agent, &url)).collect()))
}

fn card(agent: MonitorAgent, url: &str) -> EarlierCard {
    let text = || vec!["text".to_owned()];
    EarlierCard {
        url: url.to_owned(),
        provider: Provider { organization: "Muster".to_owned(), url: url.to_owned() },
        capabilities: EarlierCapabilities::default(),
        authentication: vec![EarlierScheme {
            scheme: "Bearer".to_owned(),
            description: "a token of this server; on its own machine none is needed".to_owned(),
        }],
        skills: vec![EarlierSkill {
            id: "message".to_owned(),
            name: agent.name.clone(),
            description: agent.description.clone(),
            input_modes: text(),
            output_modes: text(),
        }],
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: agent.name,
        description: agent.description,
    }
}

//! `GET /agents`: this server's agents and workers as cards of the earlier system.

use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use muster_protocol::monitor::{EarlierCapabilities, EarlierCard, EarlierScheme, EarlierSkill, MonitorAgent, Provider};

/// `GET /agents`
#[utoipa::path(get, path = "/agents", tag = "agents", summary = "List the agents (earlier cards)",
    description = "Cards with the earlier system's fields. All share this server's address: a message names its agent in `metadata.agent`.",
    responses((status = 200, body = Vec<EarlierCard>)))]
pub(crate) async fn list(State(app): State<App>, _who: Principal, headers: HeaderMap) -> Result<Json<Vec<EarlierCard>>, ApiError> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let url = app.config.public_url.as_ref().map_or_else(|| format!("http://{host}"), |url| url.as_str().trim_end_matches('/').to_owned());
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

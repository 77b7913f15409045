//! Finding the card of an agent, and finding it again.

use crate::app::App;
use crate::domain::foreign::{self, ForeignCard, ForeignSelf};
use crate::error::ApiError;
use crate::store::external::ExternalAgent;
use muster_protocol::client::a2a::{A2aError, Agent, Fetched, fetch_card};
use serde_json::Value;
use url::Url;

/// Where cards are below an agent's address: of 1.0 and 0.3, and of 0.2.
const PLACES: [&str; 2] = [".well-known/agent-card.json", ".well-known/agent.json"];

/// A card that is believed.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is.
    pub(super) url: Url,
    pub(super) card: ForeignCard,
    pub(super) raw: Value,
    pub(super) etag: Option<String>,
}

/// What another look at an agent found.
pub(super) enum Look {
    /// It is there, as it was.
    Same,
    /// It is there, with a newer card.
    Newer(Box<Found>),
    /// There is a card, and it is another agent's or cannot be believed.
    Another(String),
    /// It is not there.
    Away(String),
}

/// Where the card of an agent may be.
pub(super) fn addresses(url: &Url) -> Vec<Url> {
    let mut base = url.clone();
    base.set_fragment(None);
    if base.path().to_ascii_lowercase().ends_with("json") {
        return vec![base];
    }
    base.set_query(None);
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    PLACES.iter().filter_map(|place| base.join(place).ok()).collect()
}

/// Reads the card at the first of these addresses that has one.
///
/// # Errors
/// Why there is none, or what is wrong with it.
pub(super) async fn find(addresses: &[Url], token: Option<&str>, other_host: bool) -> Result<Found, String> {
    let mut missing = Vec::new();
    for url in addresses {
        match fetch_card(url, token, None).await {
            Ok(Fetched::Card(raw, etag)) => {
                let card = foreign::read(&raw, url, other_host);
                let card = card.map_err(|wrong| format!("the card at {url} cannot be believed: {}", wrong.join("; ")))?;
                return Ok(Found { url: url.clone(), card, raw, etag });
            }
            Ok(Fetched::Same) => return Err(format!("{url} answered 304 to somebody who has no card yet")),
            Err(A2aError::Refused { status: 404 | 405 | 410, .. }) => missing.push(url.to_string()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("there is no agent card at {}", missing.join(" or ")))
}

/// Looks at an agent again.
pub(super) async fn look(agent: &ExternalAgent) -> Look {
    let (raw, etag) = match fetch_card(&agent.url, agent.token.as_deref(), agent.etag.as_deref()).await {
        // Of another one's card no tag is kept, so that this is about the one that is known.
        Ok(Fetched::Same) => return Look::Same,
        Ok(Fetched::Card(raw, etag)) => (raw, etag),
        Err(error) => return Look::Away(error.to_string()),
    };
    let card = match foreign::read(&raw, &agent.url, agent.other_host) {
        Ok(card) => card,
        Err(wrong) => return Look::Another(format!("its card cannot be believed any more: {}", wrong.join("; "))),
    };
    match foreign::is_same(&agent.card, &card) {
        Err(reason) => Look::Another(reason),
        Ok(()) if raw == agent.raw && etag == agent.etag => Look::Same,
        Ok(()) => Look::Newer(Box::new(Found { url: agent.url.clone(), card, raw, etag })),
    }
}

/// Why there is no extended card of an agent.
#[derive(Debug)]
pub enum NoCard {
    /// Its card says that it has none.
    Undeclared,
    /// It says that it has one and that none is set.
    Unset(String),
    /// It answered, and not with a card.
    Nonsense(String),
    /// It cannot be asked now.
    Away(String),
    /// This server cannot.
    Refused(ApiError),
}

impl App {
    /// What the extended card of an agent of others says of it. It is asked anew each time.
    ///
    /// # Errors
    /// [`NoCard`].
    pub async fn extended_card_of(&self, name: &str) -> Result<ForeignSelf, NoCard> {
        let agent = self.store.external_agent(name).await.map_err(|error| NoCard::Refused(error.into()))?;
        let agent = agent.ok_or_else(|| NoCard::Refused(ApiError::not_found("agent", name)))?;
        if !foreign::has_extended(&agent.raw) {
            return Err(NoCard::Undeclared);
        }
        if agent.health.is_another {
            return Err(NoCard::Away(format!("the agent {name} is not asked: {}", agent.health.reason.unwrap_or_default())));
        }
        let client = client_of(self, &agent).map_err(|error| NoCard::Away(error.to_string()))?;
        let raw = client.extended_card().await.map_err(|error| no_card(&error))?;
        let nonsense =
            |wrong: Vec<String>| NoCard::Nonsense(format!("the agent answered with something else than a card: {}", wrong.join("; ")));
        foreign::read_self(&raw).map_err(nonsense)
    }
}

fn no_card(error: &A2aError) -> NoCard {
    let said = error.to_string();
    match error {
        A2aError::Refused { code: -32007, .. } => NoCard::Unset(said),
        A2aError::Refused { code: -32004 | -32601, .. } => NoCard::Undeclared,
        error if error.is_passing() => NoCard::Away(said),
        _ => NoCard::Nonsense(said),
    }
}

/// What speaks with an agent.
///
/// # Errors
/// If no connection can be prepared.
pub(super) fn client_of(app: &App, agent: &ExternalAgent) -> Result<Agent, A2aError> {
    let card = &agent.card;
    let token = match agent.home {
        // A peer is shown what is made of the network's key.
        Some(home) => Some(app.network.key.token(app.store.identity().server_id, home).expose().to_owned()),
        None => agent.token.clone(),
    };
    Agent::new(card.url.clone(), card.dialect, card.tenant.clone(), token)
}

#[cfg(test)]
mod tests {
    use super::addresses;
    use url::Url;

    fn of(url: &str) -> Vec<String> {
        addresses(&Url::parse(url).unwrap()).into_iter().map(|url| url.to_string()).collect()
    }

    #[test]
    fn cards_are_looked_for_where_they_are_put() {
        let both = ["http://h/.well-known/agent-card.json", "http://h/.well-known/agent.json"];
        assert_eq!(of("http://h"), both);
        assert_eq!(of("http://h/agents/x")[0], "http://h/agents/x/.well-known/agent-card.json");
        assert_eq!(of("http://h/agents/x/")[0], "http://h/agents/x/.well-known/agent-card.json");
        assert_eq!(of("http://h/my/card.json?v=1#x"), ["http://h/my/card.json?v=1"]);
    }
}

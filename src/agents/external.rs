//! Agents of others: adding and removing them, looking whether they are there, and relaying messages to them.

mod answers;
mod card;
mod relay;
mod run;
mod send;
mod tell;

pub use card::NoCard;
pub use run::{Relays, relay_waiting};

use super::{Begun, Letter, Message};
use crate::app::App;
use crate::domain::health::Health;
use crate::domain::naming::{is_fit, unique_names};
use crate::error::ApiError;
use crate::store::StoreError;
use crate::store::external::{Added, EndOrphans, ExternalAgent, KeepHealth, MOST_EXTERNAL, PutAgent, RemoveAgent, holder_of};
use crate::tasks::Place;
use card::{Look, look};
use futures_util::StreamExt as _;
use muster_protocol::agent::AddAgent;
use muster_protocol::error::code;
use muster_protocol::task::{SubmitTask as Wanted, Target};
use url::Url;

/// The mode of a task that is relayed.
pub(super) const RELAYED_MODE: &str = "relay";
/// How many agents are looked at side by side.
const LOOKS: usize = 16;
const LONGEST_TOKEN: usize = 4_096;
/// How often an agent may be overtaken by others of its name while it is added.
const MOST_OVERTAKEN: usize = 32;

impl App {
    /// Adds an agent of others after a look at its card. The same again says anew what it is.
    ///
    /// # Errors
    /// [`ApiError`]: an address that is none, no card there, everything that is wrong with the card, a name that is taken.
    pub async fn add_agent(&self, wanted: AddAgent) -> Result<ExternalAgent, ApiError> {
        let url = address(&wanted.url)?;
        let bad_token = |token: &String| token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic());
        if wanted.token.as_ref().is_some_and(bad_token) {
            return Err(ApiError::invalid("token", format!("must have 1 to {LONGEST_TOKEN} printable ASCII characters without space")));
        }
        if wanted.name.as_deref().is_some_and(|name| !is_fit(name)) {
            return Err(ApiError::invalid("name", "must be 1 to 64 of A-Z a-z 0-9 . _ -, and not dots alone"));
        }
        let candidates = card::addresses(&url);
        let known = self.known_at(&candidates).await?;
        // What is known was meant for this place: it is shown to nobody else.
        let token = wanted.token.clone().or_else(|| known.and_then(|known| known.token));
        let found =
            card::find(&candidates, token.as_deref(), wanted.other_host).await.map_err(|reason| ApiError::invalid("url", reason))?;
        for _ in 0..MOST_OVERTAKEN {
            let known = self.known_at(&candidates).await?;
            let name = self.name_for(&wanted, known.as_ref(), &found.card.name).await?;
            let now = self.now();
            let agent = ExternalAgent {
                name,
                url: found.url.clone(),
                card: found.card.clone(),
                raw: found.raw.clone(),
                other_host: wanted.other_host,
                token: token.clone(),
                etag: found.etag.clone(),
                health: Health::up(now),
                home: None,
                created_at: known.as_ref().map_or(now, |known| known.created_at),
                updated_at: now,
            };
            match self.store.write(PutAgent { agent: agent.clone(), known: known.map(|known| known.url) }).await? {
                Added::Kept => return Ok(agent),
                Added::NoRoom => {
                    let message = format!("this server has {MOST_EXTERNAL} agents of others; remove some first");
                    return Err(ApiError::conflict(code::CONFLICT, message));
                }
                // Somebody else's was added in the same moment: this one gets the next name, or finds the wanted one taken.
                Added::Overtaken => {}
            }
        }
        Err(ApiError::conflict(code::CONFLICT, "too many agents of this name are added at once; add it again"))
    }

    /// The agent whose card is at one of these addresses.
    async fn known_at(&self, candidates: &[Url]) -> Result<Option<ExternalAgent>, StoreError> {
        let all = self.store.external_agents().await?;
        Ok(all.into_iter().find(|agent| candidates.contains(&agent.url)))
    }

    /// The name of an agent that is added: the one that it has, the one that is wanted, or one made of its card's.
    async fn name_for(&self, wanted: &AddAgent, known: Option<&ExternalAgent>, own: &str) -> Result<String, ApiError> {
        if let Some(known) = known {
            return match &wanted.name {
                Some(name) if *name != known.name => {
                    let message = format!("this agent is known as {}; remove it first to give it another name", known.name);
                    Err(ApiError::conflict(code::CONFLICT, message))
                }
                _ => Ok(known.name.clone()),
            };
        }
        let mut taken: Vec<_> = self.own().iter().flat_map(|agent| self.names_of(agent)).collect();
        taken.extend(self.store.agent_names().await?);
        taken.extend(self.machines().await?.into_iter().map(|machine| machine.name));
        match &wanted.name {
            Some(name) if taken.contains(name) => {
                Err(ApiError::conflict(code::CONFLICT, format!("there is an agent `{name}` already; choose another name")))
            }
            Some(name) => Ok(name.clone()),
            None => Ok(unique_names(&taken, [own]).pop().unwrap_or_default()),
        }
    }

    /// Removes an agent of others; its tasks that have not ended fail.
    ///
    /// # Errors
    /// 404.
    pub async fn remove_agent(&self, name: &str) -> Result<(), ApiError> {
        let removed = self.store.write(RemoveAgent { name: name.to_owned(), now: self.now() }).await?;
        if !removed {
            return Err(ApiError::not_found("external agent", name));
        }
        while self.store.write(EndOrphans { name: name.to_owned(), now: self.now() }).await? > 0 {}
        Ok(())
    }

    /// Makes a message a task that is relayed.
    pub(super) async fn relay_message(&self, letter: Letter<'_>, external: String) -> Result<Begun, ApiError> {
        let target = Target { agent: Some(external.clone()), ..Target::default() };
        let mut wanted = Wanted { mode: Some(RELAYED_MODE.to_owned()), model: None, ..letter.message.wanted(target) };
        // What was chosen is not for workers of this server.
        let Message { codebase, model, mode, .. } = letter.message;
        let chosen = [("codebase", codebase), ("model", model), ("mode", mode)];
        wanted.metadata.extend(chosen.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into()))));
        let place = Place { worker: Some(holder_of(&external)), ..Place::default() };
        let begun = self.take_in(letter, wanted, place, None).await?;
        run::relay_next(self, &external).await?;
        Ok(begun)
    }
}

/// Looks at the agents of others whose time it is.
///
/// # Errors
/// Of the store.
pub async fn look_at_agents(app: &App) -> Result<(), StoreError> {
    let (now, every) = (app.now(), app.config.a2a.agent_check);
    let mut due = app.store.external_agents().await?;
    due.retain(|agent| {
        let luck = agent.name.bytes().fold(0, |luck: u8, b| luck.wrapping_mul(31).wrapping_add(b));
        agent.health.is_due(every, luck, now)
    });
    let looks = futures_util::stream::iter(due).map(|agent| look_and_keep(app, agent)).buffer_unordered(LOOKS);
    tokio::select! {
        outcomes = looks.collect::<Vec<_>>() => outcomes.into_iter().collect(),
        () = app.life.stopping() => Ok(()),
    }
}

async fn look_and_keep(app: &App, mut agent: ExternalAgent) -> Result<(), StoreError> {
    let (fault, is_another) = match look(&agent).await {
        Look::Same => (None, false),
        Look::Newer(found) => {
            (agent.card, agent.raw, agent.etag) = (found.card, found.raw, found.etag);
            (None, false)
        }
        Look::Another(reason) => (Some(format!("{reason}; add it again to accept that")), true),
        Look::Away(reason) => (Some(reason), agent.health.is_another),
    };
    let now = app.now();
    let health = agent.health.seen(fault, is_another, now);
    let changed = health.up != agent.health.up;
    if changed {
        tracing::info!(agent = agent.name, up = health.up, reason = health.reason, "an agent of others came or went");
    }
    agent.health = health;
    app.store.write(KeepHealth { agent, changed, now }).await
}

fn address(text: &str) -> Result<Url, ApiError> {
    let url = Url::parse(text).map_err(|e| ApiError::invalid("url", format!("is no URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(ApiError::invalid("url", "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ApiError::invalid("url", "must not hold a credential; give that in `token`"));
    }
    Ok(url)
}

//! What every command needs: the connection, the streams, and how the data is wanted.

use super::DEFAULT_SERVER;
use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::shell_word;
use super::style::Style;
use muster_protocol::client::{Client, Page};
use muster_protocol::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many items a page has: as many as the server gives at most.
const PAGE: &str = "500";

/// One command being run.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) console: &'a mut Console,
    /// Whether the server's data is wanted instead of text for people.
    pub(crate) json: bool,
    /// `muster`, with what must be said again to reach the same server.
    pub(crate) program: String,
}

impl<'a> Session<'a> {
    pub(crate) fn new(server: &str, token: Option<String>, json: bool, console: &'a mut Console) -> Result<Self, Failure> {
        let server = if server.is_empty() { DEFAULT_SERVER } else { server };
        let is_known = server == DEFAULT_SERVER || std::env::var("MUSTER_SERVER").is_ok_and(|known| known == server);
        let program = if is_known { "muster".to_owned() } else { format!("muster --server {}", shell_word(server)) };
        let token = token.filter(|token| !token.is_empty());
        Ok(Self { client: Client::new(server, token)?, console, json, program })
    }

    /// Gets a route and prints it: as it came, or as `render` makes it.
    pub(crate) async fn show<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        render: impl FnOnce(T, &Console) -> String,
    ) -> Result<Exit, Failure> {
        let Page { text, next } = self.client.get_text(path, query).await?;
        if self.json {
            self.console.line(text.trim_end())?;
        } else {
            let text = render(self.client.read(&text)?, self.console);
            self.console.line(&text)?;
        }
        if next.is_some() && !query.iter().any(|(name, _)| *name == "limit") {
            self.console.note(Style::Warn, "There is more than the server gives at once; narrow the list.");
        }
        Ok(Exit::Done)
    }

    /// Gets a list page by page, and whether that is all of it.
    pub(crate) async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<(Vec<T>, bool), Failure> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..most {
            let mut query = [query, &[("limit", PAGE)]].concat();
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let Page { text, next } = self.client.get_text(path, &query).await?;
            all.extend(self.client.read::<Vec<T>>(&text)?);
            cursor = next;
            if cursor.is_none() {
                return Ok((all, true));
            }
        }
        Ok((all, false))
    }

    /// Prints an answer as one line of JSON.
    pub(crate) fn print_json(&mut self, answer: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(answer).map_err(|error| Failure::Other(error.to_string()))?;
        Ok(self.console.line(&line)?)
    }
}

/// The time by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

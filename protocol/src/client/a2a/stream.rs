//! The events of a stream of A2A.

use super::{A2aError, Dialect, broken, result_of};
use crate::a2a::{StreamResponse, v03};
use crate::client::sse::Parser;
use reqwest::Response;
use url::Url;

/// A stream of an agent, as it comes. It ends when the agent ends it.
pub struct Events {
    response: Response,
    parser: Parser,
    dialect: Dialect,
    url: Url,
}

impl Events {
    pub(super) fn new(response: Response, dialect: Dialect, url: Url) -> Self {
        Self { response, parser: Parser::default(), dialect, url }
    }

    /// The next event; `None` at the end. It may be given up and asked again: nothing is lost by that.
    ///
    /// # Errors
    /// [`A2aError`]: the connection broke, or the agent says that it cannot go on.
    pub async fn next(&mut self) -> Result<Option<StreamResponse>, A2aError> {
        loop {
            if let Some(message) = self.parser.next() {
                let value = serde_json::from_str(&message.data).map_err(|e| A2aError::Malformed(format!("an event is no JSON: {e}")))?;
                return Ok(Some(match self.dialect {
                    Dialect::OldRpc => result_of::<v03::Event>(value, self.dialect)?.into(),
                    _ => result_of(value, self.dialect)?,
                }));
            }
            let Some(chunk) = self.response.chunk().await.map_err(|e| broken(&self.url, &e))? else { return Ok(None) };
            self.parser.push(&chunk).map_err(|e| A2aError::Malformed(e.to_string()))?;
        }
    }
}

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
    /// Why what came last cannot be read, if that was found out too early to be said.
    fault: Option<A2aError>,
}

impl Events {
    pub(super) fn new(response: Response, dialect: Dialect, url: Url) -> Self {
        Self { response, parser: Parser::default(), dialect, url, fault: None }
    }

    /// The next event; `None` at the end. It may be given up and asked again: nothing is lost by that.
    ///
    /// # Errors
    /// [`A2aError`]: the connection broke, or the agent says that it cannot go on.
    pub async fn next(&mut self) -> Result<Option<StreamResponse>, A2aError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        loop {
            if let Some(message) = self.parser.next() {
                return self.read(&message.data).map(Some);
            }
            let Some(chunk) = self.response.chunk().await.map_err(|e| broken(&self.url, &e))? else { return Ok(None) };
            self.parser.push(&chunk).map_err(|e| A2aError::Malformed(e.to_string()))?;
        }
    }

    /// An event that has come already, if there is one; nothing is waited for.
    pub fn ready(&mut self) -> Option<StreamResponse> {
        if self.fault.is_some() {
            return None;
        }
        let message = self.parser.next()?;
        self.read(&message.data).map_err(|fault| self.fault = Some(fault)).ok()
    }

    fn read(&self, data: &str) -> Result<StreamResponse, A2aError> {
        let value = serde_json::from_str(data).map_err(|e| A2aError::Malformed(format!("an event is no JSON: {e}")))?;
        Ok(match self.dialect {
            Dialect::OldRpc => result_of::<v03::Event>(value, self.dialect)?.into(),
            _ => result_of(value, self.dialect)?,
        })
    }
}

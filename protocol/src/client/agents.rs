//! The directory of agents.

use super::{Client, ClientError};
use crate::agent::{AddAgent, AgentEntry};
use crate::worker::Done;
use reqwest::Method;

impl Client {
    /// `POST /v1/agents`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_agent(&self, body: &AddAgent) -> Result<AgentEntry, ClientError> {
        self.post("v1/agents", body).await
    }

    /// `DELETE /v1/agents/{name}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_agent(&self, name: &str) -> Result<Done, ClientError> {
        self.answer(self.request(Method::DELETE, &format!("v1/agents/{name}"))).await
    }
}

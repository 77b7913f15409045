//! The other servers of the network.

use super::{Client, ClientError};
use crate::ids::ServerId;
use crate::peer::{AddPeer, Peer};
use crate::worker::Done;
use reqwest::Method;

impl Client {
    /// `GET /v1/peers`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn peers(&self) -> Result<Vec<Peer>, ClientError> {
        self.get("v1/peers", &[]).await
    }

    /// `POST /v1/peers`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_peer(&self, body: &AddPeer) -> Result<Peer, ClientError> {
        self.post("v1/peers", body).await
    }

    /// `DELETE /v1/peers/{id}`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_peer(&self, id: ServerId) -> Result<Done, ClientError> {
        self.answer(self.request(Method::DELETE, &format!("v1/peers/{id}"))).await
    }
}

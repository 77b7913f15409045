//! The key of a network: what its servers prove to each other, and what they show each other afterwards. The key itself is never sent.

use crate::auth::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use muster_protocol::ids::ServerId;
use muster_protocol::token::Scope;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// The key. Without one, all servers of a machine have the same.
#[derive(Debug, Clone)]
pub struct NetworkKey(Option<SecretString>);

impl NetworkKey {
    /// As configured.
    #[must_use]
    pub fn new(key: Option<SecretString>) -> Self {
        Self(key)
    }

    /// Whether there is one: without it, only servers of this machine are peers.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    fn mac(&self, purpose: &str, parts: &[&str]) -> Hmac<Sha256> {
        let key = self.0.as_ref().map_or("", |key| key.expose_secret());
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap_or_else(|_| unreachable!("a key of HMAC may have any length"));
        for part in std::iter::once(&purpose).chain(parts) {
            // The length keeps two parts from being taken for two others.
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    /// What `from` proves with a challenge: `purpose` keeps an answer from being sent back as a question.
    #[must_use]
    pub fn proof(&self, purpose: &str, from: ServerId, challenge: &str) -> String {
        hex::encode(self.mac(purpose, &[&from.to_string(), challenge]).finalize().into_bytes())
    }

    /// Whether a proof is that; compared in constant time.
    #[must_use]
    pub fn is_proof(&self, proof: &str, purpose: &str, from: ServerId, challenge: &str) -> bool {
        let Ok(proof) = hex::decode(proof) else { return false };
        self.mac(purpose, &[&from.to_string(), challenge]).verify_slice(&proof).is_ok()
    }

    /// What `from` shows to `to` with each request. It is good for nothing else.
    #[must_use]
    pub fn token(&self, from: ServerId, to: ServerId) -> Secret {
        let mac = self.mac("token", &[&from.to_string(), &to.to_string()]);
        Secret::new(Scope::Peer, mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::NetworkKey;
    use muster_protocol::ids::ServerId;
    use uuid::Uuid;

    fn key(text: &str) -> NetworkKey {
        NetworkKey::new(Some(text.into()))
    }

    #[test]
    fn a_proof_is_good_for_its_key_its_server_its_purpose_and_its_challenge_alone() {
        let (one, other) = (ServerId(Uuid::from_u128(1)), ServerId(Uuid::from_u128(2)));
        let proof = key("k").proof("hello", one, "c");
        assert!(key("k").is_proof(&proof, "hello", one, "c"));
        assert!(!key("l").is_proof(&proof, "hello", one, "c"));
        assert!(!key("k").is_proof(&proof, "welcome", one, "c"));
        assert!(!key("k").is_proof(&proof, "hello", other, "c"));
        assert!(!key("k").is_proof(&proof, "hello", one, "d"));
        assert!(!key("k").is_proof("zz", "hello", one, "c") && !key("k").is_proof("", "hello", one, "c"));
    }

    #[test]
    fn a_token_is_for_one_direction_of_one_pair() {
        let (one, other) = (ServerId(Uuid::from_u128(1)), ServerId(Uuid::from_u128(2)));
        let token = key("k").token(one, other);
        assert_eq!(token.expose(), key("k").token(one, other).expose());
        assert_ne!(token.expose(), key("k").token(other, one).expose());
        assert_ne!(token.expose(), NetworkKey::new(None).token(one, other).expose());
    }
}

//! The text of a token: `muster_<scope>_<43 letters and digits>`, 256 bits, recognisable when it leaks. The store knows its hash only.

use muster_protocol::token::Scope;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

const PREFIX: &str = "muster_";
/// 43 of 62 letters and digits are 256 bits.
const RANDOM_LENGTH: usize = 43;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text of a token. It does not print itself.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// A new one, of random bytes.
    #[must_use]
    pub fn new(scope: Scope, random: [u8; 32]) -> Self {
        Self(format!("{PREFIX}{}_{}", scope.as_str(), letters_of(random)).into())
    }

    /// One that somebody sent; `None` if it lacks the form of a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scope, letters) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_token = Scope::from_word(scope).is_some() && is_random_part(letters);
        is_token.then(|| Self(text.into()))
    }

    /// The text, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.expose().as_bytes()).into())
    }
}

/// The bytes as a number with 62 digits.
fn letters_of(mut bytes: [u8; 32]) -> String {
    let mut next = || {
        let mut rest = 0;
        for byte in &mut bytes {
            let value = rest << 8 | usize::from(*byte);
            *byte = u8::try_from(value / ALPHABET.len()).unwrap_or(u8::MAX);
            rest = value % ALPHABET.len();
        }
        char::from(ALPHABET[rest])
    };
    (0..RANDOM_LENGTH).map(|_| next()).collect()
}

fn is_random_part(letters: &str) -> bool {
    letters.len() >= RANDOM_LENGTH && letters.len() <= 2 * RANDOM_LENGTH && letters.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The text with every token in it replaced, so that it can be logged.
#[must_use]
pub(crate) fn without_tokens(text: &str) -> String {
    let mut parts = text.split(PREFIX);
    let mut safe = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        safe.push_str(PREFIX);
        match part.split_once('_') {
            Some((scope, rest)) if Scope::from_word(scope).is_some() => {
                let secret = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
                safe.push_str(scope);
                safe.push_str("_***");
                safe.push_str(&rest[secret..]);
            }
            _ => safe.push_str(part),
        }
    }
    safe
}

/// The SHA-256 of a token's text. Compared in constant time.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// As it is stored.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// As it was stored; `None` if it is no hash.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_token_is_recognised_and_hashed_the_same_way() {
        let secret = Secret::new(Scope::Worker, [1; 32]);
        assert!(secret.expose().starts_with("muster_worker_"));
        assert_eq!(secret.expose().len(), "muster_worker_".len() + RANDOM_LENGTH);
        let sent = Secret::parse(secret.expose()).unwrap();
        assert_eq!(sent.hash(), secret.hash());
        assert_eq!(TokenHash::from_hex(&secret.hash().to_hex()), Some(secret.hash()));
        let other = Secret::new(Scope::Worker, [2; 32]);
        assert_ne!(other.hash(), secret.hash());
    }

    #[test]
    fn all_bits_are_in_the_letters() {
        assert_eq!(letters_of([0; 32]), "0".repeat(43));
        let most = letters_of([255; 32]);
        assert_ne!(&most[42..], "0");
        let mut other = [255; 32];
        other[0] = 254;
        assert_ne!(letters_of(other), most);
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_none() {
        let letters = "x".repeat(43);
        for wrong in ["", "muster_", "hunter2", &format!("muster_root_{letters}"), &format!("muster_admin_{}", &letters[1..])] {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
        }
        assert!(Secret::parse(&format!("muster_admin_{letters}")).is_some());
        assert!(Secret::parse(&format!("muster_admin_{}!", &letters)).is_none());
    }

    #[test]
    fn a_token_never_prints_itself() {
        let secret = Secret::new(Scope::Admin, [1; 32]);
        assert!(!format!("{secret:?} {:?}", secret.hash()).contains(&secret.expose()[20..]));
        let line = format!("curl -H 'Authorization: Bearer {}' http://x", secret.expose());
        assert_eq!(without_tokens(&line), "curl -H 'Authorization: Bearer muster_admin_***' http://x");
        assert_eq!(without_tokens("muster_http_requests_total"), "muster_http_requests_total");
    }
}

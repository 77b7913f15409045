//! The running hash over a task's output, computed alike by the worker that sends and the server that stores.

use crate::stream::Entry;
use sha2::{Digest as _, Sha256};

/// Count and hash of the entries of one attempt so far. `hash` after entry *n* is
/// `sha256(hash before ‖ kind ‖ 0 ‖ data ‖ 0)`, starting from 32 zero bytes; kept as hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputDigest {
    /// Bytes of all `data` so far.
    pub bytes: u64,
    /// The chained SHA-256, in lower-case hex.
    pub hash: String,
}

impl Default for OutputDigest {
    fn default() -> Self {
        Self { bytes: 0, hash: "0".repeat(64) }
    }
}

impl OutputDigest {
    /// Takes one more entry in.
    pub fn add(&mut self, entry: &Entry) {
        let data = entry.data.get().as_bytes();
        let mut sha = Sha256::new();
        sha.update(hex::decode(&self.hash).unwrap_or_default());
        sha.update(entry.kind.as_str().as_bytes());
        sha.update([0]);
        sha.update(data);
        sha.update([0]);
        self.hash = hex::encode(sha.finalize());
        self.bytes += data.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::OutputDigest;
    use crate::stream::{Entry, EntryKind};
    use crate::time::Timestamp;

    fn digest_of(texts: &[&str]) -> OutputDigest {
        let mut digest = OutputDigest::default();
        for (seq, text) in (0..).zip(texts) {
            digest.add(&Entry::new(seq, Timestamp(0), EntryKind::Text, &serde_json::json!({ "delta": text })));
        }
        digest
    }

    #[test]
    fn the_digest_depends_on_every_entry_and_their_order() {
        assert_eq!(digest_of(&["a", "b"]), digest_of(&["a", "b"]));
        assert_ne!(digest_of(&["a", "b"]).hash, digest_of(&["b", "a"]).hash);
        assert_ne!(digest_of(&["ab"]).hash, digest_of(&["a", "b"]).hash);
        assert_eq!(digest_of(&["a"]).bytes, r#"{"delta":"a"}"#.len() as u64);
    }
}

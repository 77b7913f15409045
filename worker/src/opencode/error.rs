//! Failures as OpenCode tells them, reduced to a stable code and a sentence. Its errors repeat the provider's headers and
//! body; those never leave the machine.

use serde_json::Value;

/// The longest message that is passed on, in characters.
const MAX_MESSAGE: usize = 600;

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub code: &'static str,
    /// The sentence for people, with what to do where that is known.
    pub message: String,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The stable codes of failed runs.
pub mod code {
    /// The model is not among those of this worker's OpenCode.
    pub const MODEL_NOT_FOUND: &str = "model_not_found";
    /// OpenCode has no such mode.
    pub const MODE_NOT_FOUND: &str = "mode_not_found";
    /// The provider refused the credential.
    pub const PROVIDER_AUTH: &str = "provider_auth";
    /// The provider failed.
    pub const PROVIDER_ERROR: &str = "provider_error";
    /// Too many model calls.
    pub const STEP_LIMIT: &str = "step_limit";
    /// Too long.
    pub const TIME_LIMIT: &str = "time_limit";
    /// No sign of life.
    pub const STALL_LIMIT: &str = "stall_limit";
    /// The provider asks to wait for too long.
    pub const RETRY_LIMIT: &str = "retry_limit";
    /// Too many tokens.
    pub const TOKEN_LIMIT: &str = "token_limit";
    /// Too expensive.
    pub const COST_LIMIT: &str = "cost_limit";
    /// The conversation was compacted too often.
    pub const COMPACTION_LIMIT: &str = "compaction_limit";
    /// OpenCode ended or was restarted during the run.
    pub const OPENCODE_LOST: &str = "opencode_lost";
    /// OpenCode does not start.
    pub const OPENCODE_NOT_STARTING: &str = "opencode_not_starting";
    /// There is no OpenCode.
    pub const OPENCODE_MISSING: &str = "opencode_missing";
    /// OpenCode gave an answer that was not expected.
    pub const OPENCODE_ERROR: &str = "opencode_error";
    /// The codebase's directory is not there.
    pub const CODEBASE_MISSING: &str = "codebase_missing";
    /// The session to continue is not there.
    pub const SESSION_NOT_FOUND: &str = "session_not_found";
    /// Somebody else works in the session to continue.
    pub const SESSION_BUSY: &str = "session_busy_elsewhere";
    /// The run ended because a question was refused.
    pub const QUESTION_REFUSED: &str = "question_refused";
    /// The run ended because a permission was refused.
    pub const PERMISSION_REFUSED: &str = "permission_refused";
    /// Somebody else aborted the run.
    pub const ABORTED: &str = "aborted";
    /// The worker cannot write to its disk.
    pub const SPOOL_ERROR: &str = "spool_error";
    /// OpenCode failed because its disk is full.
    pub const DISK_FULL: &str = "disk_full";
    /// The worker was stopped while the task ran.
    pub const WORKER_STOPPED: &str = "worker_stopped";
    /// The worker crashed while the task ran.
    pub const WORKER_CRASHED: &str = "worker_crashed";
    /// A fault of the worker itself.
    pub const WORKER_ERROR: &str = "worker_error";
    /// The lease passed without an answer of the server.
    pub const LEASE_LOST: &str = "lease_lost";
}

/// Reads `session.error`'s or a message's `error`: `{name, data: {message, statusCode, ..}}`.
#[must_use]
pub fn from_opencode(error: &Value) -> Failure {
    let name = error["name"].as_str().unwrap_or("error");
    let data = &error["data"];
    let message = scrub(data["message"].as_str().or_else(|| error["message"].as_str()).unwrap_or(name));
    let status = data["statusCode"].as_u64();
    let lower = message.to_lowercase();
    let (code, hint) = match (name, status) {
        ("ProviderAuthError", _) | (_, Some(401 | 403)) => {
            (code::PROVIDER_AUTH, "; check the provider's credential on the worker, for example with `opencode auth login`")
        }
        ("ProviderModelNotFoundError" | "ModelNotFoundError", _) => (code::MODEL_NOT_FOUND, "; `muster models` lists the models there are"),
        ("MessageAbortedError", _) => (code::ABORTED, ""),
        _ if lower.contains("model not found") => (code::MODEL_NOT_FOUND, "; `muster models` lists the models there are"),
        _ if lower.contains("agent not found") || (lower.starts_with("agent") && lower.contains("not found")) => {
            (code::MODE_NOT_FOUND, "; OpenCode's own modes are `build` and `plan`")
        }
        _ => (code::PROVIDER_ERROR, ""),
    };
    let status = status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
    Failure::new(code, format!("{message}{status}{hint}"))
}

/// A message fit to leave the machine: one paragraph, bounded, without what looks like a key.
#[must_use]
pub fn scrub(message: &str) -> String {
    let mut words = Vec::new();
    let mut after_bearer = false;
    for word in message.split_whitespace() {
        words.push(if after_bearer || looks_secret(word) { "[redacted]" } else { word });
        after_bearer = word.eq_ignore_ascii_case("bearer");
    }
    let text = words.join(" ");
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn looks_secret(word: &str) -> bool {
    const PREFIXES: [&str; 7] = ["sk-", "pk-", "ghp_", "github_pat_", "xai-", "gsk_", "AIza"];
    let bare = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    bare.len() >= 12 && PREFIXES.iter().any(|prefix| bare.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::{code, from_opencode, scrub};
    use serde_json::json;

    #[test]
    fn provider_failures_get_stable_codes_and_lose_headers_and_body() {
        let error = json!({"name": "APIError", "data": {"message": "no such key sk-abcdefghijklmnop", "statusCode": 401, "isRetryable": false,
            "responseHeaders": {"set-cookie": "c"}, "responseBody": "secret"}});
        let failure = from_opencode(&error);
        assert_eq!(failure.code, code::PROVIDER_AUTH);
        assert!(failure.message.contains("HTTP 401") && failure.message.contains("[redacted]"), "{}", failure.message);
        assert!(!failure.message.contains("secret") && !failure.message.contains("sk-"));
        assert_eq!(from_opencode(&json!({"name": "APIError", "data": {"message": "x", "statusCode": 500}})).code, code::PROVIDER_ERROR);
    }

    #[test]
    fn a_missing_model_or_mode_is_told_apart() {
        let of = |message: &str| from_opencode(&json!({"name": "UnknownError", "data": {"message": message}})).code;
        assert_eq!(of("Model not found: a/b."), code::MODEL_NOT_FOUND);
        assert_eq!(of("Agent not found: \"nope\". Available agents: build, plan"), code::MODE_NOT_FOUND);
        assert_eq!(of("something else"), code::PROVIDER_ERROR);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        assert!(scrub(&"ü".repeat(5_000)).chars().count() <= 601);
    }
}

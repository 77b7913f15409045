//! Which extensions a caller says it speaks: `A2A-Extensions`, a list with commas.

use super::error::{A2aError, Outcome};
use axum::http::HeaderMap;
use muster_protocol::a2a::ErrorKind;

/// The header, and its name in 0.3.
const HEADERS: [&str; 2] = ["a2a-extensions", "x-a2a-extensions"];

/// Refuses a caller that does not name the extension that is required, if one is.
///
/// # Errors
/// -32008.
pub(super) fn demand(required: Option<&str>, headers: &HeaderMap) -> Outcome<()> {
    let Some(uri) = required else { return Ok(()) };
    let given = HEADERS.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
    if given.flat_map(|list| list.split(',')).any(|given| given.trim() == uri) {
        return Ok(());
    }
    let message = format!("this server demands the extension {uri}; name it in A2A-Extensions");
    Err(A2aError::new(ErrorKind::ExtensionSupportRequired, message))
}

#[cfg(test)]
mod tests {
    use super::demand;
    use axum::http::HeaderMap;

    fn names(name: &'static str, value: &str) -> bool {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        demand(Some("urn:x"), &headers).is_ok()
    }

    #[test]
    fn a_required_extension_must_be_named() {
        assert!(demand(None, &HeaderMap::new()).is_ok());
        assert!(demand(Some("urn:x"), &HeaderMap::new()).is_err());
        assert!(names("a2a-extensions", "urn:y, urn:x") && names("x-a2a-extensions", "urn:x"));
        assert!(!names("a2a-extensions", "urn:xy"));
    }
}

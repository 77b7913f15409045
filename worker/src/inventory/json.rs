//! JSON as OpenCode's configuration files have it.

use serde_json::Value;

/// Whether a text is JSON, with comments and commas too many as OpenCode takes them; nothing at all is too.
///
/// # Errors
/// What is wrong with it.
pub(super) fn readable(text: &str) -> Result<(), String> {
    let plain = plain(text);
    if plain.trim().is_empty() {
        return Ok(());
    }
    serde_json::from_str::<serde::de::IgnoredAny>(&plain).map(drop).map_err(|error| error.to_string())
}

/// What a file says, whatever it looks like: OpenCode itself adds a `$schema` to a configuration without one. What is no JSON is as it is.
pub(super) fn meaning(content: Vec<u8>) -> Vec<u8> {
    let read = std::str::from_utf8(&content).ok().and_then(|text| serde_json::from_str::<Value>(&plain(text)).ok());
    let Some(mut value) = read else { return content };
    if let Some(object) = value.as_object_mut() {
        object.remove("$schema");
    }
    value.to_string().into_bytes()
}

/// The text without comments and commas too many.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let end = string_end(rest);
            plain.push_str(&rest[..end]);
            rest = &rest[end..];
        } else if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else {
            if matches!(c, '}' | ']') && plain.trim_end().ends_with(',') {
                plain.truncate(plain.trim_end().len() - 1);
            }
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    plain
}

/// Where the JSON string at the beginning of a text ends.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{meaning, readable};

    #[test]
    fn what_a_configuration_says_does_not_change_with_its_looks() {
        let says = |text: &str| meaning(text.as_bytes().to_vec());
        assert_eq!(says("{\"$schema\": \"x\",\n  \"a\": 1, // b\n}"), says("{\"a\":1}"));
        assert_ne!(says("{\"a\":1}"), says("{\"a\":2}"));
        assert_ne!(says("{\"a\":"), says("{\"a\""));
    }

    #[test]
    fn a_configuration_with_comments_can_be_read_and_half_a_file_cannot() {
        for good in ["", "{}", "{\"a\": \"http://x // no\", /* c */ \"b\": [1, 2,], // d\n}", "\u{feff}{\"a\": \"\\\"}\"}"] {
            assert_eq!(readable(good), Ok(()), "{good}");
        }
        for bad in ["{\"a\": ", "{\"a\" 1}", "{\"a\": \"b"] {
            assert!(readable(bad).is_err(), "{bad}");
        }
    }
}

//! How deep free data is nested.

use super::Metadata;
use serde_json::Value;

/// How many levels of lists and objects every binding can show. Readers of Protocol Buffers take a hundred messages in one another; a level of an
/// object is three of them, and the task, the message and the part around it are some more.
pub const MOST_DEPTH: usize = 30;

/// How many levels of lists and objects a value has.
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => depth_of(map),
        _ => 0,
    }
}

/// The same of an object.
#[must_use]
pub fn depth_of(map: &Metadata) -> usize {
    1 + map.values().map(depth).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::depth;
    use serde_json::json;

    #[test]
    fn lists_and_objects_are_levels() {
        for (value, levels) in [(json!(7), 0), (json!([]), 1), (json!({ "a": 1, "b": [{}] }), 3), (json!([[1], 2]), 2)] {
            assert_eq!(depth(&value), levels, "{value}");
        }
    }
}

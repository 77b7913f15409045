//! U+0000 in texts.

use serde_json::Value;

/// Where U+0000 is in a JSON document; `None` if nowhere, or if it is no JSON (which is told elsewhere).
pub(super) fn find(json: &[u8]) -> Option<String> {
    // In JSON it can only be written as an escape, so that most bodies are done here.
    const ESCAPE: &[u8] = b"\\u0000";
    json.windows(ESCAPE.len()).any(|window| window == ESCAPE).then_some(())?;
    let value: Value = serde_json::from_slice(json).ok()?;
    let mut path = String::new();
    in_value(&value, &mut path).then_some(path)
}

fn in_value(value: &Value, path: &mut String) -> bool {
    let length = path.len();
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().enumerate().any(|(i, item)| {
            path.truncate(length);
            *path += "[";
            *path += &i.to_string();
            *path += "]";
            in_value(item, path)
        }),
        Value::Object(map) => map.iter().any(|(key, item)| {
            path.truncate(length);
            if length > 0 {
                path.push('.');
            }
            path.push_str(&key.replace('\0', "\\u0000"));
            key.contains('\0') || in_value(item, path)
        }),
        _ => false,
    }
}

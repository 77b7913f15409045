//! Answers field by field: names and JSON types, as existing clients read them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Checks that `value` has these fields, each of one of the types after it: `string`, `time`, `int`, `number`, `bool`, `object`, `array`, `null`,
/// separated by `|`.
pub(crate) fn ensure_fields(value: &Value, fields: &[(&str, &str)]) -> Result<()> {
    let map = value.as_object().with_context(|| format!("no object: {value}"))?;
    for (name, types) in fields {
        let field = map.get(*name).with_context(|| format!("`{name}` is missing in {value}"))?;
        ensure!(types.split('|').any(|wanted| is(field, wanted)), "`{name}` is {field}, not {types}");
    }
    Ok(())
}

fn is(value: &Value, wanted: &str) -> bool {
    match wanted {
        "string" => value.is_string(),
        "time" => value.as_str().is_some_and(is_time),
        "int" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T12:30:00.000Z`.
fn is_time(text: &str) -> bool {
    let like = "0000-00-00T00:00:00.000Z";
    let fits = |(c, like): (char, char)| if like == '0' { c.is_ascii_digit() } else { c == like };
    text.len() == like.len() && text.chars().zip(like.chars()).all(fits)
}

/// The items of an array.
pub(crate) fn items(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no array: {value}"))
}

/// The text of a field.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("`{name}` is no text in {value}"))
}

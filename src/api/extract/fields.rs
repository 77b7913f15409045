//! Wrong fields, all of them: serde stops at the first one, so each is noted, something of a right type is put in its place,
//! and the body is read again.

use super::strict::Strict;
use crate::error::{ApiError, FieldError, shown};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Deserializer, Value, json};
use serde_path_to_error::Segment;

/// Larger bodies are told only the first wrong field.
const LARGEST_REREAD: usize = 64 << 10;
/// No more fields than this are told.
const MOST: usize = 20;

/// Reads a body.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let wrong = match attempt::<T>(bytes) {
        Ok(value) => return Ok(value),
        Err(Refusal::Syntax(message)) => return Err(ApiError::BadRequest(format!("the body is not JSON: {message}"))),
        Err(Refusal::Field(wrong)) => wrong,
    };
    let mut fields = vec![wrong.error.clone()];
    if bytes.len() <= LARGEST_REREAD
        && let Ok(mut body) = serde_json::from_slice::<Value>(bytes)
    {
        let mut wrong = wrong;
        while fields.len() < MOST
            && let Some(next) = next_wrong::<T>(&mut body, &wrong)
        {
            fields.push(next.error.clone());
            wrong = next;
        }
    }
    Err(ApiError::Invalid { fields })
}

/// A field that is wrong, and the way to it.
#[derive(Debug, Clone, PartialEq)]
struct Wrong {
    way: Vec<Step>,
    error: FieldError,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Index(usize),
    Key(String),
}

enum Refusal {
    Syntax(String),
    Field(Wrong),
}

fn attempt<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Strict(&mut reader)).map_err(|error| refusal(&error, bytes))?;
    reader.end().map_err(|error| Refusal::Syntax(error.to_string()))?;
    Ok(value)
}

fn refusal(error: &serde_path_to_error::Error<serde_json::Error>, bytes: &[u8]) -> Refusal {
    let inner = error.inner();
    // A wrong type in place of an enum's word is called a wrong syntax too.
    if inner.classify() != Category::Data && serde_json::from_slice::<Value>(bytes).is_err() {
        return Refusal::Syntax(inner.to_string());
    }
    let text = inner.to_string();
    // The place is in the path already; a body that was put right has other places.
    let mut message = text.split(" at line ").next().unwrap_or(&text).to_owned();
    if message == "expected value" {
        "is of another type than this field has".clone_into(&mut message);
    }
    let mut way: Vec<Step> = error
        .path()
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        way.push(Step::Key(field.to_owned()));
        "is missing".clone_into(&mut message);
    } else if let Some(rest) = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: ")) {
        message = rest
            .rsplit_once(", expected ")
            .map_or(rest.to_owned(), |(found, expected)| format!("expected {}, found {}", expectation(expected), shown(found)));
    }
    Refusal::Field(Wrong { error: FieldError::new(shown(&name(&way)), message), way })
}

/// What serde expects, without the names of types in the program.
fn expectation(expected: &str) -> &str {
    match expected {
        _ if expected.starts_with("struct ") || expected == "a map" => "an object",
        "a sequence" => "an array",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "f32" | "f64" => "a number",
        other => other,
    }
}

fn name(way: &[Step]) -> String {
    way.iter().fold(String::new(), |name, step| match step {
        Step::Index(i) => format!("{name}[{i}]"),
        Step::Key(key) if name.is_empty() => key.clone(),
        Step::Key(key) => format!("{name}.{key}"),
    })
}

/// Puts something in the place of what is wrong, until something else is wrong; `None` if nothing is, or if nothing helps.
fn next_wrong<T: DeserializeOwned>(body: &mut Value, wrong: &Wrong) -> Option<Wrong> {
    let some_uuid = "00000000-0000-7000-8000-000000000000";
    for right in [json!(""), json!(0), json!(false), json!([]), json!({}), Value::Null, json!(some_uuid)] {
        *place(body, &wrong.way)? = right;
        match attempt::<T>(&serde_json::to_vec(body).ok()?) {
            Ok(_) | Err(Refusal::Syntax(_)) => return None,
            Err(Refusal::Field(next)) if !next.way.starts_with(&wrong.way) => return Some(next),
            Err(Refusal::Field(_)) => {}
        }
    }
    None
}

fn place<'a>(body: &'a mut Value, way: &[Step]) -> Option<&'a mut Value> {
    way.iter().try_fold(body, |value, step| match step {
        Step::Index(i) => value.get_mut(i),
        Step::Key(key) => Some(value.as_object_mut()?.entry(key.clone()).or_insert(Value::Null)),
    })
}

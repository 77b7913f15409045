//! Bodies of the right shape with one wrong field.

use super::{Victim, ensure_4xx};
use crate::support::{Route, items, text, type_of};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// A field of a body: the way to it, and its schema.
struct Field {
    way: Vec<String>,
    schema: Value,
}

impl Field {
    fn name(&self) -> String {
        self.way.join(".").replace(".0", "[0]")
    }

    /// The body with this value in the field; what is on the way is made.
    fn put(&self, victim: &Victim, body_schema: &Value, value: Value) -> Value {
        let mut body = victim.document.sample(body_schema);
        let (mut place, mut schema) = (&mut body, body_schema.clone());
        for step in &self.way {
            schema = victim.document.resolve(&schema).clone();
            if step == "0" {
                let item = schema["items"].clone();
                if place.as_array().is_none_or(Vec::is_empty) {
                    *place = json!([victim.document.sample(&item)]);
                }
                (place, schema) = (&mut place[0], item);
            } else {
                let next = schema["properties"][step].clone();
                if place[step].is_null() {
                    place[step] = victim.document.sample(&next);
                }
                (place, schema) = (&mut place[step], next);
            }
        }
        *place = value;
        body
    }
}

/// Every field of a schema, those of its parts too.
fn fields(victim: &Victim, schema: &Value, way: &[String]) -> Vec<Field> {
    let schema = victim.document.resolve(schema);
    let mut found = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let way = [way, std::slice::from_ref(name)].concat();
        let property = victim.document.resolve(property).clone();
        if way.len() < 4 {
            found.extend(fields(victim, &property, &way));
            let way = [&way[..], &["0".to_owned()]].concat();
            found.extend(fields(victim, &property["items"], &way));
        }
        found.push(Field { way, schema: property });
    }
    found
}

/// Values that do not fit a schema; none where anything fits.
fn unfit(schema: &Value) -> Vec<Value> {
    let is_time = schema["format"] == "date-time";
    let all = [json!(7), json!("x"), json!(true), json!([]), json!([1]), json!(["x", "x"]), json!({}), json!({ "x": 1 }), json!(1.5)];
    let of_type = |wanted: &str, value: &Value| match wanted {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    let Some(wanted) = type_of(schema) else { return Vec::new() };
    let mut wrong: Vec<Value> = all.into_iter().filter(|value| !of_type(wanted, value)).collect();
    match wanted {
        "string" if is_time => {
            // A number is a time too.
            wrong.retain(|value| !value.is_u64());
            wrong.extend([json!("yesterday"), json!("2026-13-01T00:00:00Z"), json!(i64::MAX), json!(i64::MIN), json!(u64::MAX)]);
        }
        "string" if schema["format"] == "uuid" => wrong.extend([json!("x"), json!("")]),
        "integer" => {
            wrong.extend(["99999999999999999999", "-99999999999999999999", "1e400"].iter().filter_map(|n| serde_json::from_str(n).ok()));
        }
        _ => {}
    }
    wrong
}

/// Contents that are kept as they came, whatever they are.
const AS_IT_CAME: [&str; 2] = ["entries[0].data", "messages[0].parts[0]"];

pub(super) async fn wrong_types(victim: &Victim) -> Result<()> {
    let mut tried = 0;
    for (route, schema) in victim.with_body()? {
        for field in fields(victim, &schema, &[]).into_iter().filter(|field| !AS_IT_CAME.contains(&field.name().as_str())) {
            for value in unfit(&field.schema) {
                let body = field.put(victim, &schema, value);
                let answer = victim.http.raw(route.method.clone(), &victim.path(&route), body.to_string()).await?;
                let sent = body.to_string();
                let error = ensure_4xx(&answer, &sent)?;
                ensure!(
                    matches!(answer.status, 400 | 422),
                    "{} with {sent} was answered with {}: {}",
                    answer.asked,
                    answer.status,
                    answer.text
                );
                ensure_named(&error, &field.name(), &sent)?;
                tried += 1;
            }
        }
    }
    ensure!(tried > 400, "only {tried} wrong fields were tried");
    victim.ensure_unharmed().await
}

/// The field is named, or a part of it.
fn ensure_named(error: &Value, name: &str, sent: &str) -> Result<()> {
    let named = items(&error["details"]["fields"]).with_context(|| format!("{name} in {sent}: {error}"))?;
    let is_it = |field: &Value| field["field"].as_str().is_some_and(|named| named.starts_with(name));
    ensure!(named.iter().any(is_it), "{name} is not named for {sent}: {error}");
    Ok(())
}

/// Where U+0000 is a part of what a task said, and kept or replaced.
fn may_hold_nul(route: &Route, name: &str) -> bool {
    match route.path.rsplit('/').next() {
        Some("status") => !matches!(name, "worker_id" | "session_id"),
        Some("output") => name == "output",
        Some("sync") => !name.starts_with("deleted") && !matches!(name.rsplit('.').next(), Some("id" | "worker_id" | "parent_id")),
        _ => false,
    }
}

pub(super) async fn nul(victim: &Victim) -> Result<()> {
    let mut tried = 0;
    for (route, schema) in victim.with_body()? {
        for field in fields(victim, &schema, &[]).into_iter().filter(|field| type_of(&field.schema) == Some("string")) {
            let body = field.put(victim, &schema, json!("a\u{0}b"));
            let answer = victim.http.raw(route.method.clone(), &victim.path(&route), body.to_string()).await?;
            ensure!(answer.status < 500, "{} with {body} was answered with {}: {}", answer.asked, answer.status, answer.text);
            if !may_hold_nul(&route, &field.name()) {
                let error = ensure_4xx(&answer, &body.to_string())?;
                ensure!(
                    text(&error, "message")?.contains(field.way.last().map_or("", |name| name)),
                    "{} is not named: {error}",
                    field.name()
                );
            }
            tried += 1;
        }
        // In a name that nobody knows, and deep in what is kept as it came.
        let mut body = victim.document.sample(&schema);
        body["metadata"] = json!({ "a": [{ "b\u{0}": "c" }] });
        let answer = victim.http.raw(route.method.clone(), &victim.path(&route), body.to_string()).await?;
        ensure!(answer.status < 500, "{} with {body} was answered with {}: {}", answer.asked, answer.status, answer.text);
    }
    ensure!(tried > 40, "only {tried} texts were tried");
    victim.ensure_unharmed().await
}

/// Numbers that fit their type and nothing else.
pub(super) async fn edges(victim: &Victim) -> Result<()> {
    let extremes =
        [json!(u64::MAX), json!(i64::MAX), json!(i64::MIN), json!(u32::MAX), json!(i32::MIN), json!(i32::MAX), json!(-1), json!(0)];
    for (route, schema) in victim.with_body()? {
        for field in fields(victim, &schema, &[]) {
            if !matches!(type_of(&field.schema), Some("integer" | "number")) && field.schema["format"] != "date-time" {
                continue;
            }
            for value in &extremes {
                let body = field.put(victim, &schema, value.clone());
                let answer = victim.http.raw(route.method.clone(), &victim.path(&route), body.to_string()).await?;
                ensure!(answer.status < 500, "{} with {body} was answered with {}: {}", answer.asked, answer.status, answer.text);
            }
        }
    }
    // An entry whose number is the last there is.
    let last = json!({
        "worker_id": victim.worker, "attempt": 1, "first_seq": u64::MAX,
        "entries": [{ "seq": u64::MAX, "at": 0, "kind": "text", "data": {} }, { "seq": 0, "at": 0, "kind": "text", "data": {} }],
    });
    let path = format!("/v1/opencode/tasks/{}/stream", victim.task);
    ensure_4xx(&victim.http.post(&path, &last).await?, "the last number")?;
    // What was accepted can be read by every client.
    victim.server.client().tasks(&[]).await?;
    victim.server.client().workers(&[]).await?;
    victim.server.client().tokens().await?;
    victim.server.client().codebases(&[]).await?;
    victim.ensure_unharmed().await
}

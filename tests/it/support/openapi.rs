//! What `/openapi.json` says of each route: enough to send it right and wrong things.

use super::Http;
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Map, Value, json};

/// The document.
pub(crate) struct Document(pub(crate) Value);

/// A route: one method of a path.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// With its parameters in braces.
    pub(crate) path: String,
    pub(crate) operation: Value,
}

impl Document {
    /// Asks a server for it.
    pub(crate) async fn of(http: &Http) -> Result<Self> {
        Ok(Self(http.get("/openapi.json").await?.ok()?))
    }

    /// Every route.
    pub(crate) fn routes(&self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for (path, item) in self.0["paths"].as_object().context("no paths")? {
            for (method, operation) in item.as_object().context("no methods")? {
                let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
                routes.push(Route { method, path: path.clone(), operation: operation.clone() });
            }
        }
        Ok(routes)
    }

    /// What a schema stands for: references followed, the one choice beside `null` taken.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            return self.0.pointer(pointer).map_or(schema, |found| self.resolve(found));
        }
        for kind in ["oneOf", "anyOf", "allOf"] {
            let choices = schema[kind].as_array().into_iter().flatten();
            let mut real = choices.filter(|choice| choice["type"] != "null");
            if let (Some(only), None) = (real.next(), real.next()) {
                return self.resolve(only);
            }
        }
        schema
    }

    /// The schema of a route's JSON body.
    pub(crate) fn body<'a>(&'a self, route: &'a Route) -> Option<&'a Value> {
        let schema = &route.operation["requestBody"]["content"]["application/json"]["schema"];
        (!schema.is_null()).then(|| self.resolve(schema))
    }

    /// The smallest value that fits a schema.
    pub(crate) fn sample(&self, schema: &Value) -> Value {
        let schema = self.resolve(schema);
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        match type_of(schema) {
            Some("string") => match schema["format"].as_str() {
                Some("uuid") => json!("0193a0c0-0000-7000-8000-000000000001"),
                Some("date-time") => json!("2099-01-01T00:00:00Z"),
                _ => json!("x"),
            },
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => {
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                Value::Object(required.map(|name| (name.to_owned(), self.sample(&schema["properties"][name]))).collect::<Map<_, _>>())
            }
            _ => json!({}),
        }
    }
}

/// The type of a schema beside `null`; none if it says nothing.
pub(crate) fn type_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(word) => Some(word),
        Value::Array(words) => words.iter().filter_map(Value::as_str).find(|word| *word != "null"),
        _ => None,
    }
}

impl Route {
    /// Its path with `id` for each parameter.
    pub(crate) fn at(&self, id: &str) -> String {
        let filled = |segment: &str| if segment.starts_with('{') { id.to_owned() } else { segment.to_owned() };
        self.path.split('/').map(filled).collect::<Vec<_>>().join("/")
    }

    /// Its query parameters: name and schema.
    pub(crate) fn query(&self) -> Vec<(String, Value)> {
        let all = self.operation["parameters"].as_array().into_iter().flatten();
        let query = all.filter(|parameter| parameter["in"] == "query");
        query.map(|parameter| (parameter["name"].as_str().unwrap_or_default().to_owned(), parameter["schema"].clone())).collect()
    }

    /// Whether its body may be absent.
    pub(crate) fn body_is_optional(&self) -> bool {
        self.operation["requestBody"]["required"] != true
    }
}

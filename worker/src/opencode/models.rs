//! Models and modes out of OpenCode's answers. Only named fields are taken: the answers contain keys.

use muster_protocol::model::{Model, ModelCapabilities};
use serde_json::{Value, json};

/// The models of `GET /config/providers`, sorted by id.
#[must_use]
pub fn models(providers: &Value) -> Vec<Model> {
    let mut models: Vec<Model> = array(&providers["providers"]).iter().flat_map(of_provider).collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    models
}

fn of_provider(provider: &Value) -> Vec<Model> {
    let provider_id = text(&provider["id"]);
    let provider_name = text(&provider["name"]);
    let Some(models) = provider["models"].as_object() else { return Vec::new() };
    let model = |(key, model): (&String, &Value)| {
        let abilities = &model["capabilities"];
        Model {
            id: format!("{provider_id}/{key}"),
            name: model["name"].as_str().unwrap_or(key).to_owned(),
            provider: provider_name.clone(),
            provider_id: provider_id.clone(),
            capabilities: ModelCapabilities {
                reasoning: abilities["reasoning"] == true,
                attachment: abilities["attachment"] == true,
                tool_call: abilities["toolcall"] == true,
            },
            limits: numbers(&model["limit"], &["context", "input", "output"]),
            cost: cost(&model["cost"]),
        }
    };
    models.iter().map(model).collect()
}

fn cost(cost: &Value) -> Value {
    let mut picked = numbers(cost, &["input", "output"]);
    if cost["cache"].is_object() {
        picked["cache"] = numbers(&cost["cache"], &["read", "write"]);
    }
    picked
}

fn numbers(value: &Value, names: &[&str]) -> Value {
    let mut picked = json!({});
    for name in names {
        if value[*name].is_number() {
            picked[*name] = value[*name].clone();
        }
    }
    picked
}

/// The model that OpenCode takes if none is asked for: the configured one, else its default where there is one provider.
#[must_use]
pub fn default_model(providers: &Value, configured: Option<&str>) -> Option<String> {
    if let Some(configured) = configured {
        return Some(configured.to_owned());
    }
    let defaults = providers["default"].as_object()?;
    let (provider, model) = defaults.iter().next().filter(|_| defaults.len() == 1)?;
    Some(format!("{provider}/{}", model.as_str()?))
}

/// The modes of `GET /agent` that a prompt can name, those for people first.
#[must_use]
pub fn modes(agents: &Value) -> Vec<String> {
    let visible = array(agents).iter().filter(|agent| agent["hidden"] != true);
    let (mut first, second): (Vec<&Value>, Vec<&Value>) = visible.partition(|agent| agent["mode"] != "subagent");
    first.extend(second);
    first.into_iter().map(|agent| text(&agent["name"])).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{default_model, models, modes};
    use serde_json::json;

    #[test]
    fn models_carry_no_keys_headers_or_options() {
        let providers = json!({"default": {"p": "m"}, "providers": [{"id": "p", "name": "P", "options": {"apiKey": "SECRET", "headers": {"x": "SECRET"}},
            "key": "SECRET", "models": {"m": {"id": "m", "name": "M", "headers": {"a": "SECRET"}, "options": {"k": "SECRET"},
            "capabilities": {"reasoning": true, "attachment": false, "toolcall": true}, "limit": {"context": 10, "output": 5},
            "cost": {"input": 1, "output": 2, "cache": {"read": 0.5, "write": 0}, "note": "SECRET"}}}}]});
        let found = models(&providers);
        assert_eq!(found[0].id, "p/m");
        assert!(found[0].capabilities.reasoning && found[0].capabilities.tool_call && !found[0].capabilities.attachment);
        assert_eq!((&found[0].limits["context"], &found[0].cost["cache"]["read"]), (&json!(10), &json!(0.5)));
        assert!(!serde_json::to_string(&found).unwrap().contains("SECRET"));
    }

    #[test]
    fn the_configured_model_is_the_default_else_the_only_providers() {
        let one = json!({"default": {"p": "m"}});
        assert_eq!(default_model(&one, None).as_deref(), Some("p/m"));
        assert_eq!(default_model(&one, Some("x/y")).as_deref(), Some("x/y"));
        assert_eq!(default_model(&json!({"default": {"p": "m", "q": "n"}}), None), None);
    }

    #[test]
    fn hidden_agents_are_no_modes_and_subagents_come_last() {
        let agents = json!([{"name": "general", "mode": "subagent"}, {"name": "build", "mode": "primary"}, {"name": "title", "mode": "primary", "hidden": true}]);
        assert_eq!(modes(&agents), ["build", "general"]);
    }
}

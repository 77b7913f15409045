//! `muster models`: the models that the workers' OpenCode has.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::count;
use super::session::Session;
use super::style::Style;
use super::table::{Table, dim, plain};
use clap::Args;
use muster_protocol::model::{Model, ModelList};

/// Options of `muster models`.
#[derive(Debug, Args)]
pub(crate) struct Models {
    /// Only those of this provider
    #[arg(long)]
    provider: Option<String>,
    /// Only those that this worker has, by name or id
    #[arg(long, short, value_name = "NAME|ID")]
    worker: Option<String>,
    /// Only those that have this in their id or name
    #[arg(value_name = "TEXT")]
    text: Option<String>,
}

pub(crate) async fn run(args: &Models, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let filters = [("provider", &args.provider), ("worker", &args.worker), ("q", &args.text)];
    let query: Vec<(&str, &str)> = filters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
    session.show("v1/opencode/models", &query, |list: ModelList, console| render(&list, console)).await
}

fn render(list: &ModelList, console: &Console) -> String {
    if list.models.is_empty() {
        return "No active worker has such a model. Workers list the models of their OpenCode: see \"muster workers\".".to_owned();
    }
    let mut table = Table::new(&["~MODEL", "CONTEXT", "IN $/M", "OUT $/M", "ABILITIES", "~WORKERS"]);
    for offer in &list.models {
        let model = &offer.model;
        let is_default = list.default.as_ref() == Some(&model.id);
        let id = if is_default { (Style::Bold, format!("{} (default)", model.id)) } else { plain(&model.id) };
        let context = model.limits["context"].as_u64().map_or(String::new(), count);
        table.row([
            id,
            plain(context),
            plain(price(model, "input")),
            plain(price(model, "output")),
            dim(abilities(model)),
            plain(offer.workers.join(" ")),
        ]);
    }
    table.render(&console.out)
}

fn price(model: &Model, direction: &str) -> String {
    model.cost[direction].as_f64().map_or(String::new(), |price| format!("{price:.2}"))
}

fn abilities(model: &Model) -> String {
    let has = &model.capabilities;
    let words = [(has.reasoning, "reasoning"), (has.tool_call, "tools"), (has.attachment, "files")];
    words.into_iter().filter(|(has, _)| *has).map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::console::{Channel, Console};
    use serde_json::json;
    use std::io::sink;

    #[test]
    fn models_show_limits_prices_and_who_has_them() {
        let list = json!({"default": "a/big", "models": [
            {"id": "a/big", "name": "Big", "limits": {"context": 200_000}, "cost": {"input": 3, "output": 15.0},
             "capabilities": {"reasoning": true, "tool_call": true}, "workers": ["box-1", "box-2"]},
            {"id": "b/small", "workers": ["box-1"]},
        ]});
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        insta::assert_snapshot!(render(&serde_json::from_value(list).unwrap(), &console), @r"
        MODEL            CONTEXT  IN $/M  OUT $/M  ABILITIES        WORKERS
        a/big (default)  200,000  3.00    15.00    reasoning tools  box-1 box-2
        b/small                                                     box-1
        ");
    }
}

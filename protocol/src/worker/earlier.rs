//! What workers of the earlier system register in other shapes: models by their ids alone, and codebases by the ids that the server gave them.

use crate::codebase::RegisterCodebase;
use crate::model::Model;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// What may be written as a text as well.
trait OrText: Sized {
    const EXPECTED: &'static str;
    /// What a text stands for; none if it says nothing new.
    fn of_text(text: &str) -> Option<Self>;
}

impl OrText for Model {
    const EXPECTED: &'static str = "a model, or its id";

    fn of_text(text: &str) -> Option<Self> {
        let provider = text.split('/').next().unwrap_or_default().to_owned();
        Some(Self {
            id: text.to_owned(),
            name: text.to_owned(),
            provider: provider.clone(),
            provider_id: provider,
            capabilities: crate::model::ModelCapabilities::default(),
            limits: serde_json::Value::Null,
            cost: serde_json::Value::Null,
        })
    }
}

impl OrText for RegisterCodebase {
    const EXPECTED: &'static str = "a codebase, or the id of one that is registered";

    fn of_text(_: &str) -> Option<Self> {
        None
    }
}

struct Item<T>(Option<T>);

impl<'de, T: OrText + Deserialize<'de>> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: OrText + Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Item<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Item<T>, E> {
                Ok(Item(T::of_text(text)))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Item<T>, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|item| Item(Some(item)))
            }
        }
        d.deserialize_any(Either(PhantomData))
    }
}

fn items<'de, T: OrText + Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Item<T>>::deserialize(d)?.into_iter().filter_map(|item| item.0).collect())
}

pub(super) fn models<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Model>, D::Error> {
    items(d)
}

pub(super) fn codebases<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RegisterCodebase>, D::Error> {
    items(d)
}

#[cfg(test)]
mod tests {
    use crate::worker::RegisterWorker;
    use serde_json::json;

    #[test]
    fn models_and_codebases_may_be_texts() {
        let body = json!({ "worker_id": "w", "name": "w", "models": ["a/b", { "id": "c/d" }], "codebases": ["global", { "name": "n", "path": "/n" }] });
        let read: RegisterWorker = serde_json::from_value(body).unwrap();
        let ids: Vec<_> = read.models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["a/b", "c/d"]);
        assert_eq!((read.models[0].provider_id.as_str(), read.codebases.len()), ("a", 1));
    }
}

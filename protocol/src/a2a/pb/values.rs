//! Free data and times.

use super::Misfit;
use crate::a2a::{MOST_DEPTH, Metadata};
use crate::time::Timestamp;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Number, Value as Json};

/// The largest whole number up to which a `double` holds each.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Metadata; those that are empty are left out.
pub(super) fn to_struct(map: Metadata) -> Option<Struct> {
    (!map.is_empty()).then(|| fields(map, MOST_DEPTH))
}

fn fields(map: Metadata, levels: usize) -> Struct {
    Struct { fields: map.into_iter().map(|(name, value)| (name, within(value, levels.saturating_sub(1)))).collect() }
}

/// What is nested deeper than readers take is given as the text of its JSON.
pub(super) fn to_value(json: Json) -> Value {
    within(json, MOST_DEPTH)
}

fn within(json: Json, levels: usize) -> Value {
    let kind = match json {
        deeper @ (Json::Array(_) | Json::Object(_)) if levels == 0 => Kind::StringValue(deeper.to_string()),
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => {
            let values = items.into_iter().map(|item| within(item, levels.saturating_sub(1))).collect();
            Kind::ListValue(ListValue { values })
        }
        Json::Object(map) => Kind::StructValue(fields(map, levels)),
    };
    Value { kind: Some(kind) }
}

pub(super) fn from_struct(field: &str, given: Option<Struct>) -> Result<Metadata, Misfit> {
    map_of(given.unwrap_or_default()).map_err(|misfit| misfit.within(field))
}

fn map_of(given: Struct) -> Result<Metadata, Misfit> {
    let each = |(name, value): (String, Value)| {
        let value = from_value(value).map_err(|misfit| misfit.within(&name))?;
        Ok((name, value))
    };
    given.fields.into_iter().map(each).collect()
}

pub(super) fn from_value(value: Value) -> Result<Json, Misfit> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(flag),
        Some(Kind::NumberValue(number)) => Json::Number(number_of(number)?),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(from_value).collect::<Result<_, _>>()?),
        Some(Kind::StructValue(given)) => Json::Object(map_of(given)?),
    })
}

/// Whole numbers are written without a point, as in `ProtoJSON`.
fn number_of(number: f64) -> Result<Number, Misfit> {
    if number.fract() == 0.0 && number.abs() <= LARGEST_WHOLE {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and fits")]
        return Ok((number as i64).into());
    }
    Number::from_f64(number).ok_or_else(|| Misfit::new("", "must be a finite number"))
}

pub(super) fn to_time(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1_000)).unwrap_or_default() * 1_000_000;
    prost_types::Timestamp { seconds: at.0.div_euclid(1_000), nanos }
}

/// A point in time, to the millisecond.
pub(super) fn from_time(field: &str, given: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Misfit> {
    let Some(prost_types::Timestamp { seconds, nanos }) = given else { return Ok(None) };
    let is_time = (0..1_000_000_000).contains(&nanos) && jiff::Timestamp::new(seconds, nanos).is_ok();
    if is_time {
        return Ok(Some(Timestamp(seconds * 1_000 + i64::from(nanos / 1_000_000))));
    }
    Err(Misfit::new(field, "must be a point in time before the year 10000, with 0 to 999,999,999 nanoseconds"))
}

//! Reading rows: columns are TEXT and BIGINT, structures are JSON text.

use muster_protocol::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::str::FromStr;

/// Reads the columns of a row by name.
pub trait Columns {
    /// Text.
    ///
    /// # Errors
    /// If there is no such column or it is no text.
    fn text(&self, name: &str) -> sqlx::Result<String>;
    /// Text that may be absent.
    ///
    /// # Errors
    /// If there is no such column or it is no text.
    fn maybe_text(&self, name: &str) -> sqlx::Result<Option<String>>;
    /// A number.
    ///
    /// # Errors
    /// If there is no such column or it is no number.
    fn int(&self, name: &str) -> sqlx::Result<i64>;
    /// A number that may be absent.
    ///
    /// # Errors
    /// If there is no such column or it is no number.
    fn maybe_int(&self, name: &str) -> sqlx::Result<Option<i64>>;

    /// A number that is never negative.
    ///
    /// # Errors
    /// If there is no such column or it is no such number.
    fn count(&self, name: &str) -> sqlx::Result<u64> {
        let value = self.int(name)?;
        u64::try_from(value).map_err(|_| wrong(name, format!("{value} is negative")))
    }

    /// A small number that is never negative.
    ///
    /// # Errors
    /// If there is no such column or it is no such number.
    fn small(&self, name: &str) -> sqlx::Result<u32> {
        let value = self.int(name)?;
        u32::try_from(value).map_err(|_| wrong(name, format!("{value} is out of range")))
    }

    /// A flag.
    ///
    /// # Errors
    /// If there is no such column or it is no number.
    fn flag(&self, name: &str) -> sqlx::Result<bool> {
        Ok(self.int(name)? != 0)
    }

    /// A point in time.
    ///
    /// # Errors
    /// If there is no such column or it is no number.
    fn time(&self, name: &str) -> sqlx::Result<Timestamp> {
        self.int(name).map(Timestamp)
    }

    /// A point in time that may be absent.
    ///
    /// # Errors
    /// If there is no such column or it is no number.
    fn maybe_time(&self, name: &str) -> sqlx::Result<Option<Timestamp>> {
        Ok(self.maybe_int(name)?.map(Timestamp))
    }

    /// Text of a form, for example an id.
    ///
    /// # Errors
    /// If there is no such column or the text is not of the form.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> sqlx::Result<T> {
        self.text(name)?.parse().map_err(|e: T::Err| wrong(name, e.to_string()))
    }

    /// Text of a form that may be absent.
    ///
    /// # Errors
    /// If there is no such column or the text is not of the form.
    fn maybe_parsed<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> sqlx::Result<Option<T>> {
        self.maybe_text(name)?.map(|text| text.parse().map_err(|e: T::Err| wrong(name, e.to_string()))).transpose()
    }

    /// A structure.
    ///
    /// # Errors
    /// If there is no such column or it is not of that shape.
    fn json<T: DeserializeOwned>(&self, name: &str) -> sqlx::Result<T> {
        serde_json::from_str(&self.text(name)?).map_err(|e| wrong(name, e.to_string()))
    }

    /// A structure that may be absent.
    ///
    /// # Errors
    /// If there is no such column or it is not of that shape.
    fn maybe_json<T: DeserializeOwned>(&self, name: &str) -> sqlx::Result<Option<T>> {
        let read = |text: String| serde_json::from_str(&text).map_err(|e| wrong(name, e.to_string()));
        self.maybe_text(name)?.map(read).transpose()
    }
}

impl Columns for AnyRow {
    fn text(&self, name: &str) -> sqlx::Result<String> {
        self.try_get(name)
    }

    fn maybe_text(&self, name: &str) -> sqlx::Result<Option<String>> {
        self.try_get(name)
    }

    fn int(&self, name: &str) -> sqlx::Result<i64> {
        self.try_get(name)
    }

    fn maybe_int(&self, name: &str) -> sqlx::Result<Option<i64>> {
        self.try_get(name)
    }
}

/// A column that does not hold what it should.
pub(in crate::store) fn wrong(column: &str, reason: String) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: reason.into() }
}

/// A structure as text for a column. Our types always serialise; one that did not would be stored as `null` and found on reading.
pub(in crate::store) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Rows as the text of a JSON array.
#[derive(Debug, Default)]
pub(in crate::store) struct JsonRows(String);

impl JsonRows {
    pub(in crate::store) fn push(&mut self, row: &impl Serialize) {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        self.0.push_str(&to_json(row));
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::store) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(in crate::store) fn into_text(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "[]" } else { "]" });
        self.0
    }
}

/// A count as a column holds it.
pub(in crate::store) fn to_int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

//! A part: a piece of a message or an artifact.

use super::model::Metadata;
use super::proto::{decode, encode};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// What a part holds: exactly one of these.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// `text`: words.
    Text(String),
    /// `raw`: the bytes of a file, in base64 on the wire.
    Raw(Vec<u8>),
    /// `url`: where a file is.
    Url(String),
    /// `data`: any JSON, `null` included.
    Data(Value),
}

/// A piece of a message or an artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it holds.
    pub content: Content,
    /// The name of the file.
    pub filename: Option<String>,
    /// The media type.
    pub media_type: Option<String>,
    /// Anything.
    pub metadata: Metadata,
}

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self { content, filename: None, media_type: None, metadata: Metadata::new() }
    }
}

impl Part {
    /// A part of text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(text.into()).into()
    }

    /// A part of data.
    #[must_use]
    pub fn data(data: Value) -> Self {
        Content::Data(data).into()
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        match &self.content {
            Content::Text(text) => map.serialize_entry("text", text)?,
            Content::Raw(bytes) => map.serialize_entry("raw", &encode(bytes))?,
            Content::Url(url) => map.serialize_entry("url", url)?,
            Content::Data(data) => map.serialize_entry("data", data)?,
        }
        if let Some(filename) = &self.filename {
            map.serialize_entry("filename", filename)?;
        }
        if let Some(media_type) = &self.media_type {
            map.serialize_entry("mediaType", media_type)?;
        }
        if !self.metadata.is_empty() {
            map.serialize_entry("metadata", &self.metadata)?;
        }
        map.end()
    }
}

/// A part as it came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    text: Option<String>,
    raw: Option<String>,
    url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Value>,
    filename: Option<String>,
    media_type: Option<String>,
    metadata: Option<Metadata>,
}

/// A value that is there, `null` too.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let given = Given::deserialize(d)?;
        let raw = given.raw.map(|raw| decode(&raw).map_err(|e| de::Error::custom(format!("`raw` {e}")))).transpose()?;
        let contents = [given.text.map(Content::Text), raw.map(Content::Raw), given.url.map(Content::Url), given.data.map(Content::Data)];
        let mut contents = contents.into_iter().flatten();
        let (Some(content), None) = (contents.next(), contents.next()) else {
            return Err(de::Error::custom("must hold exactly one of text, raw, url and data"));
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            content,
            filename: some(given.filename),
            media_type: some(given.media_type),
            metadata: given.metadata.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Part};
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<Part, String> {
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    #[test]
    fn a_part_holds_exactly_one_thing() {
        for wrong in [json!({}), json!({ "text": "a", "url": "b" }), json!({ "text": null }), json!({ "raw": "*" }), json!({ "text": 7 })] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        assert_eq!(read(json!({ "text": "", "data2": 1 })).unwrap(), Part::text(""));
        assert_eq!(read(json!({ "data": null })).unwrap(), Part::data(Value::Null));
        assert_eq!(read(json!({ "text": null, "url": "u" })).unwrap().content, Content::Url("u".into()));
    }

    #[test]
    fn bytes_are_read_from_any_base64_and_written_in_the_standard_one() {
        for spelling in ["+/8=", "+/8", "-_8=", "-_8"] {
            let part = read(json!({ "raw": spelling })).unwrap();
            assert_eq!(part.content, Content::Raw(vec![0xfb, 0xff]));
            assert_eq!(serde_json::to_value(&part).unwrap(), json!({ "raw": "+/8=" }));
        }
    }
}

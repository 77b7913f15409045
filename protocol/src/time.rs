//! Points in time as they go over the wire.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time in milliseconds since 1970 (UTC). Written as RFC 3339 with milliseconds and `Z`; read from that, from
/// RFC 3339 with any offset, from a time without offset (taken as UTC, as earlier clients send it), or from a number of
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads a time as described above; `None` if it is no time.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let zoned = text.parse::<jiff::Timestamp>();
        let at = zoned.or_else(|_| {
            let civil = text.parse::<jiff::civil::DateTime>()?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp())
        });
        at.ok().map(|at| Self(at.as_millisecond()))
    }

    /// Milliseconds from `earlier` to this one; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an RFC 3339 time or a number of milliseconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Timestamp, E> {
                // What cannot be written as a date could not be read again.
                let at = jiff::Timestamp::from_millisecond(ms);
                at.map(|_| Timestamp(ms)).map_err(|_| E::invalid_value(de::Unexpected::Signed(ms), &self))
            }

            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Timestamp, E> {
                let signed = i64::try_from(ms).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(ms), &self))?;
                self.visit_i64(signed)
            }
        }
        d.deserialize_any(Visitor)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .examples([serde_json::json!("2026-11-22T12:30:00.000Z")])
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn times_are_written_with_milliseconds_and_z() {
        assert_eq!(Timestamp(1_700_000_000_000).to_string(), "2023-11-14T22:13:20.000Z");
        assert_eq!(Timestamp(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn a_time_without_offset_is_utc_as_earlier_clients_send_it() {
        let expected = Some(Timestamp(1_700_000_000_123));
        assert_eq!(Timestamp::parse("2023-11-14T22:13:20.123456"), expected);
        assert_eq!(Timestamp::parse("2023-11-14T23:13:20.123+01:00"), expected);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn a_number_that_is_no_date_is_refused() {
        let read = |json: &str| serde_json::from_str::<Timestamp>(json).ok();
        assert_eq!(read("1700000000123"), Some(Timestamp(1_700_000_000_123)));
        for wrong in ["9223372036854775807", "-9223372036854775808", "18446744073709551615", "1.5"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

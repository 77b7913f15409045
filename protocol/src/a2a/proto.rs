//! What `ProtoJSON` reads beside the plain spelling: `null` for an absent field, numbers as text, bytes in any base64.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, de};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// `null` is the default.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// An `int32`: a whole number, also as text.
pub(super) fn int<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Int(i64),
        Float(f64),
        Text(String),
    }
    let Some(given) = Option::<Given>::deserialize(d).map_err(|_| de::Error::custom("must be a whole number"))? else { return Ok(None) };
    let whole = match given {
        Given::Int(n) => i32::try_from(n).ok(),
        // `1e1` and `5.0` are whole numbers in JSON.
        Given::Float(n) => format!("{n}").parse().ok(),
        Given::Text(text) => text.parse().ok(),
    };
    whole.map(Some).ok_or_else(|| de::Error::custom("must be a whole number of 32 bits"))
}

/// Bytes as text.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes from text: the standard alphabet or the one for addresses, with or without padding.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let is_url_safe = text.bytes().any(|b| b == b'-' || b == b'_');
    let engine = if is_url_safe { &URL_SAFE } else { &STANDARD };
    engine.decode(text).map_err(|e| format!("is no base64: {e}"))
}

/// Whether a flag is off, so that it is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
pub(super) fn is_off(flag: &bool) -> bool {
    !*flag
}

//! Which version of A2A a request speaks.

use super::error::A2aError;
use axum::http::{HeaderMap, Uri};
use muster_protocol::a2a::ErrorKind;

/// The header, and the parameter of the address.
pub(crate) const HEADER: &str = "a2a-version";

/// A version that this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// 0.3; also what says nothing.
    V03,
    /// 1.0.
    V1,
}

impl Version {
    /// As cards and webhooks name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V03 => "0.3",
            Self::V1 => "1.0",
        }
    }
}

/// What a request says: in the header, else in the address.
///
/// # Errors
/// A version that is not spoken here.
pub(crate) fn asked(headers: &HeaderMap, uri: &Uri) -> Result<Version, A2aError> {
    let header = headers.get(HEADER).map(|value| value.to_str().unwrap_or("?").to_owned()).filter(|value| !value.trim().is_empty());
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut parameters = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(HEADER)).map(|(_, value)| value.into_owned());
    let said = header.or_else(|| parameters.next()).unwrap_or_default();
    parse(said.trim()).ok_or_else(|| unsupported(&said))
}

fn parse(said: &str) -> Option<Version> {
    if said.is_empty() {
        return Some(Version::V03);
    }
    let mut numbers = said.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next()??, numbers.next().unwrap_or(Some(0))?) {
        (0, _) => Some(Version::V03),
        (1, 0) => Some(Version::V1),
        _ => None,
    }
}

fn unsupported(said: &str) -> A2aError {
    let message = format!("version `{}` of A2A is not spoken here; 1.0 and 0.3 are", crate::error::shown(said));
    A2aError::new(ErrorKind::VersionNotSupported, message)
}

/// Refuses an operation of another version than the request says.
///
/// # Errors
/// They differ.
pub(crate) fn demand(wanted: Version, asked: Version, operation: &str) -> Result<(), A2aError> {
    if wanted == asked {
        return Ok(());
    }
    let message = format!(
        "`{operation}` is of version {}, and the request says {}: send the header `A2A-Version: {}`",
        wanted.as_str(),
        asked.as_str(),
        wanted.as_str()
    );
    Err(A2aError::new(ErrorKind::VersionNotSupported, message))
}

#[cfg(test)]
mod tests {
    use super::{Version, asked, parse};
    use axum::http::{HeaderMap, Uri};

    #[test]
    fn nothing_said_is_0_3() {
        for (said, version) in [("", Some(Version::V03)), ("0.3", Some(Version::V03)), ("0.3.0", Some(Version::V03))] {
            assert_eq!(parse(said), version, "{said}");
        }
        for (said, version) in [("1.0", Some(Version::V1)), ("1", Some(Version::V1)), ("1.0.1", Some(Version::V1))] {
            assert_eq!(parse(said), version, "{said}");
        }
        for unknown in ["1.1", "2.0", "99.0", "x", "1.", "-1.0", "1.0x"] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_header_goes_before_the_address() {
        let uri = Uri::from_static("/?A2A-Version=1.0");
        let mut headers = HeaderMap::new();
        assert_eq!(asked(&headers, &uri).unwrap(), Version::V1);
        headers.insert("a2a-version", "0.3".parse().unwrap());
        assert_eq!(asked(&headers, &uri).unwrap(), Version::V03);
    }
}

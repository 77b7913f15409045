//! The decision before a handler: who asks, and may they?

use super::local::{self, Connection, NotLocal};
use super::{Access, Principal, Secret, TokenHash};
use crate::error::ApiError;
use crate::store::tokens::StoredToken;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use muster_protocol::time::Timestamp;
use std::future::Future;
use url::Url;

/// What of a request decides.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the route demands.
    pub access: Access,
    /// Between whom it travels; none if unknown.
    pub connection: Option<&'a Connection>,
    /// The server's public address.
    pub public_url: Option<&'a Url>,
    /// Whether `--insecure` was spelled out: then nobody needs a token.
    pub insecure: bool,
    /// The address.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// What is known without looking anything up.
#[derive(Debug)]
enum Claim {
    /// Nobody needs to be known.
    Anybody,
    /// The user of this machine.
    Local,
    /// Whoever reaches an insecure server.
    Anonymous,
    /// Somebody with a token.
    Holder(Secret),
}

/// Who asks; `None` on a public route. `find` looks a token up by its hash.
///
/// # Errors
/// 401 without a good credential, 403 with one that does not allow the route, and those of `find`.
pub async fn check<F, Fut>(asked: Asked<'_>, now: Timestamp, find: F) -> Result<Option<Principal>, ApiError>
where
    F: FnOnce(TokenHash) -> Fut,
    Fut: Future<Output = Result<Option<StoredToken>, ApiError>>,
{
    let principal = match claim(asked)? {
        Claim::Anybody => return Ok(None),
        Claim::Local => Principal::local(),
        Claim::Anonymous => Principal::anonymous(),
        Claim::Holder(secret) => {
            let hash = secret.hash();
            holder(find(hash).await?, hash, now)?
        }
    };
    if !asked.access.allows(principal.scope) {
        return Err(ApiError::Forbidden(format!(
            "the scope `{}` does not allow this; use a token with the scope {}",
            principal.scope.as_str(),
            asked.access.words()
        )));
    }
    Ok(Some(principal))
}

fn claim(asked: Asked<'_>) -> Result<Claim, ApiError> {
    if asked.access.is_public() {
        return Ok(Claim::Anybody);
    }
    if let Some(secret) = bearer(asked.headers)? {
        if local::is_from_another_site(asked.uri, asked.headers, asked.public_url) {
            return Err(ApiError::Forbidden(format!("refused: {}", NotLocal::Origin)));
        }
        return Ok(Claim::Holder(secret));
    }
    match local::check(asked.connection, asked.public_url.is_some(), asked.uri, asked.headers) {
        Ok(()) => Ok(Claim::Local),
        // Not for web pages of other sites: their visitors did not ask for that.
        Err(_) if asked.insecure && !local::is_from_another_site(asked.uri, asked.headers, asked.public_url) => Ok(Claim::Anonymous),
        Err(reason) => Err(ApiError::Unauthenticated(format!(
            "this needs a token, because {reason}; send it as `Authorization: Bearer muster_..` (an admin makes one with `muster token \
             create --scope {}` on the server's machine)",
            asked.access.words().split(' ').next_back().unwrap_or("operator")
        ))),
    }
}

/// The token of the header `Authorization`. A credential that is none is refused, also on loopback: it is a mistake to be told.
fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && values.next().is_none() => token.trim(),
        _ => {
            return Err(ApiError::Unauthenticated(
                "send one header `Authorization: Bearer muster_..`; other schemes are not known".to_owned(),
            ));
        }
    };
    let secret = Secret::parse(token);
    secret
        .map(Some)
        .ok_or_else(|| ApiError::Unauthenticated("this is no token of Muster; it begins with `muster_` and the scope".to_owned()))
}

fn holder(found: Option<StoredToken>, hash: TokenHash, now: Timestamp) -> Result<Principal, ApiError> {
    let refuse = |why: &str| Err(ApiError::Unauthenticated(format!("this token {why}; ask an admin of the server for a new one")));
    let Some(StoredToken { token, principal, peer, .. }) = found.filter(|stored| TokenHash::from_hex(&stored.hash) == Some(hash)) else {
        return refuse("is not known here");
    };
    if token.revoked_at.is_some() {
        return refuse("was revoked");
    }
    if token.expires_at.is_some_and(|end| end <= now) {
        return refuse("has expired");
    }
    Ok(Principal { id: principal, scope: token.scope, worker_id: token.worker_id, peer, token_id: Some(token.id) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use muster_protocol::ids::{PrincipalId, TokenId};
    use muster_protocol::token::{Scope, Token};
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_000);

    fn secret() -> Secret {
        Secret::new(Scope::Viewer, [1; 32])
    }

    fn stored(change: impl FnOnce(&mut Token)) -> StoredToken {
        let id = TokenId(Uuid::nil());
        let mut token = Token {
            id,
            name: "laptop".to_owned(),
            scope: Scope::Viewer,
            worker_id: None,
            created_at: Timestamp(0),
            expires_at: None,
            revoked_at: None,
        };
        change(&mut token);
        let principal = PrincipalId(format!("token:{id}"));
        StoredToken { token, hash: secret().hash().to_hex(), principal, peer: None, last_used_at: None }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    /// A request over loopback with these headers; the store holds `token`.
    async fn ask(access: Access, pairs: &[(&'static str, &str)], token: Option<StoredToken>) -> Result<Option<Principal>, ApiError> {
        let connection = Connection { peer: ([127, 0, 0, 1], 4000).into(), listener: ([127, 0, 0, 1], 5001).into() };
        let (uri, headers) = (Uri::from_static("/"), headers(pairs));
        let asked = Asked { access, connection: Some(&connection), public_url: None, insecure: false, uri: &uri, headers: &headers };
        check(asked, NOW, |_| async { Ok(token) }).await
    }

    async fn ask_with_token(access: Access, token: Option<StoredToken>) -> Result<Option<Principal>, ApiError> {
        let bearer = format!("Bearer {}", secret().expose());
        ask(access, &[("host", "example.com"), ("authorization", &bearer)], token).await
    }

    #[tokio::test]
    async fn the_local_user_may_do_everything_without_a_token() {
        let principal = ask(Access::ADMIN, &[("host", "localhost:5001")], None).await.unwrap().unwrap();
        assert_eq!(principal, Principal::local());
    }

    #[tokio::test]
    async fn without_a_token_only_public_routes_are_open_to_others() {
        let elsewhere = [("host", "example.com")];
        assert_eq!(ask(Access::PUBLIC, &elsewhere, None).await.unwrap(), None);
        let refused = ask(Access::VIEWER, &elsewhere, None).await.unwrap_err();
        assert!(matches!(refused, ApiError::Unauthenticated(_)));
        assert!(refused.to_string().contains("muster token create --scope viewer"), "{refused}");
    }

    #[tokio::test]
    async fn an_insecure_server_asks_nobody_but_pages_of_other_sites_for_a_token() {
        let ask_insecure = async |pairs: &[(&'static str, &str)]| {
            let (uri, headers) = (Uri::from_static("/"), headers(pairs));
            let asked = Asked { access: Access::ADMIN, connection: None, public_url: None, insecure: true, uri: &uri, headers: &headers };
            check(asked, NOW, |_| async { Ok(None) }).await
        };
        let principal = ask_insecure(&[("host", "example.com")]).await.unwrap().unwrap();
        assert_eq!(principal, Principal::anonymous());
        assert!(ask_insecure(&[("host", "example.com"), ("origin", "https://evil.example")]).await.is_err());
    }

    #[tokio::test]
    async fn a_token_allows_what_its_scope_allows() {
        let principal = ask_with_token(Access::VIEWER, Some(stored(|_| {}))).await.unwrap().unwrap();
        assert_eq!((principal.scope, principal.id.as_str()), (Scope::Viewer, "token:00000000-0000-0000-0000-000000000000"));
        let refused = ask_with_token(Access::ADMIN, Some(stored(|_| {}))).await.unwrap_err();
        assert_eq!(refused.to_string(), "the scope `viewer` does not allow this; use a token with the scope admin");
    }

    #[tokio::test]
    async fn an_unknown_revoked_or_expired_token_is_refused() {
        let cases = [
            (None, "is not known"),
            (Some(stored(|token| token.revoked_at = Some(NOW))), "was revoked"),
            (Some(stored(|token| token.expires_at = Some(NOW))), "has expired"),
        ];
        for (token, expected) in cases {
            let refused = ask_with_token(Access::VIEWER, token).await.unwrap_err();
            assert!(matches!(refused, ApiError::Unauthenticated(_)) && refused.to_string().contains(expected), "{refused}");
        }
        assert!(ask_with_token(Access::VIEWER, Some(stored(|token| token.expires_at = Some(Timestamp(NOW.0 + 1))))).await.is_ok());
    }

    #[tokio::test]
    async fn a_wrong_credential_is_refused_also_on_loopback() {
        for wrong in ["Basic dXNlcjpwYXNz", "Bearer hunter2", "Bearer", "muster_admin_x"] {
            let refused = ask(Access::VIEWER, &[("host", "localhost"), ("authorization", wrong)], None).await.unwrap_err();
            assert!(matches!(refused, ApiError::Unauthenticated(_)), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_page_of_another_site_is_refused_even_with_a_token() {
        let bearer = format!("Bearer {}", secret().expose());
        let pairs = [("host", "example.com"), ("origin", "https://evil.example"), ("authorization", bearer.as_str())];
        let refused = ask(Access::VIEWER, &pairs, Some(stored(|_| {}))).await.unwrap_err();
        assert!(matches!(refused, ApiError::Forbidden(_)));
    }
}

//! Pages of lists: `?limit=&cursor=`; the next cursor in the headers `X-Next-Cursor` and `Link`, so that the body stays a plain array.

use crate::error::ApiError;
use crate::store::sessions::SessionPlace;
use axum::Json;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use muster_protocol::ids::{TaskId, is_acceptable_id};
use muster_protocol::time::Timestamp;
use serde::Serialize;

/// How many items a list has if nobody says, and at most.
const DEFAULT_LIMIT: u32 = 500;
const LARGEST_LIMIT: u32 = 1_000;

/// A place in the order of a list: a cursor names the one that the page before ended with.
pub(super) trait Place: Sized {
    /// Reads a cursor; `None` if it is none.
    fn parse(cursor: &str) -> Option<Self>;

    /// The cursor.
    fn cursor(&self) -> String;
}

/// Priority and id.
impl Place for (i64, TaskId) {
    fn parse(cursor: &str) -> Option<Self> {
        let (priority, id) = cursor.split_once('.')?;
        Some((priority.parse().ok()?, id.parse().ok()?))
    }

    fn cursor(&self) -> String {
        format!("{}.{}", self.0, self.1)
    }
}

/// Ids have no slash.
impl Place for SessionPlace {
    fn parse(cursor: &str) -> Option<Self> {
        let mut parts = cursor.splitn(3, '/');
        let (updated, worker, session) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        let are_ids = is_acceptable_id(worker) && is_acceptable_id(session);
        are_ids.then(|| Self { updated: Timestamp(updated), worker: worker.into(), session: session.into() })
    }

    fn cursor(&self) -> String {
        format!("{}/{}/{}", self.updated.0, self.worker, self.session)
    }
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<P> {
    /// At most so many items.
    pub limit: u32,
    /// Only after this place.
    pub after: Option<P>,
}

impl<P: Place> Page<P> {
    /// Reads limit and cursor.
    ///
    /// # Errors
    /// 422 with the field named.
    pub(super) fn of(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, ApiError> {
        let after = cursor
            .map(|cursor| P::parse(cursor).ok_or_else(|| ApiError::invalid("cursor", "must be one that an answer gave in X-Next-Cursor")));
        Ok(Self { limit: limit_of(limit, DEFAULT_LIMIT)?, after: after.transpose()? })
    }

    /// Cuts `items`, of which one more than the page holds were looked for, to the page; answers the headers that say where the next one begins.
    /// `query` is the one that asked for this page.
    pub(super) fn cut<T>(&self, items: &mut Vec<T>, query: &str, place: impl Fn(&T) -> P) -> HeaderMap {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        next_page(items.last().filter(|_| more).map(|last| place(last).cursor()), self.limit, query)
    }
}

/// The headers that say where the next page begins, if there is one.
pub(super) fn next_page(cursor: Option<String>, limit: u32, query: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(cursor) = cursor {
        let link = link(query, limit, &cursor);
        for (name, value) in [("x-next-cursor", cursor), ("link", link)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
    headers
}

/// How many items are asked for, if that is possible.
///
/// # Errors
/// 422 with the field named.
pub(super) fn limit_of(limit: Option<u32>, default: u32) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(default);
    if (1..=LARGEST_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::invalid("limit", format!("must be from 1 to {LARGEST_LIMIT}")))
}

/// The answer: a page as a plain array; see [`Page::cut`].
pub(super) fn paged<T: Serialize, P: Place>(mut items: Vec<T>, page: &Page<P>, query: &str, place: impl Fn(&T) -> P) -> Response {
    let headers = page.cut(&mut items, query, place);
    (headers, Json(items)).into_response()
}

/// The address of the next page, relative to this one's: the same filters, another place.
fn link(query: &str, limit: u32, cursor: &str) -> String {
    let filters = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "limit" && name != "cursor");
    let mut next = url::form_urlencoded::Serializer::new(String::new());
    next.extend_pairs(filters).append_pair("limit", &limit.to_string()).append_pair("cursor", cursor);
    format!("<?{}>; rel=\"next\"", next.finish())
}

#[cfg(test)]
mod tests {
    use super::{Page, Place, SessionPlace, link};
    use muster_protocol::ids::TaskId;
    use muster_protocol::time::Timestamp;

    type Tasks = Page<(i64, TaskId)>;

    #[test]
    fn the_next_page_has_the_filters_of_this_one() {
        let next = link("limit=3&status=pending&q=a%20%26%20b&cursor=0.x", 3, "-1.y");
        assert_eq!(next, r#"<?status=pending&q=a+%26+b&limit=3&cursor=-1.y>; rel="next""#);
    }

    #[test]
    fn a_cursor_is_read_back_and_nonsense_is_refused() {
        let id = "0198e2f0-0000-7000-8000-000000000001";
        let page = Tasks::of(Some(10), Some(&format!("-3.{id}"))).unwrap();
        assert_eq!(page.after, Some((-3, id.parse().unwrap())));
        for wrong in ["", "x", "1", "1.x", "99999999999999999999.x"] {
            assert!(Tasks::of(None, Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Tasks::of(Some(0), None).is_err() && Tasks::of(Some(1_001), None).is_err());
    }

    #[test]
    fn a_place_among_sessions_is_read_back_whatever_their_ids() {
        let place = SessionPlace { updated: Timestamp(-5), worker: "a.b:c".into(), session: "ses_1.2".into() };
        assert_eq!(SessionPlace::parse(&place.cursor()), Some(place));
        for wrong in ["", "x", "1", "1/w", "1/w/", "1//s", "x/w/s", "1/w/s/t", "1/w/a b"] {
            assert_eq!(SessionPlace::parse(wrong), None, "{wrong}");
        }
    }
}

//! Pages of lists: `?limit=&cursor=`; the next cursor in the headers `X-Next-Cursor` and `Link`, so that the body stays a plain array.

use crate::error::ApiError;
use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse as _, Response};
use muster_protocol::ids::TaskId;
use serde::Serialize;

/// How many items a list has if nobody says, and at most.
const DEFAULT_LIMIT: u32 = 500;
const LARGEST_LIMIT: u32 = 1_000;

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// At most so many items.
    pub limit: u32,
    /// Only after this place: priority and id.
    pub after: Option<(i64, TaskId)>,
}

impl Page {
    /// Reads limit and cursor.
    ///
    /// # Errors
    /// 422 with the field named.
    pub(super) fn of(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=LARGEST_LIMIT).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("must be from 1 to {LARGEST_LIMIT}")));
        }
        let after = cursor.map(|cursor| {
            let place = cursor.split_once('.').and_then(|(priority, id)| Some((priority.parse().ok()?, id.parse().ok()?)));
            place.ok_or_else(|| ApiError::invalid("cursor", "must be one that an answer gave in X-Next-Cursor"))
        });
        Ok(Self { limit, after: after.transpose()? })
    }
}

/// The answer: `items`, of which one more than the page holds were looked for, to know whether there is a next page. `query` is the one that
/// asked for this page.
pub(super) fn paged<T: Serialize>(mut items: Vec<T>, page: &Page, query: &str, place: impl Fn(&T) -> (i64, TaskId)) -> Response {
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more).map(&place);
    let mut response = Json(items).into_response();
    if let Some((priority, id)) = last {
        let cursor = format!("{priority}.{id}");
        let link = link(query, page.limit, &cursor);
        for (name, value) in [("x-next-cursor", cursor), ("link", link)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
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
    use super::{Page, link};

    #[test]
    fn the_next_page_has_the_filters_of_this_one() {
        let next = link("limit=3&status=pending&q=a%20%26%20b&cursor=0.x", 3, "-1.y");
        assert_eq!(next, r#"<?status=pending&q=a+%26+b&limit=3&cursor=-1.y>; rel="next""#);
    }

    #[test]
    fn a_cursor_is_read_back_and_nonsense_is_refused() {
        let id = "0198e2f0-0000-7000-8000-000000000001";
        let page = Page::of(Some(10), Some(&format!("-3.{id}"))).unwrap();
        assert_eq!(page.after, Some((-3, id.parse().unwrap())));
        for wrong in ["", "x", "1", "1.x", "99999999999999999999.x"] {
            assert!(Page::of(None, Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Page::of(Some(0), None).is_err() && Page::of(Some(1_001), None).is_err());
    }
}

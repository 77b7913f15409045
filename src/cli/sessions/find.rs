//! From what people type to a session.

use crate::cli::exit::Failure;
use crate::cli::render::one_line;
use crate::cli::session::Session;
use muster_protocol::session::Session as OpencodeSession;

/// The fewest characters by which a session is looked for.
const SHORTEST: usize = 4;
const MOST_PAGES: usize = 20;
/// How many of an id are shown in tables: its end. Its beginning is the time it was made.
const SHORT: usize = 12;
/// How many sessions are named where several fit.
const MOST_NAMED: usize = 5;

/// The short form of a session's id in tables.
pub(crate) fn short(id: &str) -> String {
    let cut = id.len().saturating_sub(SHORT);
    id.get(cut..).unwrap_or(id).to_owned()
}

/// The session that `typed` means: its id, or the beginning or end of the id of exactly one.
pub(crate) async fn find(session: &Session<'_>, typed: &str) -> Result<OpencodeSession, Failure> {
    if typed.len() < SHORTEST {
        return Err(Failure::Usage(format!("give at least {SHORTEST} characters of a session's id; see \"muster sessions\"")));
    }
    let (all, _) = session.pages::<OpencodeSession>(super::PATH, &[("q", typed), ("children", "true")], MOST_PAGES).await?;
    choose(typed, all)
}

fn choose(typed: &str, all: Vec<OpencodeSession>) -> Result<OpencodeSession, Failure> {
    let is_meant = |session: &OpencodeSession| session.report.id.as_str().starts_with(typed) || session.report.id.as_str().ends_with(typed);
    let mut meant: Vec<OpencodeSession> = all.into_iter().filter(is_meant).collect();
    if let Some(exact) = meant.iter().position(|session| session.report.id.as_str() == typed) {
        meant = vec![meant.swap_remove(exact)];
    }
    // One that changed while the pages were read is listed twice.
    meant.dedup_by(|one, other| one.report.id == other.report.id && one.worker_id == other.worker_id);
    if meant.len() > 1 {
        let named = meant.iter().take(MOST_NAMED).map(|session| {
            let title = one_line(session.report.title.as_deref().unwrap_or_default(), 40);
            format!("{} on {} \"{title}\"", session.report.id, super::machine(session))
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let more = meant.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(Failure::NotFound(format!("`{typed}` is not enough to tell sessions apart: {named}{more}")));
    }
    let missing = || Failure::NotFound(format!("no session's id begins or ends with `{typed}`; see \"muster sessions --search\""));
    meant.pop().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::{choose, short};
    use crate::cli::sessions::tests::example;

    fn all() -> Vec<muster_protocol::session::Session> {
        ["ses_54e1aabbccddGHIJKLMN", "ses_54e1aabbccddGHIJKLXX", "ses_99", "ses_99more"].map(example).to_vec()
    }

    #[test]
    fn a_session_is_found_by_either_end_of_its_id() {
        let found = |typed: &str| choose(typed, all()).unwrap().report.id.to_string();
        assert_eq!(found("KLXX"), "ses_54e1aabbccddGHIJKLXX");
        assert_eq!(found(&short("ses_54e1aabbccddGHIJKLMN")), "ses_54e1aabbccddGHIJKLMN", "what a table shows");
        assert_eq!(found("ses_99"), "ses_99", "a whole id is meant by itself");
    }

    #[test]
    fn what_fits_several_or_none_says_so() {
        let several = choose("ses_54", all()).unwrap_err().message().unwrap();
        assert!(several.contains("ses_54e1aabbccddGHIJKLMN on build-box \"Fix the tests\""), "{several}");
        assert!(choose("nope", all()).unwrap_err().message().unwrap().contains("no session"));
    }
}

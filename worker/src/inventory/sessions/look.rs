//! Which sessions there are, and where they belong.

use crate::opencode::client::{Listed, OpenCodeError};
use crate::opencode::server::Running;
use muster_protocol::ids::CodebaseId;
use muster_protocol::worker::Registered;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// How many sessions are listed at once.
const LIST_PAGE: usize = 500;
/// How many sessions are told of at most, the newest ones.
const MOST_SESSIONS: usize = 20_000;

/// Leaves those that Muster began, and those that they began.
pub(super) fn keep_own(listed: &mut Vec<Listed>, mut own: HashSet<String>) {
    let began = |session: &Listed, own: &HashSet<String>| {
        session.metadata["muster"].is_object() || session.parent_id.as_ref().is_some_and(|parent| own.contains(parent))
    };
    loop {
        let before = own.len();
        let found: Vec<String> = listed.iter().filter(|session| began(session, &own)).map(|session| session.id.clone()).collect();
        own.extend(found);
        if own.len() == before {
            break;
        }
    }
    listed.retain(|session| began(session, &own));
}

/// The sessions changed at `since` or later, or all of them, the newest first.
pub(super) async fn list(running: &Running, since: Option<i64>) -> Result<Vec<Listed>, OpenCodeError> {
    let mut all: Vec<Listed> = Vec::new();
    let mut names = HashSet::new();
    let mut before = None;
    loop {
        let page = running.client.list_sessions(since, before, LIST_PAGE).await?;
        let (full, oldest) = (page.len() >= LIST_PAGE, page.last().map(|session| session.time.updated));
        let known = names.len();
        all.extend(page.into_iter().filter(|session| names.insert(session.id.clone())));
        let Some(oldest) = oldest.filter(|_| full && all.len() < MOST_SESSIONS) else { return Ok(all) };
        // The cursor is a time, and sessions of the same millisecond may lie on both sides: those are listed once more.
        before = Some(if names.len() > known { oldest + 1 } else { oldest });
        tokio::task::yield_now().await;
    }
}

/// Which directory belongs to which codebase.
pub(super) struct Places {
    /// The longest path first.
    codebases: Vec<(PathBuf, CodebaseId)>,
    pub(super) global: Option<CodebaseId>,
}

impl Places {
    pub(super) fn of(registered: &Registered) -> Self {
        let global = registered.codebases.iter().find(|codebase| codebase.is_global).map(|codebase| codebase.id.clone());
        let others = registered.codebases.iter().filter(|codebase| !codebase.is_global);
        let mut codebases: Vec<_> = others.map(|codebase| (PathBuf::from(&codebase.path), codebase.id.clone())).collect();
        codebases.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        Self { codebases, global: registered.worker.global_codebase_id.clone().or(global) }
    }

    pub(super) fn of_directory(&self, directory: &str) -> Option<&CodebaseId> {
        let inside = self.codebases.iter().find(|(path, _)| Path::new(directory).starts_with(path));
        inside.map(|(_, id)| id).or(self.global.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::{Listed, Places, keep_own};
    use muster_protocol::ids::CodebaseId;
    use serde_json::json;
    use std::collections::HashSet;
    use std::path::PathBuf;

    #[test]
    fn a_session_belongs_to_the_innermost_codebase_around_its_directory() {
        let id = |id: &str| CodebaseId(id.to_owned());
        let codebases = vec![(PathBuf::from("/srv/app/web"), id("web")), (PathBuf::from("/srv/app"), id("app"))];
        let places = Places { codebases, global: Some(id("home")) };
        let of = |directory: &str| places.of_directory(directory).unwrap().as_str().to_owned();
        assert_eq!(
            (of("/srv/app/web/src"), of("/srv/app"), of("/srv/application"), of("")),
            ("web".into(), "app".into(), "home".into(), "home".into())
        );
    }

    #[test]
    fn own_are_those_that_muster_began_and_their_subagents() {
        let session = |id: &str, parent: Option<&str>, muster: bool| -> Listed {
            let metadata = if muster { json!({"muster": {"task": "t"}}) } else { json!({}) };
            serde_json::from_value(json!({"id": id, "parentID": parent, "metadata": metadata})).unwrap()
        };
        let mut listed = vec![
            session("grandchild", Some("child"), false),
            session("child", Some("own"), false),
            session("own", None, true),
            session("hand", None, false),
            session("told", Some("earlier"), false),
        ];
        keep_own(&mut listed, HashSet::from(["earlier".to_owned()]));
        assert_eq!(listed.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), ["grandchild", "child", "own", "told"]);
    }
}

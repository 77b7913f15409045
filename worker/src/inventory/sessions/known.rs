//! What the server has been told of the sessions, kept in the state directory so that a restart tells nothing twice.
//!
//! One small row a session in `sessions/index.json`, and beside it one file a session whose messages were told: their ids
//! and fingerprints. Nothing is synced to the disk: what a crash of the machine loses is told again, which changes nothing.

use super::shape::fingerprint;
use muster_protocol::session::SessionMessage;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most messages of a session that are told, the newest ones.
pub(super) const MOST_MESSAGES: usize = 500;
/// How often the rows are written at most.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// What was told of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The fingerprint of what was told of it; 0: tell it again.
    pub(super) told: u64,
    /// The codebase it was told under.
    pub(super) codebase: String,
    /// When it had changed last, as OpenCode says.
    pub(super) updated: i64,
    /// The `updated` for which its messages were told; 0: never.
    pub(super) read: i64,
    /// How many messages it has, if that is known.
    #[serde(default)]
    pub(super) count: Option<u64>,
    /// When its messages are to be read again, in milliseconds since 1970, although it is not said to have changed.
    #[serde(skip)]
    pub(super) again: Option<i64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    /// The server's id of the global codebase: another one is another server, or one that has lost everything.
    server: String,
    rows: BTreeMap<String, Row>,
}

/// What was told of all sessions.
#[derive(Debug)]
pub(super) struct Known {
    dir: PathBuf,
    index: Index,
    unsaved: bool,
    saved: Instant,
}

/// What was told of a session's messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Whether the newest ones were told without a hole.
    pub(super) whole: bool,
    /// Ids and fingerprints, oldest first.
    pub(super) messages: Vec<(String, u64)>,
}

impl Known {
    /// Reads what an earlier start has noted. What cannot be read is told again.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("sessions");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let index = fs::read(dir.join("index.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Ok(Self { dir, index, unsaved: false, saved: Instant::now() })
    }

    /// From now on this server is told; gives whether it is another one, which knows nothing.
    pub(super) fn serve(&mut self, server: &str) -> bool {
        if self.index.server == server {
            return false;
        }
        for id in self.index.rows.keys() {
            self.forget_messages(id);
        }
        self.index = Index { server: server.to_owned(), rows: BTreeMap::new() };
        self.unsaved = true;
        self.save();
        true
    }

    pub(super) fn rows(&self) -> &BTreeMap<String, Row> {
        &self.index.rows
    }

    pub(super) fn row(&self, id: &str) -> Option<&Row> {
        self.index.rows.get(id)
    }

    /// The row of a session, to be changed.
    pub(super) fn row_mut(&mut self, id: &str) -> &mut Row {
        self.unsaved = true;
        self.index.rows.entry(id.to_owned()).or_default()
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.index.rows.remove(id);
        self.unsaved = true;
        self.forget_messages(id);
    }

    /// When something is to be read again although nothing says that it has changed.
    pub(super) fn next_again(&self) -> Option<i64> {
        self.index.rows.values().filter_map(|row| row.again).min()
    }

    /// The sessions that changed after `since` are to be read again: an earlier start may not have seen the end of it.
    pub(super) fn doubt(&mut self, since: i64) {
        for row in self.index.rows.values_mut().filter(|row| row.updated > since) {
            row.again = Some(0);
        }
    }

    /// What is to be read again is so at once.
    pub(super) fn hurry(&mut self) {
        for row in self.index.rows.values_mut().filter(|row| row.again.is_some()) {
            row.again = Some(0);
        }
    }

    /// What was told of a session's messages.
    pub(super) fn told(&self, id: &str) -> Told {
        self.file(id).and_then(|file| fs::read(file).ok()).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(super) fn set_told(&self, id: &str, told: &Told) {
        let Some(file) = self.file(id) else { return };
        if let Err(error) = write(&file, told) {
            tracing::debug!("{} cannot be written: {error}", file.display());
        }
    }

    pub(super) fn forget_messages(&self, id: &str) {
        if let Some(file) = self.file(id) {
            let _ = fs::remove_file(file);
        }
    }

    /// Writes the rows, but not too often.
    pub(super) fn save_soon(&mut self) {
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save();
        }
    }

    /// Writes the rows if they have changed.
    pub(super) fn save(&mut self) {
        if !self.unsaved {
            return;
        }
        self.saved = Instant::now();
        match write(&self.dir.join("index.json"), &self.index) {
            Ok(()) => self.unsaved = false,
            Err(error) => tracing::debug!("what was told of the sessions cannot be written: {error}"),
        }
    }

    /// The file of a session; none if its id is unfit to be a file's name.
    fn file(&self, id: &str) -> Option<PathBuf> {
        let fit = id.len() <= 100 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        fit.then(|| self.dir.join(format!("{id}.json")))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.save();
    }
}

fn write(file: &Path, value: &impl Serialize) -> io::Result<()> {
    let draft = file.with_extension("new");
    fs::write(&draft, serde_json::to_vec(value)?)?;
    fs::rename(draft, file)
}

/// Reading a session's messages from the newest to the oldest, against what was told before.
#[derive(Debug)]
pub(super) struct Comparison {
    before: Told,
    /// Read so far, oldest first.
    seen: Vec<(String, u64)>,
    done: bool,
}

impl Comparison {
    pub(super) fn new(before: Told) -> Self {
        Self { before, seen: Vec::new(), done: false }
    }

    /// Takes a page in, oldest first, the last one if there is no older; gives those of it that are new or have changed.
    pub(super) fn page(&mut self, messages: Vec<(SessionMessage, usize)>, last: bool) -> Vec<(SessionMessage, usize)> {
        let prints: Vec<u64> = messages.iter().map(|(message, _)| fingerprint(message)).collect();
        let known = |id: &str, print: u64| self.before.messages.iter().any(|(known, told)| known == id && *told == print);
        // Nothing is changed far back without something near: an old message that is as it was ends the reading.
        let met = messages.first().zip(prints.first()).is_some_and(|((oldest, _), print)| self.before.whole && known(&oldest.id, *print));
        let changed: Vec<bool> = messages.iter().zip(&prints).map(|((message, _), print)| !known(&message.id, *print)).collect();
        let page = messages.iter().zip(prints).map(|((message, _), print)| (message.id.clone(), print));
        self.seen.splice(0..0, page.collect::<Vec<_>>());
        self.done = met || last || self.seen.len() >= MOST_MESSAGES;
        messages.into_iter().zip(changed).filter_map(|(message, changed)| changed.then_some(message)).collect()
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// What was told if everything read so far is, not to the end.
    pub(super) fn so_far(&self) -> Told {
        let seen: HashSet<&str> = self.seen.iter().map(|(id, _)| id.as_str()).collect();
        let mut messages: Vec<_> = self.before.messages.iter().filter(|(id, _)| !seen.contains(id.as_str())).cloned().collect();
        messages.extend(self.seen.iter().cloned());
        Told { whole: false, messages: newest(messages) }
    }

    /// The end; `all` if there is no message that was not read.
    pub(super) fn end(self, all: bool) -> End {
        let met = self.seen.first().and_then(|(oldest, _)| self.before.messages.iter().position(|(id, _)| id == oldest));
        let (kept, replaced) = match met {
            _ if all => (&[][..], &self.before.messages[..]),
            Some(at) => self.before.messages.split_at(at),
            // Beyond what was read nothing is known.
            None => (&[][..], &[][..]),
        };
        let seen: HashSet<&str> = self.seen.iter().map(|(id, _)| id.as_str()).collect();
        let before: HashSet<&str> = self.before.messages.iter().map(|(id, _)| id.as_str()).collect();
        let gone: Vec<String> = replaced.iter().filter(|(id, _)| !seen.contains(id.as_str())).map(|(id, _)| id.clone()).collect();
        let added = seen.difference(&before).count();
        let messages = kept.iter().chain(&self.seen).cloned().collect();
        End { told: Told { whole: true, messages: newest(messages) }, gone, all: all.then_some(seen.len()), added }
    }
}

/// What came of reading a session's messages.
#[derive(Debug)]
pub(super) struct End {
    /// What is told then.
    pub(super) told: Told,
    /// Messages that are no longer there.
    pub(super) gone: Vec<String>,
    /// How many there are, if all of them were read.
    pub(super) all: Option<usize>,
    /// How many are new.
    pub(super) added: usize,
}

impl End {
    /// How many messages the session has, if that is known.
    pub(super) fn count(&self, before: Option<u64>) -> Option<u64> {
        let all = self.all.map(|all| all as u64);
        all.or_else(|| Some((before? + self.added as u64).saturating_sub(self.gone.len() as u64)))
    }
}

fn newest(mut messages: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let from = messages.len().saturating_sub(MOST_MESSAGES);
    messages.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Known, MOST_MESSAGES, Told};
    use crate::inventory::sessions::shape::message;
    use muster_protocol::session::SessionMessage;
    use serde_json::json;

    fn page(ids: &[&str]) -> Vec<(SessionMessage, usize)> {
        let value = |id: &&str| {
            let (id, text) = id.split_once('=').unwrap_or((id, ""));
            json!({"info": {"id": id, "role": "user"}, "parts": [{"type": "text", "text": text}]})
        };
        ids.iter().filter_map(|id| message(&value(id))).collect()
    }

    fn ids(messages: &[(SessionMessage, usize)]) -> Vec<&str> {
        messages.iter().map(|(message, _)| message.id.as_str()).collect()
    }

    fn told(ids: &[&str]) -> Told {
        let mut first = Comparison::new(Told::default());
        first.page(page(ids), true);
        first.end(true).told
    }

    #[test]
    fn only_what_is_new_or_changed_is_told_and_reading_ends_where_nothing_is() {
        let mut again = Comparison::new(told(&["a", "b", "c", "d"]));
        assert_eq!(ids(&again.page(page(&["c", "d=more", "e"]), false)), ["d", "e"]);
        assert!(again.is_done());
        let end = again.end(false);
        assert_eq!(end.told.messages.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
        assert_eq!((end.gone.len(), end.count(Some(4)), end.count(None)), (0, Some(5), None));
    }

    #[test]
    fn messages_that_are_gone_are_told_as_far_as_was_read() {
        let mut again = Comparison::new(told(&["a", "b", "c", "d"]));
        again.page(page(&["b", "e"]), false);
        assert!(again.is_done());
        assert_eq!(again.end(false).gone, ["c", "d"]);
        let mut emptied = Comparison::new(told(&["a", "b"]));
        emptied.page(vec![], true);
        assert_eq!(emptied.end(true).gone, ["a", "b"]);
    }

    #[test]
    fn a_reading_that_was_broken_off_is_done_wholly_and_tells_only_the_rest() {
        let mut first = Comparison::new(Told::default());
        assert_eq!(first.page(page(&["c", "d"]), false).len(), 2);
        let mut again = Comparison::new(first.so_far());
        assert!(again.page(page(&["c", "d"]), false).is_empty());
        assert!(!again.is_done(), "older ones were never told");
        assert_eq!(ids(&again.page(page(&["a", "b"]), true)), ["a", "b"]);
        let end = again.end(true);
        assert!(end.told.whole && end.told.messages.len() == 4 && end.gone.is_empty() && end.count(None) == Some(4), "{end:?}");
    }

    #[test]
    fn no_more_than_the_newest_messages_are_read() {
        let mut long = Comparison::new(Told::default());
        let mut pages = 0;
        while !long.is_done() {
            let names: Vec<String> = (0..20).map(|n| format!("m{pages}-{n}")).collect();
            long.page(page(&names.iter().map(String::as_str).collect::<Vec<_>>()), false);
            pages += 1;
        }
        assert_eq!(pages * 20, MOST_MESSAGES);
        assert_eq!(long.end(false).all, None);
    }

    #[test]
    fn what_was_told_survives_a_restart_and_is_void_for_another_server() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Known::open(dir.path()).unwrap();
        known.serve("g1");
        known.row_mut("ses_a").told = u64::MAX;
        known.set_told("ses_a", &told(&["a"]));
        known.set_told("../b", &told(&["a"]));
        drop(known);
        let mut known = Known::open(dir.path()).unwrap();
        known.serve("g1");
        assert_eq!((known.row("ses_a").unwrap().told, known.told("ses_a").messages.len()), (u64::MAX, 1));
        assert!(!dir.path().join("b.json").exists());
        known.serve("g2");
        assert!(known.rows().is_empty() && known.told("ses_a") == Told::default());
    }
}

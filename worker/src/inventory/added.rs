//! Codebases that were added at the server's request (`register_codebase`), kept in the state directory over restarts.

use crate::config::CodebaseSetting;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One of them, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    path: PathBuf,
    #[serde(default)]
    description: String,
}

/// The added codebases.
#[derive(Debug)]
pub struct Added {
    file: PathBuf,
    entries: Mutex<Vec<Entry>>,
}

impl Added {
    /// Reads those that are written down in the state directory.
    ///
    /// # Errors
    /// If they are there and cannot be read.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let file = state_dir.join("codebases.json");
        let entries = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file, entries: Mutex::new(entries) })
    }

    /// All of them but those whose path is configured, too.
    #[must_use]
    pub fn besides(&self, configured: &[CodebaseSetting]) -> Vec<CodebaseSetting> {
        let is_new = |entry: &&Entry| configured.iter().all(|setting| setting.path != entry.path);
        let setting = |entry: &Entry| CodebaseSetting {
            name: entry.name.clone(),
            path: entry.path.clone(),
            description: entry.description.clone(),
            parallel: 1,
        };
        self.lock().iter().filter(is_new).map(setting).collect()
    }

    /// Adds one, or renames the one at that path; written down before it counts.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn add(&self, name: &str, path: &Path, description: &str) -> io::Result<()> {
        let mut entries = self.lock();
        let mut next: Vec<_> = entries.iter().filter(|entry| entry.path != path).cloned().collect();
        next.push(Entry { name: name.to_owned(), path: path.to_owned(), description: description.to_owned() });
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&next)?)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, &self.file)?;
        *entries = next;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Added;
    use std::path::Path;

    #[test]
    fn what_was_added_is_there_after_a_restart_and_once_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let added = Added::open(dir.path()).unwrap();
        added.add("old", Path::new("/srv/app"), "").unwrap();
        added.add("app", Path::new("/srv/app"), "the app").unwrap();
        let again = Added::open(dir.path()).unwrap().besides(&[]);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].name.as_str(), again[0].path.as_path()), ("app", Path::new("/srv/app")));
        assert!(added.besides(&again).is_empty());
    }
}

//! Where OpenCode is: the option, then `PATH`, then the places where its installers put it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The program, if there is one. With `given` only that counts.
#[must_use]
pub fn find(given: Option<&Path>, path: Option<&OsStr>, home: &Path) -> Option<PathBuf> {
    match given {
        Some(given) => is_program(given).then(|| given.to_owned()),
        None => candidates(path, home).into_iter().find(|candidate| is_program(candidate)),
    }
}

fn candidates(path: Option<&OsStr>, home: &Path) -> Vec<PathBuf> {
    let on_path = path.map(|path| std::env::split_paths(path).filter(|dir| dir.is_absolute()).collect::<Vec<_>>()).unwrap_or_default();
    let usual = [
        home.join(".opencode/bin"),
        home.join(".local/bin"),
        home.join(".bun/bin"),
        home.join(".npm-global/bin"),
        home.join(".npm-packages/bin"),
        home.join(".volta/bin"),
        home.join("bin"),
        PathBuf::from("/usr/local/bin"),
        PathBuf::from("/opt/homebrew/bin"),
        PathBuf::from("/usr/bin"),
        PathBuf::from("/usr/local/lib/node_modules/opencode-ai/bin"),
    ];
    on_path.into_iter().chain(usual).map(|dir| dir.join("opencode")).collect()
}

/// Whether this is a file that may be executed.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first program with this name on `PATH`.
#[must_use]
pub fn on_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?).map(|dir| dir.join(name)).find(|candidate| is_program(candidate))
}

#[cfg(test)]
mod tests {
    use super::find;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    fn program(dir: &Path, name: &str, mode: u32) -> PathBuf {
        std::fs::create_dir_all(dir).unwrap();
        let path = dir.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_option_counts_alone_then_path_then_the_usual_places() {
        let dir = tempfile::tempdir().unwrap();
        let (home, bin) = (dir.path().join("home"), dir.path().join("bin"));
        let given = program(dir.path(), "mine", 0o755);
        let usual = program(&home.join(".opencode/bin"), "opencode", 0o755);
        assert_eq!(find(None, Some(bin.as_os_str()), &home), Some(usual));
        let on_path = program(&bin, "opencode", 0o755);
        assert_eq!(find(None, Some(bin.as_os_str()), &home), Some(on_path));
        assert_eq!(find(Some(&given), Some(bin.as_os_str()), &home), Some(given));
        assert_eq!(find(Some(&dir.path().join("none")), Some(bin.as_os_str()), &home), None);
    }

    #[test]
    fn a_file_that_may_not_be_executed_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        program(&dir.path().join(".opencode/bin"), "opencode", 0o644);
        assert_eq!(find(Some(&dir.path().join(".opencode/bin/opencode")), None, dir.path()), None);
    }
}

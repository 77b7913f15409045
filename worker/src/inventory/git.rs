//! The git state of a directory, asked of `git` itself.

use crate::process;
use muster_protocol::codebase::GitState;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// What one call of git may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The state; `None` if the directory is in no work tree, or there is no git.
pub async fn state(dir: &Path) -> Option<GitState> {
    // One call gives branch, head and whether anything is changed; `-unormal` reports an untracked directory as one line.
    let status = git(dir, &["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--ignore-submodules=dirty"]).await?;
    let remote = git(dir, &["config", "--get", "remote.origin.url"]).await;
    let mut state = parse(&status);
    state.remote = remote.map(|url| without_credentials(url.trim())).filter(|url| !url.is_empty());
    Some(state)
}

async fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // No lock is taken, so that the user's own git is never in its way; nothing is asked, no hook is run.
    command.arg("-C").arg(dir).args(["--no-optional-locks", "-c", "core.fsmonitor=false"]).args(args);
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    process::output(command, LIMIT).await
}

/// Reads `git status --porcelain=v2 --branch`.
fn parse(status: &str) -> GitState {
    let mut state = GitState::default();
    for line in status.lines() {
        match line.strip_prefix("# ") {
            Some(header) => {
                if let Some(head) = header.strip_prefix("branch.oid ").filter(|head| *head != "(initial)") {
                    state.head = Some(head.to_owned());
                } else if let Some(branch) = header.strip_prefix("branch.head ").filter(|branch| *branch != "(detached)") {
                    state.branch = Some(branch.to_owned());
                }
            }
            None => state.dirty |= !line.is_empty(),
        }
    }
    state
}

/// A remote's address without user and password.
fn without_credentials(remote: &str) -> String {
    match url::Url::parse(remote) {
        Ok(mut url) if url.has_host() => {
            // `ssh://git@host` says how to log in, not who: only http carries secrets in the user.
            let keep_user = url.scheme() == "ssh" && url.password().is_none();
            let stripped = (keep_user || url.set_username("").is_ok()) && url.set_password(None).is_ok();
            url.set_query(None);
            url.set_fragment(None);
            if stripped { url.to_string() } else { String::new() }
        }
        _ => remote.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, state, without_credentials};
    use std::path::Path;

    fn git(dir: &Path, args: &[&str]) {
        let done = std::process::Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(["-c", "user.name=n", "-c", "user.email=e@e", "-c", "init.defaultBranch=trunk"])
            .args(args)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    #[test]
    fn passwords_never_leave_with_the_remote() {
        assert_eq!(without_credentials("https://user:secret@host/a/b.git?token=secret"), "https://host/a/b.git");
        assert_eq!(without_credentials("https://token@host/a.git"), "https://host/a.git");
        assert_eq!(without_credentials("ssh://git@host/a.git"), "ssh://git@host/a.git");
        assert_eq!(without_credentials("git@host:a/b.git"), "git@host:a/b.git");
        assert_eq!(without_credentials("/srv/a.git"), "/srv/a.git");
    }

    #[test]
    fn a_detached_head_has_no_branch_and_a_new_repository_no_head() {
        assert_eq!(parse("# branch.oid abc\n# branch.head (detached)\n").branch, None);
        assert_eq!(parse("# branch.oid (initial)\n# branch.head main\n").head, None);
        assert!(parse("# branch.head main\n? new\n").dirty);
    }

    #[tokio::test]
    async fn the_state_of_a_real_repository_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(state(dir.path()).await, None);
        git(dir.path(), &["init", "-q"]);
        git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "x"]);
        git(dir.path(), &["remote", "add", "origin", "https://u:p@host/r.git"]);
        let clean = state(dir.path()).await.unwrap();
        assert_eq!((clean.branch.as_deref(), clean.remote.as_deref(), clean.dirty), (Some("trunk"), Some("https://host/r.git"), false));
        assert_eq!(clean.head.unwrap().len(), 40);
        std::fs::write(dir.path().join("new"), "").unwrap();
        assert!(state(dir.path()).await.unwrap().dirty);
    }
}

//! What the tests of the daemon run against: the real OpenCode, a fake LLM, and a stand-in for the control plane.

pub(crate) mod by_hand;
pub(crate) mod daemon;
pub(crate) mod disk;
pub(crate) mod left;
pub(crate) mod llm;
pub(crate) mod plane;
pub(crate) mod sessions;
pub(crate) mod suite;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The OpenCode that the tests use, if there is one.
pub(crate) fn opencode() -> Option<PathBuf> {
    let given = std::env::var_os("MUSTER_OPENCODE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = given.unwrap_or_else(|| root().join("build/opencode/opencode"));
    path.is_file().then_some(path)
}

/// Whether a part must be there.
pub(crate) fn is_required(part: &str) -> bool {
    std::env::var("MUSTER_REQUIRE").unwrap_or_default().split(',').any(|required| required.trim() == part)
}

/// Waits for a condition, checked often; panics with `what` after `limit`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How long anything may take here: the machine may be busy.
pub(crate) const LONG: Duration = Duration::from_secs(90);

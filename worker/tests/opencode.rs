//! The daemon against the real OpenCode with a fake LLM. Without an OpenCode these tests count as skipped; with
//! `MUSTER_REQUIRE=opencode` that is a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "opencode/disks.rs"]
mod disks;
#[path = "opencode/failures.rs"]
mod failures;
#[path = "opencode/lifecycle.rs"]
mod lifecycle;
#[path = "opencode/runs.rs"]
mod runs;
#[path = "opencode/sessions.rs"]
mod sessions;
mod support;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let missing = support::opencode().is_none();
    let mut trials = lifecycle::trials();
    trials.extend(disks::trials());
    trials.extend(failures::trials());
    trials.extend(runs::trials());
    trials.extend(sessions::trials());
    let skip = missing && !support::is_required("opencode");
    let ignore = |trial: Trial| {
        let ignored = skip || trial.has_ignored_flag();
        trial.with_ignored_flag(ignored)
    };
    let trials = trials.into_iter().map(ignore).collect();
    if missing {
        eprintln!("no OpenCode: set MUSTER_OPENCODE, or install it into build/opencode; the tests that need it are skipped");
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    runs::finish();
    failures::finish();
    conclusion.exit();
}

/// A test by its name.
fn trial(name: &'static str, test: fn()) -> Trial {
    Trial::test(name, move || {
        if support::opencode().is_none() {
            return Err("there is no OpenCode, and MUSTER_REQUIRE asks for one".into());
        }
        test();
        Ok(())
    })
}

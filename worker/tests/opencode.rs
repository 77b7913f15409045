//! The daemon against the real OpenCode with a fake LLM. Without an OpenCode these tests count as skipped; with
//! `MUSTER_REQUIRE=opencode` that is a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "opencode/lifecycle.rs"]
mod lifecycle;
#[path = "opencode/runs.rs"]
mod runs;
mod support;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let missing = support::opencode().is_none();
    let mut trials = lifecycle::trials();
    trials.extend(runs::trials());
    let trials = trials.into_iter().map(|trial| trial.with_ignored_flag(missing && !support::is_required("opencode"))).collect();
    if missing {
        eprintln!("no OpenCode: set MUSTER_OPENCODE, or install it into build/opencode; the tests that need it are skipped");
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    runs::finish();
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

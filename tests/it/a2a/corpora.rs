//! What the fuzzer begins with, and what it has found, goes through the same doors once more.

use crate::support::{Cx, cases};
use anyhow::{Result, ensure};
use muster::a2a::hostile;
use std::path::Path;

cases! {
    [] => every_input_of_the_corpora_is_taken_in_or_refused;
}

async fn every_input_of_the_corpora_is_taken_in_or_refused(_: &Cx) -> Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, takes) in [("request", hostile::request as fn(&[u8])), ("told", hostile::told)] {
        let mut inputs = 0;
        for file in std::fs::read_dir(corpora.join(name))? {
            let path = file?.path();
            let body = std::fs::read(&path)?;
            let outcome = std::panic::catch_unwind(|| takes(&body));
            ensure!(outcome.is_ok(), "{} breaks it", path.display());
            inputs += 1;
        }
        ensure!(inputs > 10, "the corpus of {name} has {inputs} inputs");
    }
    Ok(())
}

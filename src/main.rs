//! The `muster` binary: server and command line.
fn main() {}

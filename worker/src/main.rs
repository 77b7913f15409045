//! The `muster-worker` daemon.
fn main() {}

//! The OpenCode of this machine: found, started, watched and restarted, and driven by its HTTP API and event stream.
//! What is known of its behaviour was found by running version [`PINNED_VERSION`].

pub mod client;
pub mod environment;
pub mod error;
pub mod events;
pub mod feed;
pub mod find;
pub mod models;
pub mod server;

/// The version that this worker was made for and is tested with.
pub const PINNED_VERSION: &str = "1.18.33";

/// How to get it.
pub const HOW_TO_INSTALL: &str = "install it with `npm install -g opencode-ai@1.18.33`, or name the program with --opencode";

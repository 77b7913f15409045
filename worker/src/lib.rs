//! The `muster-worker` daemon: takes tasks from a Muster server and runs them in the OpenCode of this machine.
//!
//! # An attempt's way
//!
//! ```text
//!                pull                    journal synced               server knows        prompt given
//!   (server) ──────────▶ Assigned ─────────────────────▶ Started ───────────────────▶ run in OpenCode
//!                           │                              │                              │
//!                           │ cancel / drop / shutdown     │ checks fail                  │ Prompted ⇄ Working ⇄ Retrying ─▶ Over
//!                           ▼                              ▼                              ▼
//!                        Ending: Completed · Failed · Cancelled · HandedBack · Interrupted · Dropped
//!                                                          │ journal synced
//!                                                          ▼
//!                                                      Finishing ── all entries, then the end, acknowledged ──▶ (forgotten)
//! ```
//!
//! [`agent`] registers and pulls, [`task`] executes, [`report`] tells the server, [`spool`] keeps what must survive,
//! [`opencode`] drives OpenCode, [`process`] its processes, [`inventory`] looks at the machine. Nothing here decides for
//! the server, and nothing of the server decides what this machine allows: that is [`policy`].

pub mod agent;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod contact;
pub mod identity;
pub mod inventory;
pub mod lease;
pub mod logging;
pub mod opencode;
pub mod policy;
pub mod process;
pub mod report;
pub mod spool;
pub mod task;

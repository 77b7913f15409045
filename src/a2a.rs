//! The operations of A2A, once, and the bindings on top of them: JSON-RPC (1.0, 0.3 and the quick start's form) and HTTP+JSON (1.0).
//!
//! An A2A task is the task row, its history and artifacts are read from the row, its stream and what was said later; 1.0's types are used inside,
//! 0.3 is translated at the edge. Whoever asks sees their own tasks only, whatever their scope.

mod asked;
pub mod card;
mod cards;
mod error;
mod extensions;
mod incoming;
pub mod jsonrpc;
mod list;
mod old;
mod push;
mod relaxed;
pub mod rest;
mod send;
mod stream;
mod version;
mod view;

//! What the cases stand on: real binaries, a real OpenCode with a fake language model behind it, both databases.

mod case;
mod fleet;
mod harness;
mod http;
mod llm;
mod openapi;
mod plain;
mod postgres;
mod process;
mod proxy;
mod puller;
mod server;
mod shape;
mod shared;
mod sse;
mod story;
mod wait;
mod worker;

pub(crate) use case::{Case, Cx, cases};
pub(crate) use fleet::Fleet;
pub(crate) use harness::{Need, run};
pub(crate) use http::{Answer, Http};
pub(crate) use llm::FakeLlm;
pub(crate) use openapi::{Document, Route, type_of};
pub(crate) use plain::PlainWorker;
pub(crate) use postgres::Postgres;
pub(crate) use process::{Process, is_alive};
pub(crate) use proxy::CutProxy;
pub(crate) use puller::{Puller, running};
pub(crate) use server::Server;
pub(crate) use shape::{ensure_fields, items, text};
pub(crate) use shared::Shared;
pub(crate) use sse::{Sent, Sse};
pub(crate) use story::{Story, follow, in_codebase, on_worker, run_task, until_entry};
pub(crate) use wait::wait_for;
pub(crate) use worker::Worker;

//! The official Python SDKs as clients: each does the whole round on each binding that it shares with this server.

use crate::support::{Cx, Fleet, cases};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

cases! {
    [A2aSdk, Opencode, Python] =>
        the_official_sdk_of_1_0_does_the_whole_round_on_json_rpc within 240,
        the_official_sdk_of_1_0_does_the_whole_round_on_http_json within 240,
        the_official_sdk_of_1_0_does_the_whole_round_on_grpc within 240,
        the_official_sdk_of_0_3_does_the_whole_round within 240;
}

/// Runs a client's script against the shared machine. It ends with 0 if all that it checks is so.
async fn run(fleet: &Fleet, version: &str, binding: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(format!("build/a2a/{version}/bin/python"));
    let script = root.join(format!("tests/support/a2a_{version}.py"));
    let mut command = Command::new(python);
    command.arg(script).arg(fleet.server.url()).arg(fleet.worker()).arg(binding).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context("cannot run the client")?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    ensure!(said.trim_end().ends_with("all is well"), "it says {said}\n{complained}");
    Ok(())
}

async fn the_official_sdk_of_1_0_does_the_whole_round_on_json_rpc(cx: &Cx) -> Result<()> {
    run(cx.fleet().await?, "v1", "JSONRPC").await
}

async fn the_official_sdk_of_1_0_does_the_whole_round_on_http_json(cx: &Cx) -> Result<()> {
    run(cx.fleet().await?, "v1", "HTTP+JSON").await
}

async fn the_official_sdk_of_1_0_does_the_whole_round_on_grpc(cx: &Cx) -> Result<()> {
    run(cx.fleet().await?, "v1", "GRPC").await
}

async fn the_official_sdk_of_0_3_does_the_whole_round(cx: &Cx) -> Result<()> {
    run(cx.fleet().await?, "v03", "JSONRPC").await
}

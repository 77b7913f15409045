//! The official Python and JavaScript SDKs as clients: each does the whole round on each binding that it shares with this server.

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
        the_official_sdk_of_0_3_does_the_whole_round within 240,
        the_lines_of_the_readme_print_what_it_says;
    [A2aJs, Opencode, Python] =>
        the_official_javascript_sdk_does_the_whole_round_on_json_rpc within 240,
        the_official_javascript_sdk_does_the_whole_round_on_http_json within 240,
        the_official_javascript_sdk_does_the_whole_round_on_grpc within 240,
        the_official_javascript_sdk_does_the_whole_round_in_0_3 within 240;
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

async fn python(fleet: &Fleet, version: &str, binding: &str) -> Result<()> {
    let python = Path::new(ROOT).join(format!("build/a2a/{version}/bin/python"));
    run(fleet, Command::new(python), &format!("a2a_{version}.py"), &[binding]).await
}

async fn javascript(fleet: &Fleet, about: &[&str]) -> Result<()> {
    run(fleet, Command::new("node"), "a2a_js.mjs", about).await
}

/// Runs a client's script against the shared machine. It ends with 0 if all that it checks is so.
async fn run(fleet: &Fleet, mut command: Command, script: &str, about: &[&str]) -> Result<()> {
    let script = Path::new(ROOT).join("tests/support").join(script);
    command.arg(script).arg(fleet.server.url()).arg(fleet.worker()).args(about).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context("cannot run the client")?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    ensure!(said.trim_end().ends_with("all is well"), "it says {said}\n{complained}");
    Ok(())
}

async fn the_official_sdk_of_1_0_does_the_whole_round_on_json_rpc(cx: &Cx) -> Result<()> {
    python(cx.fleet().await?, "v1", "JSONRPC").await
}

async fn the_official_sdk_of_1_0_does_the_whole_round_on_http_json(cx: &Cx) -> Result<()> {
    python(cx.fleet().await?, "v1", "HTTP+JSON").await
}

async fn the_official_sdk_of_1_0_does_the_whole_round_on_grpc(cx: &Cx) -> Result<()> {
    python(cx.fleet().await?, "v1", "GRPC").await
}

async fn the_official_sdk_of_0_3_does_the_whole_round(cx: &Cx) -> Result<()> {
    python(cx.fleet().await?, "v03", "JSONRPC").await
}

async fn the_official_javascript_sdk_does_the_whole_round_on_json_rpc(cx: &Cx) -> Result<()> {
    javascript(cx.fleet().await?, &["JSONRPC"]).await
}

async fn the_official_javascript_sdk_does_the_whole_round_on_http_json(cx: &Cx) -> Result<()> {
    javascript(cx.fleet().await?, &["HTTP+JSON"]).await
}

async fn the_official_javascript_sdk_does_the_whole_round_on_grpc(cx: &Cx) -> Result<()> {
    javascript(cx.fleet().await?, &["GRPC"]).await
}

async fn the_official_javascript_sdk_does_the_whole_round_in_0_3(cx: &Cx) -> Result<()> {
    javascript(cx.fleet().await?, &["JSONRPC", "0.3"]).await
}

async fn the_lines_of_the_readme_print_what_it_says(cx: &Cx) -> Result<()> {
    let fleet = cx.fleet().await?;
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md"))?;
    let (_, rest) = readme.split_once("```python\n").context("the README has no Python")?;
    let (lines, after) = rest.split_once("```").context("the README's Python has no end")?;
    ensure!(after.contains("it prints `echo: Hello`"), "the README does not say what comes of it");
    let lines = lines.replace("http://localhost:5001/agents/laptop", &format!("{}/agents/{}", fleet.server.url(), fleet.worker()));
    let mut command = Command::new(Path::new(ROOT).join("build/a2a/v1/bin/python"));
    let output = command.arg("-c").arg(lines).stdin(Stdio::null()).kill_on_drop(true).output().await.context("cannot run Python")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said == "echo: Hello", "{said:?} {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

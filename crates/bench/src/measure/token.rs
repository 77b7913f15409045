//! From a prompt to the first piece of its answer: through server and worker, and from the bare warm OpenCode, one after the other.

use super::Bench;
use super::viewer::is_text;
use crate::database::Kind;
use crate::opencode::{OpenCode, until};
use crate::results::Run;
use crate::server::Server;
use crate::stats::{Latencies, Reading};
use crate::worker::id_in;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::time::{Duration, Instant};

const TIMES: usize = 30;
const WARM: usize = 3;

pub(super) async fn run(bench: &Bench, opencode: &OpenCode, kind: Kind, run: &mut Run) -> Result<()> {
    let server = bench.server(kind).await?;
    let worker = opencode.worker(&server).await?;
    let mut events = opencode.events().await?;
    let (mut ours, mut bare) = (Latencies::default(), Latencies::default());
    let times = bench.scaled(TIMES);
    for n in 0..times + WARM {
        // Whoever goes first may find the machine in another state than the second.
        let mut both = [Duration::ZERO; 2];
        for turn in [n % 2, 1 - n % 2] {
            let prompt = format!("prompt {n} of {}", kind.as_str());
            both[turn] = match turn {
                0 => opencode.first_token(&mut events, &prompt).await.context("the bare OpenCode")?,
                _ => first_token(&server, &prompt).await.context("through Muster")?,
            };
        }
        if n >= WARM {
            bare.add(both[0]);
            ours.add(both[1]);
        }
    }
    drop(worker);
    let database = |part| ours.percentile(part);
    let over = |part| Reading { value: ours.percentile(part).value - bare.percentile(part).value, ..ours.percentile(part) };
    run.put("token.ours", kind.as_str(), database(0.5));
    run.put("token.ours", &format!("bare OpenCode beside {}", kind.as_str()), bare.percentile(0.5));
    run.put("token.over", kind.as_str(), over(0.5));
    run.put("token.over95", kind.as_str(), over(0.95));
    Ok(())
}

async fn first_token(server: &Server, prompt: &str) -> Result<Duration> {
    let body = json!({ "prompt": prompt, "target": { "codebase": "project" }, "model": "fake/echo" }).to_string();
    let submit = server.request("POST", "/v1/opencode/tasks", &body);
    let mut connection = server.connect().await?;
    let begun = Instant::now();
    let task = id_in(connection.ask(&submit).await?.text()?)?;
    let follow = server.request("GET", &format!("/v1/opencode/tasks/{task}/stream"), "");
    let mut viewer = connection.follow(&follow).await?;
    let took = until(&mut viewer, begun, is_text).await?;
    until(&mut viewer, begun, |event| event.starts_with(b"event: done")).await?;
    Ok(took)
}

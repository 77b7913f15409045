//! The quick start: three servers, three terminals, three messages.

use super::trio::{LIMIT, all_up, coordinate, ended, parts_told};
use crate::support::{Cx, Http, Server, cases, text, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        three_servers_answer_as_the_quick_start_says,
        two_servers_coordinate_at_once;
}

async fn three(cx: &Cx) -> Result<[Server; 3]> {
    let a = Server::new(cx.dir(), "Server-A")?.with_args(["--name", "Server-A"]).launch().await?;
    let near = |server: &Server| format!("http://localhost:{}", server.port());
    let b = Server::new(cx.dir(), "Server-B")?.with_args(["--name", "Server-B", "--connect", &near(&a)]).launch().await?;
    let both = format!("{},{}", near(&a), near(&b));
    let c = Server::new(cx.dir(), "Server-C")?.with_args(["--name", "Server-C", "--connect", &both]).launch().await?;
    Ok([a, b, c])
}

async fn say(server: &Server, said: &str) -> Result<(String, String)> {
    let message = json!({ "parts": [{ "type": "text", "content": said }] });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let result = Http::new(server).post("/", &body).await?.ok()?["result"].clone();
    let agent = text(&result["message"]["metadata"], "agent")?.to_owned();
    Ok((agent, text(&result["message"]["parts"][0], "content")?.to_owned()))
}

async fn three_servers_answer_as_the_quick_start_says(cx: &Cx) -> Result<()> {
    let servers = three(cx).await?;
    let all: Vec<&Server> = servers.iter().collect();
    all_up(&all).await?;
    for (n, server) in servers.iter().enumerate() {
        let name = server.name();
        let peers = ["peers      none", "peers      Server-A at", "peers      Server-A at"][n];
        let agents = [
            format!("Coordinator-{name}"),
            format!("Worker-A-{name} (data-processing)"),
            format!("Worker-B-{name} (analytics)"),
            format!("Monitor-{name}"),
        ];
        wait_for("the banner", LIMIT, async || Ok(server.log().contains("peers  ").then_some(()))).await?;
        for wanted in agents.iter().map(String::as_str).chain([peers]) {
            ensure!(server.log().contains(wanted), "{wanted:?} is not in the banner: {}", server.log());
        }
    }
    ensure!(servers[2].log().contains("Server-B at http://"), "C does not show B");
    let (agent, said) = say(all[0], "Hello Server-A").await?;
    ensure!(agent == "Worker-A-Server-A" && said.contains("2 words"), "{agent}: {said}");
    for server in &all {
        // What a server has just heard of it tells at once.
        let (agent, said) = wait_for("all to take part", LIMIT, async || {
            let answer = say(server, "coordinate distributed analytics task").await?;
            Ok(answer.1.starts_with("6 parts").then_some(answer))
        })
        .await?;
        ensure!(agent == format!("Coordinator-{}", server.name()), "{agent} answers");
        ensure!(said.starts_with("6 parts, 6 completed, in "), "{said}");
        for of in ["Server-A", "Server-B", "Server-C"] {
            for worker in ["Worker-A", "Worker-B"] {
                let line = format!("- {worker}-{of} ({of}): completed after ");
                ensure!(said.contains(&line), "{line:?} is not in {said}");
            }
        }
    }
    for server in &all {
        let report = wait_for("the events of all", LIMIT, async || {
            let (agent, said) = say(server, "status report").await?;
            ensure!(agent == format!("Monitor-{}", server.name()), "{agent} answers");
            Ok(said.contains("3 coordination.complete").then_some(said))
        })
        .await?;
        for wanted in
            ["3 server.started", "events by server: Server-A ", "Server-B ", "Server-C ", "workers: none", "models: 0", "running tasks: "]
        {
            ensure!(report.contains(wanted), "{wanted:?} is not in {report}");
        }
        let peers: Vec<_> = all.iter().map(|other| other.name()).filter(|name| *name != server.name()).collect();
        ensure!(report.contains(&format!("connected peers: {}", peers.join(", "))), "{report}");
    }
    Ok(())
}

async fn two_servers_coordinate_at_once(cx: &Cx) -> Result<()> {
    let servers = three(cx).await?;
    all_up(&servers.iter().collect::<Vec<_>>()).await?;
    for server in &servers {
        wait_for("the agents of all", LIMIT, async || {
            let agents = server.get("/v1/agents").await?;
            Ok((agents.as_array().context("a list")?.len() == 12).then_some(()))
        })
        .await?;
    }
    let [a, b, _c] = &servers;
    let begun = [coordinate(a, "coordinate 1 2 3", json!({})), coordinate(b, "coordinate 4 5 6", json!({}))];
    let ids = futures_util::future::try_join_all(begun).await?;
    for (server, id, sum) in [(a, &ids[0], "sum 6"), (b, &ids[1], "sum 15")] {
        let whole = ended(server, id).await?;
        ensure!(text(&whole, "result")?.starts_with("6 parts, 6 completed"), "{whole}");
        let parts = parts_told(server, id).await?;
        let tells = |part: &Value| part["result"].as_str().is_some_and(|said| said.contains(sum));
        ensure!(parts.len() == 6 && parts.iter().all(tells), "{parts:?}");
    }
    Ok(())
}

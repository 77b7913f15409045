//! Servers that are joined, and what the cases ask of them.

use crate::a2a::caller::{Binding, Caller, message, state};
use crate::support::{Cx, FakeLlm, Http, Server, Worker, text, wait_for};
use anyhow::{Context as _, Result, anyhow, ensure};
use muster_protocol::peer::PeerState;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long something may take on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(40);

/// A server that is not started yet, with short leases and short patience.
pub(super) fn unstarted(dir: &Path, name: &str, to: &[String]) -> Result<Server> {
    with_settings(dir, name, to, "")
}

/// The same with more lines of configuration.
pub(super) fn with_settings(dir: &Path, name: &str, to: &[String], more: &str) -> Result<Server> {
    let config = dir.join(format!("{name}.toml"));
    let settings = "[leases]\nlease = \"3s\"\nwait = \"1s\"\n[coordination]\npatience_s = 1\n";
    std::fs::write(&config, format!("name = \"{name}\"\n{more}{settings}"))?;
    let server = Server::new(dir, name)?.with_args(["--config".into(), config.into_os_string()]);
    Ok(if to.is_empty() { server } else { server.with_args(["--connect".to_owned(), to.join(",")]) })
}

/// Servers that run, each joined to the first.
pub(super) async fn joined(dir: &Path, names: &[&str]) -> Result<Vec<Server>> {
    let mut servers: Vec<Server> = Vec::new();
    for name in names {
        let to: Vec<_> = servers.first().map(Server::url).into_iter().collect();
        servers.push(unstarted(dir, name, &to)?.launch().await?);
    }
    all_up(&servers.iter().collect::<Vec<_>>()).await?;
    Ok(servers)
}

/// `Server-A` and `Server-B`.
pub(super) async fn pair(cx: &Cx) -> Result<(Server, Server)> {
    let mut both = joined(cx.dir(), &["Server-A", "Server-B"]).await?.into_iter();
    Ok((both.next().context("one")?, both.next().context("two")?))
}

/// Waits until each of these follows each other.
pub(super) async fn all_up(servers: &[&Server]) -> Result<()> {
    for server in servers {
        wait_for("the peers to be up", LIMIT, async || {
            let peers = server.client().peers().await?;
            Ok((peers.iter().filter(|peer| peer.state == PeerState::Up).count() + 1 >= servers.len()).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// An entry of a directory, once it is as wanted.
pub(super) async fn until_agent(server: &Server, name: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    wait_for(&format!("{name} to be listed as wanted"), LIMIT, async || {
        let agents = server.get("/v1/agents").await?;
        Ok(agents.as_array().context("a list")?.iter().find(|agent| agent["name"] == name && is_so(agent)).cloned())
    })
    .await
}

/// Waits until a server lists a machine that is there.
pub(super) async fn until_listed(server: &Server, name: &str) -> Result<Value> {
    until_agent(server, name, |agent| agent["health"]["state"] == "up").await
}

/// Who speaks with an agent of a server.
pub(super) fn at(server: &Server, binding: Binding, agent: &str) -> Result<Caller> {
    Ok(Caller::new(&Http::new(server), binding)?.at(agent))
}

/// Sends a message without waiting for what comes of it.
pub(super) async fn begin(caller: &Caller, said: &str, more: Value) -> Result<Value> {
    let send = json!({ "message": message(said, more), "configuration": { "returnImmediately": true } });
    Ok(caller.call("SendMessage", send).await?["task"].clone())
}

/// A task once it is in a state.
pub(super) async fn until_state(caller: &Caller, id: &Value, wanted: &str) -> Result<Value> {
    let outcome = wait_for(&format!("the task to be {wanted}"), LIMIT, async || {
        let task = caller.call("GetTask", json!({ "id": id })).await?;
        Ok((state(&task) == format!("TASK_STATE_{wanted}")).then_some(task))
    })
    .await;
    match outcome {
        Ok(task) => Ok(task),
        Err(error) => Err(error.context(format!("it is {}", caller.call("GetTask", json!({ "id": id })).await?))),
    }
}

/// A task of the REST API.
pub(super) async fn task(server: &Server, id: &str) -> Result<Value> {
    server.get(&format!("/v1/opencode/tasks/{id}")).await
}

/// The same once it has ended.
pub(super) async fn ended(server: &Server, id: &str) -> Result<Value> {
    let waited = wait_for("the end of the task", LIMIT, async || {
        let task = task(server, id).await?;
        Ok((!task["completed_at"].is_null()).then_some(task))
    })
    .await;
    match waited {
        Ok(task) => Ok(task),
        Err(error) => Err(error.context(format!("it is {}", task(server, id).await?))),
    }
}

/// All tasks of a server.
pub(super) async fn tasks(server: &Server) -> Result<Vec<Value>> {
    Ok(server.get("/v1/opencode/tasks").await?.as_array().context("a list")?.clone())
}

/// Begins a coordination; answers its task's id.
pub(super) async fn coordinate(server: &Server, said: &str, metadata: Value) -> Result<String> {
    let caller = Caller::new(&Http::new(server), Binding::Rpc)?;
    Ok(text(&begin(&caller, said, json!({ "metadata": metadata })).await?, "id")?.to_owned())
}

/// What a coordination that has ended says of its parts.
pub(super) async fn parts_told(server: &Server, id: &str) -> Result<Vec<Value>> {
    let shown = Caller::new(&Http::new(server), Binding::Rpc)?.call("GetTask", json!({ "id": id })).await?;
    let made = shown["artifacts"].as_array().context("it made nothing")?;
    let data = made.iter().find(|made| made["artifactId"] == "coordination").with_context(|| format!("no data: {shown}"))?;
    Ok(data["parts"][0]["data"]["parts"].as_array().context("no parts")?.clone())
}

/// That a server has answered a coordination once, and each of its parts was begun once.
pub(super) async fn ensure_once(server: &Server, id: &str, count: usize) -> Result<()> {
    let parts = server.get(&format!("/v1/opencode/tasks?parent={id}")).await?;
    ensure!(parts.as_array().is_some_and(|parts| parts.len() == count), "{parts}");
    let events = server.get("/v1/events?type=coordination.complete").await?;
    let of_it = events.as_array().context("a list")?.iter().filter(|event| event["subject"] == format!("tasks/{id}")).count();
    ensure!(of_it == 1, "it is complete {of_it} times");
    Ok(())
}

/// Three servers that several cases share: `bee` is a machine of the second, `cee` of the third.
pub(super) struct Trio {
    pub(super) a: Server,
    pub(super) b: Server,
    /// It is there for its machine.
    _c: Server,
    pub(super) llm: FakeLlm,
    pub(super) bee: Worker,
    pub(super) cee: Worker,
}

static TRIO: OnceCell<Result<Trio, String>> = OnceCell::const_new();

/// The shared servers. Nothing of them is ever killed.
pub(super) async fn shared(cx: &Cx) -> Result<&'static Trio> {
    let dir = cx.shared_dir("between")?;
    let trio = TRIO.get_or_init(async || start(&dir).await.map_err(|error| format!("{error:#}"))).await;
    trio.as_ref().map_err(|error| anyhow!("the shared servers did not start: {error}"))
}

async fn start(dir: &Path) -> Result<Trio> {
    let mut servers = joined(dir, &["Server-A", "Server-B", "Server-C"]).await?.into_iter();
    let mut next = || servers.next().context("three");
    let (a, b, c) = (next()?, next()?, next()?);
    let llm = FakeLlm::start_in(dir).await?;
    let web = dir.join("web");
    std::fs::create_dir_all(&web)?;
    let bee = Worker::new(dir, "bee", &b)?.with_llm(&llm).with_codebase("web", &web);
    let cee = Worker::new(dir, "cee", &c)?.with_llm(&llm);
    let (bee, cee) = tokio::try_join!(bee.launch(), cee.launch())?;
    for name in [bee.name(), cee.name()] {
        until_listed(&a, name).await?;
    }
    Ok(Trio { a, b, _c: c, llm, bee, cee })
}

/// What a machine wrote in its home directory.
pub(super) async fn written(worker: &Worker, file: &str) -> Result<String> {
    let path = Path::new(&worker.global_codebase().await?.path).join(file);
    Ok(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim_end().to_owned())
}

//! One server, one worker, one OpenCode and one language model that most cases share.

use super::harness;
use super::{Cx, FakeLlm, Server, Worker};
use anyhow::{Context, Result, anyhow};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

/// How many cases can have a codebase of their own.
const CODEBASES: usize = 24;
const SLOTS: u32 = 8;

/// What is shared. Nothing in it is ever killed or restarted.
pub(crate) struct Fleet {
    pub(crate) server: Server,
    pub(crate) llm: FakeLlm,
    worker: AsyncMutex<Worker>,
    worker_name: String,
    home: PathBuf,
    places: Vec<Place>,
    taken: AtomicUsize,
}

/// A codebase that one case alone uses.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its name at the server.
    pub(crate) name: String,
    /// Where it is on this machine: a git repository with one commit.
    pub(crate) path: PathBuf,
}

impl Fleet {
    async fn start() -> Result<Self> {
        let cx = Cx::new("fleet")?;
        let llm = FakeLlm::start(&cx).await?;
        // Its webhooks are on this machine.
        let config = cx.dir().join("server.toml");
        std::fs::write(&config, "[a2a]\nwebhooks_to_private = true\n")?;
        let server = Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]).launch().await?;
        let mut worker = Worker::new(cx.dir(), "shared", &server)?.with_llm(&llm).with_slots(SLOTS);
        let mut places = Vec::new();
        for n in 0..CODEBASES {
            let place = Place { name: format!("app-{n}"), path: cx.make_repository(&format!("app-{n}"))? };
            worker = worker.with_codebase(&place.name, &place.path);
            places.push(place);
        }
        let worker = worker.launch().await?;
        let home = PathBuf::from(worker.global_codebase().await?.path);
        let worker_name = worker.name().to_owned();
        Ok(Self { server, llm, worker: AsyncMutex::new(worker), worker_name, home, places, taken: AtomicUsize::new(0) })
    }

    /// A codebase that no other case uses.
    pub(crate) fn place(&self) -> Result<&Place> {
        let n = self.taken.fetch_add(1, Ordering::Relaxed);
        self.places.get(n).context("more cases want a codebase than the shared worker has: raise CODEBASES")
    }

    /// The worker's name.
    pub(crate) fn worker(&self) -> &str {
        &self.worker_name
    }

    /// What `~` is to the worker's tasks.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }
}

static FLEET: OnceCell<Result<Fleet, String>> = OnceCell::const_new();

pub(super) async fn shared() -> Result<&'static Fleet> {
    let fleet = FLEET.get_or_init(async || Fleet::start().await.map_err(|error| format!("{error:#}"))).await;
    fleet.as_ref().map_err(|error| anyhow!("the shared fleet did not start: {error}"))
}

/// Where its logs are.
pub(super) fn dir() -> PathBuf {
    harness::root().join("fleet")
}

/// Ends the worker in an orderly way; the rest needs none.
pub(super) async fn stop() {
    if let Some(Ok(fleet)) = FLEET.get()
        && let Err(error) = fleet.worker.lock().await.stop().await
    {
        eprintln!("the shared worker: {error:#}");
    }
}

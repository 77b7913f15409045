//! The servers of a schedule, and what was done to them.

use super::super::net::{LIMIT, copy, count_of, happen, hold, id, lines, log, same_everywhere};
use super::plan::{Act, SERVERS};
use crate::support::{CutProxy, Cx, Server, wait_for};
use anyhow::{Context as _, Result, ensure};
use muster_protocol::peer::PeerState;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One of the servers.
struct One {
    server: Server,
    /// What the others reach it through.
    proxy: CutProxy,
    is_held: bool,
    /// How much happened at it since its directory was empty; none once a part of that may be gone.
    happened: Option<usize>,
    has_copy: bool,
}

/// All servers.
pub(super) struct World {
    dir: PathBuf,
    all: Vec<One>,
    clone: Option<Server>,
    clones: usize,
}

impl World {
    /// Nobody runs yet. Each is to join the one before it and one more, which may not be there.
    pub(super) async fn begin(cx: &Cx, seed: u64) -> Result<Self> {
        let dir = cx.make_dir(&format!("seed-{seed}"))?;
        let mut all: Vec<One> = Vec::new();
        for n in 0..SERVERS {
            let server = Server::new(&dir, &format!("S{n}"))?;
            let proxy = CutProxy::start(server.port()).await?;
            let mut args = vec!["--name".to_owned(), format!("S{n}"), "--public-url".to_owned(), proxy.url(), "--insecure".to_owned()];
            let to: Vec<_> = all.iter().rev().take(2).map(|one| one.proxy.url()).collect();
            if !to.is_empty() {
                args.extend(["--connect".to_owned(), to.join(",")]);
            }
            all.push(One { server: server.with_args(args), proxy, is_held: false, happened: Some(0), has_copy: false });
        }
        Ok(Self { dir, all, clone: None, clones: 0 })
    }

    fn copy_of(&self, n: usize) -> PathBuf {
        self.dir.join(format!("S{n}-copy"))
    }

    /// Does what can be done.
    pub(super) async fn act(&mut self, act: &Act) -> Result<()> {
        match *act {
            Act::Events(n, count) => self.events(n, count).await,
            Act::Start(n) => self.start(n).await,
            Act::Stop(n) if self.answers(n) => self.all[n].server.stop().await.map(drop),
            Act::Kill(n) => self.kill(n).await,
            Act::Cut(n) | Act::Mend(n) => {
                self.all[n].proxy.refuse(matches!(act, Act::Cut(_)));
                Ok(())
            }
            Act::Hold(n) if self.answers(n) => self.hold(n, true),
            Act::Release(n) if self.all[n].is_held => self.hold(n, false),
            Act::Copy(n) => self.copy(n).await,
            Act::Restore(n) if self.all[n].has_copy => self.restore(n).await,
            Act::Wipe(n) => self.wipe(n).await,
            Act::Clone(n) if self.answers(n) => self.clone(n).await,
            Act::Wait(hundredths) => {
                tokio::time::sleep(Duration::from_millis(10) * u32::try_from(hundredths)?).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn answers(&self, n: usize) -> bool {
        self.all[n].server.is_running() && !self.all[n].is_held
    }

    async fn events(&mut self, n: usize, count: usize) -> Result<()> {
        if self.answers(n) {
            happen(&self.all[n].server, count).await?;
            self.all[n].happened = self.all[n].happened.map(|before| before + count);
        }
        Ok(())
    }

    async fn start(&mut self, n: usize) -> Result<()> {
        if self.all[n].server.is_running() { Ok(()) } else { self.all[n].server.restart().await }
    }

    async fn kill(&mut self, n: usize) -> Result<()> {
        let one = &mut self.all[n];
        one.is_held = false;
        if one.server.is_running() { one.server.kill().await } else { Ok(()) }
    }

    fn hold(&mut self, n: usize, is_held: bool) -> Result<()> {
        self.all[n].is_held = is_held;
        hold(&self.all[n].server, is_held)
    }

    /// What is copied was whole: a copy of a database in the middle of a write is none.
    async fn copy(&mut self, n: usize) -> Result<()> {
        let was_running = self.all[n].server.is_running();
        self.kill(n).await?;
        let to = self.copy_of(n);
        if self.all[n].server.data_dir().exists() {
            replace(self.all[n].server.data_dir(), &to)?;
            self.all[n].has_copy = true;
        }
        if was_running { self.start(n).await } else { Ok(()) }
    }

    async fn restore(&mut self, n: usize) -> Result<()> {
        self.kill(n).await?;
        replace(&self.copy_of(n), self.all[n].server.data_dir())?;
        self.all[n].happened = None;
        self.start(n).await
    }

    async fn wipe(&mut self, n: usize) -> Result<()> {
        self.kill(n).await?;
        let one = &mut self.all[n];
        if one.server.data_dir().exists() {
            fs::remove_dir_all(one.server.data_dir())?;
            (one.happened, one.has_copy) = (Some(0), false);
        }
        Ok(())
    }

    async fn clone(&mut self, n: usize) -> Result<()> {
        self.copy(n).await?;
        if let Some(mut former) = self.clone.take() {
            former.kill().await?;
        }
        self.clones += 1;
        let data_dir = self.dir.join(format!("clone{}-data", self.clones));
        copy(&self.copy_of(n), &data_dir)?;
        let clone = Server::new(&self.dir, &format!("clone{}", self.clones))?.with_data_dir(data_dir);
        let clone = clone.with_args(["--name".to_owned(), format!("S{n}")]).launch().await?;
        happen(&clone, 3).await?;
        self.clone = Some(clone);
        Ok(())
    }

    /// Everybody is there, and reaches everybody.
    pub(super) async fn heal(&mut self) -> Result<()> {
        if let Some(mut clone) = self.clone.take() {
            clone.kill().await?;
        }
        for n in 0..self.all.len() {
            self.all[n].proxy.refuse(false);
            if self.all[n].is_held {
                self.hold(n, false)?;
            }
            self.start(n).await?;
        }
        Ok(())
    }

    /// What must be true at the end.
    pub(super) async fn check(&self) -> Result<()> {
        let servers: Vec<_> = self.all.iter().map(|one| &one.server).collect();
        let mut ids = Vec::new();
        for one in &self.all {
            ids.push(one.id().await?);
        }
        for (n, server) in servers.iter().enumerate() {
            let joined = wait_for("all to be joined", LIMIT * 2, async || {
                let up: Vec<_> = server.client().peers().await?.into_iter().filter(|peer| peer.state == PeerState::Up).collect();
                let is_up = |id| up.iter().any(|peer| peer.server_id == Some(id));
                Ok((0..ids.len()).all(|other| other == n || is_up(ids[other])).then_some(()))
            });
            if let Err(error) = joined.await {
                let mut shown = String::new();
                for server in &servers {
                    writeln!(shown, "{}: {:#?}", server.name(), server.client().peers().await)?;
                }
                return Err(error.context(format!("{} does not know all of {ids:?}: {shown}", server.name())));
            }
        }
        let lines = match same_everywhere(&servers).await {
            Ok(lines) => lines,
            Err(error) => return Err(error.context(self.differences().await)),
        };
        for (n, one) in self.all.iter().enumerate() {
            let count = count_of(&lines, ids[n]);
            ensure!(one.happened.is_none_or(|happened| count >= happened), "S{n} did {:?}, and {count} is known", one.happened);
        }
        Ok(())
    }

    /// How far who knows what.
    async fn differences(&self) -> String {
        let mut text = String::new();
        for one in &self.all {
            let known = async { lines("", &log(&one.server).await?) };
            let known = known.await.map(|known| known.into_iter().map(|(line, events)| (line, events.len())).collect::<Vec<_>>());
            // Writing to a text does not fail.
            let _ = writeln!(text, "{}: {known:#?} {:#?}", one.server.name(), one.server.client().peers().await);
        }
        text
    }
}

impl One {
    /// Who it is by now.
    async fn id(&self) -> Result<muster_protocol::ids::ServerId> {
        id(&self.server).await
    }
}

fn replace(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).context("what is to be replaced stays")?;
    }
    copy(from, to)
}

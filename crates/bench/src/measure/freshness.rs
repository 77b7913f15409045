//! From a change on a machine to the moment in which the registry shows it: of a branch, of files, of the codebases, of the models.

use super::Bench;
use crate::database::Kind;
use crate::opencode::OpenCode;
use crate::results::Run;
use crate::server::Server;
use crate::stats::Latencies;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const TIMES: usize = 10;
/// How often the registry is asked: so much a time may be too long.
const POLL: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_mins(2);

/// What changes, and where the registry shows it.
const CHANGES: [(&str, &str); 4] = [
    ("branch", "/v1/opencode/codebases"),
    ("files", "/v1/opencode/codebases"),
    ("codebase", "/v1/opencode/codebases"),
    ("model", "/v1/opencode/workers"),
];

/// The registry is the same on all databases.
pub(super) async fn run(bench: &Bench, opencode: &OpenCode, run: &mut Run) -> Result<()> {
    let server = bench.server(Kind::Sqlite).await?;
    let machine = Machine::new(&fs::canonicalize(&server.database.dir)?)?;
    let _worker = opencode.worker(&server).await?;
    until(&server, CHANGES[0].1, |all| project_in(all).is_some_and(|project| project["git"]["branch"] == "first")).await?;
    let mut taken: [Latencies; 4] = Default::default();
    for n in 0..bench.scaled(TIMES).max(1) {
        for ((what, path), taken) in CHANGES.iter().zip(&mut taken) {
            // Each time at another moment between two looks of the worker.
            tokio::time::sleep(Duration::from_millis(u64::try_from(n)? * 137 % 1_000)).await;
            let begun = Instant::now();
            machine.change(what, n)?;
            until(&server, path, |all| Machine::shows(what, n, all)).await.with_context(|| format!("{what} {n}"))?;
            taken.add(begun.elapsed());
        }
    }
    for ((what, _), taken) in CHANGES.iter().zip(&taken) {
        run.put(&format!("freshness.{what}"), Kind::Sqlite.as_str(), taken.percentile(0.5));
        run.put(&format!("freshness.{what}_max"), Kind::Sqlite.as_str(), taken.percentile(1.0));
    }
    Ok(())
}

/// What the worker looks at.
struct Machine {
    dir: PathBuf,
    project: PathBuf,
}

impl Machine {
    /// A project that is clean, and a configuration of the worker that names it.
    fn new(dir: &Path) -> Result<Self> {
        let machine = Self { dir: dir.to_owned(), project: dir.join("fresh") };
        fs::create_dir_all(&machine.project)?;
        machine.git(&["init", "--quiet", "--initial-branch", "first"])?;
        machine.configure(None)?;
        Ok(machine)
    }

    fn git(&self, args: &[&str]) -> Result<()> {
        let status = Command::new("git").args(args).current_dir(&self.project).status()?;
        ensure!(status.success(), "git {args:?}: {status}");
        Ok(())
    }

    fn configure(&self, more: Option<String>) -> Result<()> {
        let mut lines = vec!["[codebases]".to_owned()];
        for name in more.into_iter().chain(["fresh".to_owned()]) {
            let path = self.dir.join(&name);
            fs::create_dir_all(&path)?;
            lines.push(format!("{name} = \"{}\"", path.display()));
        }
        Ok(fs::write(OpenCode::worker_config(&self.dir), lines.join("\n"))?)
    }

    fn change(&self, what: &str, n: usize) -> Result<()> {
        let file = self.project.join("new");
        match what {
            "branch" => self.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{}", name(n))]),
            "files" if n.is_multiple_of(2) => Ok(fs::write(file, "x")?),
            "files" => Ok(fs::remove_file(file)?),
            "codebase" => self.configure(Some(name(n))),
            _ => {
                let models = json!({ "provider": { "fake": { "models": { name(n): { "name": "M" } } } } });
                let file = self.dir.join("worker/opencode/home/.config/opencode/opencode.json");
                Ok(fs::write(file, models.to_string())?)
            }
        }
    }

    fn shows(what: &str, n: usize, all: &Value) -> bool {
        match what {
            "branch" => project_in(all).is_some_and(|project| project["git"]["branch"] == name(n)),
            "files" => project_in(all).is_some_and(|project| project["git"]["dirty"] == n.is_multiple_of(2)),
            "codebase" => all.as_array().is_some_and(|all| all.iter().any(|codebase| codebase["name"] == name(n))),
            _ => all.to_string().contains(&format!("\"fake/{}\"", name(n))),
        }
    }
}

fn project_in(all: &Value) -> Option<&Value> {
    all.as_array()?.iter().find(|codebase| codebase["name"] == "fresh")
}

fn name(n: usize) -> String {
    format!("number-{n}")
}

async fn until(server: &Server, path: &str, is_shown: impl Fn(&Value) -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_shown(&server.json("GET", path, &Value::Null).await?) {
        ensure!(begun.elapsed() < LIMIT, "it is not shown within {} s", LIMIT.as_secs());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

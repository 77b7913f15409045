//! The direction of dependencies, read from the sources, and what no tracked file may say.

use crate::support::{Cx, cases};
use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

mod source;

use source::{mentions, product_code};

cases! {
    [] => a_layer_uses_only_the_layers_below_it,
        the_domain_knows_the_protocol_alone,
        only_the_store_and_the_listener_name_sqlx,
        only_the_http_side_names_axum,
        the_command_line_goes_through_the_client,
        packages_depend_in_one_direction,
        no_file_names_a_home_directory_or_a_registry;
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// From the top down. A module uses what is in its own layer or below it.
const LAYERS: [&[&str]; 4] = [
    &["serve", "main", "router"],
    &["api", "a2a", "background"],
    &["agents", "network", "tasks", "sessions", "workers", "dispatch", "presence", "overview", "monitor"],
    &["domain", "store", "events"],
];
const SQLX: [&str; 3] = ["store.rs", "store/", "events/listen.rs"];
const AXUM: [&str; 11] = ["api.rs", "api/", "a2a.rs", "a2a/", "auth.rs", "auth/", "error.rs", "router.rs", "router/", "serve.rs", "serve/"];

struct File {
    /// Relative to `src`, with `/`.
    path: String,
    text: String,
}

impl File {
    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.trim_end_matches(".rs")
    }

    /// The top-level modules of the server that it names.
    fn uses(&self) -> Vec<String> {
        mentions(&self.text, &self.path)
    }

    fn names_crate(&self, name: &str) -> bool {
        self.text.contains(&format!("{name}::")) || self.text.contains(&format!("use {name};"))
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| if place.ends_with('/') { self.path.starts_with(place) } else { self.path == *place })
    }
}

/// The server without its tests: those may use what they like.
fn server_sources() -> Result<Vec<File>> {
    let src = Path::new(ROOT).join("src");
    let mut files = Vec::new();
    for path in files_below(&src)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(&src)?.to_string_lossy().into_owned();
            if relative.ends_with("/tests.rs") || relative.contains("/tests/") {
                continue;
            }
            files.push(File { path: relative, text: product_code(&fs::read_to_string(&path)?) });
        }
    }
    ensure!(!files.is_empty(), "no sources in {}", src.display());
    Ok(files)
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    const BUILT: [&str; 4] = ["target", "build", "node_modules", ".git"];
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_file() {
                found.push(entry.path());
            } else if entry.file_type()?.is_dir() && !BUILT.iter().any(|built| name == *built) {
                dirs.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn report(broken: &[String]) -> Result<()> {
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

async fn a_layer_uses_only_the_layers_below_it(_: &Cx) -> Result<()> {
    let mut broken = Vec::new();
    for file in server_sources()? {
        let Some(own) = layer(file.module()) else { continue };
        for used in file.uses() {
            if layer(&used).is_some_and(|theirs| theirs < own) {
                broken.push(format!("src/{} uses `{used}`, which is above it", file.path));
            }
        }
    }
    report(&broken)
}

async fn the_domain_knows_the_protocol_alone(_: &Cx) -> Result<()> {
    let mut broken = Vec::new();
    for file in server_sources()?.iter().filter(|file| file.module() == "domain") {
        for used in file.uses().iter().filter(|used| *used != "domain") {
            broken.push(format!("src/{} uses `{used}`", file.path));
        }
    }
    report(&broken)
}

async fn only_the_store_and_the_listener_name_sqlx(_: &Cx) -> Result<()> {
    only(&SQLX, "sqlx")
}

async fn only_the_http_side_names_axum(_: &Cx) -> Result<()> {
    only(&AXUM, "axum")
}

fn only(places: &[&str], name: &str) -> Result<()> {
    let files = server_sources()?;
    let broken: Vec<String> = files
        .iter()
        .filter(|file| file.names_crate(name) && !file.is_in(places))
        .map(|file| format!("src/{} names `{name}`; only {} may", file.path, places.join(", ")))
        .collect();
    report(&broken)
}

/// Everything but `serve` talks to a server as any other client does.
async fn the_command_line_goes_through_the_client(_: &Cx) -> Result<()> {
    let mut broken = Vec::new();
    for file in server_sources()?.iter().filter(|file| file.module() == "cli" && !file.is_in(&["cli.rs", "cli/serve.rs"])) {
        for used in file.uses().iter().filter(|used| layer(used).is_some() || *used == "app") {
            broken.push(format!("src/{} uses `{used}`", file.path));
        }
    }
    report(&broken)
}

async fn packages_depend_in_one_direction(_: &Cx) -> Result<()> {
    let depends = |manifest: &str, package: &str| -> Result<bool> {
        let text = fs::read_to_string(Path::new(ROOT).join(manifest))?;
        Ok(text.lines().any(|line| line.split(['.', '=', ' ']).next() == Some(package)))
    };
    for package in ["muster", "muster-worker"] {
        ensure!(!depends("protocol/Cargo.toml", package)?, "the protocol depends on {package}");
    }
    ensure!(!depends("worker/Cargo.toml", "muster")?, "the worker depends on the server");
    ensure!(!depends("Cargo.toml", "muster-worker")?, "the server depends on the worker");
    Ok(())
}

async fn no_file_names_a_home_directory_or_a_registry(_: &Cx) -> Result<()> {
    // Put together here, so that this file does not name them.
    let mut forbidden =
        vec![["/ro", "ot/"].concat(), ["arti", "factory"].concat(), ["index.", "crates.io"].concat(), ["registry.", "npmjs"].concat()];
    forbidden.push(format!("{ROOT}/"));
    forbidden.extend(std::env::var("HOME").ok().filter(|home| home.len() > 1).map(|home| format!("{home}/")));
    let mut broken = Vec::new();
    for path in files_below(Path::new(ROOT))? {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for word in forbidden.iter().filter(|word| text.contains(*word)) {
            broken.push(format!("{} says {word}", path.display()));
        }
    }
    report(&broken)
}

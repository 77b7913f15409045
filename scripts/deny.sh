#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies; installs cargo-deny into build/tools if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2

if ! command -v cargo-deny >/dev/null; then
    export PATH=$PWD/build/tools/bin:$PATH
fi
if ! command -v cargo-deny >/dev/null; then
    echo "Installing cargo-deny $version into build/tools .." >&2
    # Without optimisation it is built in a fifth of the time, and runs for seconds only.
    cargo install cargo-deny --version "$version" --locked --debug --root build/tools --target-dir build/tools/target >&2
    rm -rf build/tools/target
fi
# Also what only other platforms need: a build does not fetch that.
cargo fetch --locked --quiet
# --offline: the lock file is there, and nothing is to be fetched. The advisory database is not asked for.
exec cargo deny --offline check licenses bans sources

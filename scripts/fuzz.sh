#!/usr/bin/env bash
# Fuzzes what anybody may send over A2A (src/a2a/hostile.rs) with libFuzzer, from the corpora in fuzz/corpus, which `make test` replays.
#   SECONDS_A_TARGET=120     how long each target runs
#   TARGETS="request told"   which
# What it finds is in build/fuzz: inputs that reach more code in corpus/TARGET, one that breaks something in artifacts/TARGET (exit code 1).
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.13.2
tools=$PWD/build/fuzz/tools

if ! "$tools/bin/cargo-fuzz" --version 2>/dev/null | grep -qF " $version"; then
    echo "Installing cargo-fuzz $version into build/fuzz/tools .."
    cargo install --quiet --locked --root "$tools" cargo-fuzz --version "$version"
fi
PATH=$tools/bin:$PATH
# Coverage is asked for by flags that the stable compiler keeps back. There is no unsafe code of ours, so that no sanitizer is needed.
export RUSTC_BOOTSTRAP=1

cargo fuzz build --sanitizer none --target-dir build/fuzz/target
for target in ${TARGETS:-request told}; do
    corpus=build/fuzz/corpus/$target artifacts=build/fuzz/artifacts/$target
    mkdir -p "$corpus" "$artifacts"
    echo "=== $target: ${SECONDS_A_TARGET:-120} s"
    cargo fuzz run --sanitizer none --target-dir build/fuzz/target "$target" "$corpus" "fuzz/corpus/$target" -- \
        -max_total_time="${SECONDS_A_TARGET:-120}" -max_len=65536 -artifact_prefix="$artifacts/" -print_final_stats=1
done
echo "No input broke anything."

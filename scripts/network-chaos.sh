#!/usr/bin/env bash
# Random schedules of what happens to four servers of a network: joins, deaths, cuts, restored, wiped and cloned data directories, and events in
# between. At the end of each, every event must be exactly once everywhere. A seed that fails is printed with its schedule.
#
#   scripts/network-chaos.sh              # seeds 1 to 50
#   SEEDS=200 FIRST=51 scripts/network-chaos.sh
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --workspace
NETWORK_CHAOS_SEEDS=${SEEDS:-50} NETWORK_CHAOS_FIRST=${FIRST:-1} cargo test --workspace --test it -- network::chaos::all_seeds --nocapture

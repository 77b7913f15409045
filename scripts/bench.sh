#!/usr/bin/env bash
# Measures Muster on this machine: builds for release, starts a PostgreSQL that really writes and the pinned OpenCode, and prints one table;
# the results are kept as JSON in build/bench. Not a test: nothing fails because it is slow, only because something went wrong.
#   ONLY=creates,held     only these measures (raw lives creates registrations held list viewer bytes token freshness sends subscribers tasks memory startup)
#   COMPARE=FILE.json     shows the change from an earlier run
#   ROUNDS=3 SECONDS_A_ROUND=3   how often and how long each throughput is measured
#   BENCH_DIR=DIR         where the databases go (default: build/bench); it must be on a disk
#   POSTGRES=no, OPENCODE=no     without one of them
set -euo pipefail
cd "$(dirname "$0")/.."
results=build/bench
mkdir -p "$results" "${BENCH_DIR:=$results}"

# The PostgreSQL goes to TMPDIR, which its user must be able to enter.
for place in "$BENCH_DIR" "${TMPDIR:-/tmp}"; do
    case $(stat -f -c %T "$place" 2>/dev/null || echo unknown) in
    tmpfs | ramfs)
        echo "$place is in memory, where nothing is durable: set BENCH_DIR and TMPDIR to directories on a disk" >&2
        exit 1
        ;;
    esac
done

scripts/requirements.sh
cargo build --locked --release --workspace

dir=$(mktemp -d "$BENCH_DIR/run.XXXXXX")
postgres_dir=''
finish() {
    [ -z "$postgres_dir" ] || scripts/postgres.sh stop "$postgres_dir"
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

arguments=(--dir "$dir" --save "$results/$(date +%Y-%m-%d-%H%M%S).json" --rounds "${ROUNDS:-3}" --seconds "${SECONDS_A_ROUND:-3}")
[ -z "${ONLY:-}" ] || arguments+=(--only "$ONLY")
[ -z "${COMPARE:-}" ] || arguments+=(--compare "$COMPARE")
if [ "${POSTGRES:-}" != no ]; then
    answer=$(scripts/postgres.sh start durable)
    postgres_dir=${answer##*$'\n'}
    arguments+=(--postgres "${answer%%$'\n'*}")
fi
if [ "${OPENCODE:-}" != no ]; then
    arguments+=(--opencode "$(scripts/opencode.sh)")
fi
target/release/muster-bench "${arguments[@]}"

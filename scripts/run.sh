#!/usr/bin/env bash
# Builds, starts a server with the embedded database and one worker on this machine, and says what to type first.
# Options of both can be given by environment (MUSTER_..); Ctrl-C stops the worker, then the server.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
port=${MUSTER_PORT:-5001}
server=http://127.0.0.1:$port

cargo build --release --workspace
# The user's own OpenCode if there is one: it has their configuration and their sessions.
opencode=$(command -v opencode || scripts/opencode.sh)
PATH=$root/target/release:$PATH

# Job control gives each its own process group: Ctrl-C comes here alone, and the order of the ends is ours.
set -m
server_pid='' worker_pid=''
stop() {
    trap '' INT TERM
    for pid in $worker_pid $server_pid; do
        kill -TERM "$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
    exit "${1:-0}"
}
trap 'echo; echo "Stopping .."; stop 0' INT TERM
trap 'stop $?' EXIT

alive() { kill -0 "$1" 2>/dev/null; }

# wait_for PID WHAT COMMAND..: until the command works, as long as the process is there.
wait_for() {
    local pid=$1 what=$2
    shift 2
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        alive "$pid" || { echo "$what has ended, see above." >&2; exit 1; }
        sleep 0.2
    done
    echo "$what did not get ready within a minute." >&2
    exit 1
}
worker_is_active() { muster --server "$server" workers --json | grep -Eq '"status": ?"active"'; }

opencode_is_ready() { muster --server "$server" workers --json | grep -Eq '"opencode_version": ?"'; }

muster serve --port "$port" &
server_pid=$!
wait_for "$server_pid" "The server" muster --server "$server" workers
muster-worker --server "$server" --opencode "$opencode" --codebase "muster=$root" &
worker_pid=$!
wait_for "$worker_pid" "The worker" worker_is_active
# OpenCode takes some seconds more. Without it the worker says why, and goes on.
for _ in $(seq 100); do
    if opencode_is_ready || ! alive "$worker_pid"; then break; fi
    sleep 0.2
done

cat <<END

Muster is at $server, with one worker. In another terminal, in this directory:

    target/release/muster run "What is in this directory?" --codebase muster

Ctrl-C here stops both.

END
while alive "$server_pid" && alive "$worker_pid"; do sleep 0.5; done
echo "One of the two has ended, see above." >&2
exit 1

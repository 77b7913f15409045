#!/usr/bin/env bash
# The main job, offline, start to end: a server and a worker with the real OpenCode, whose language model is a fake
# one. A prompt is answered as text, another writes a file. Everything is stopped and removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

cargo build --workspace
opencode=$(scripts/opencode.sh)
PATH=$root/target/debug:$PATH
dir=$(mktemp -d "${TMPDIR:-/tmp}/muster-demo.XXXXXX")
mkdir "$dir/app" "$dir/home"
git -C "$dir/app" init --quiet

set -m
pids=()
finish() {
    local code=$?
    trap '' INT TERM
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || continue
        wait "${pids[i]}" 2>/dev/null || true
    done
    if [ "$code" = 0 ]; then
        rm -rf "$dir"
    else
        echo "The demo failed; the last lines of each log in $dir:" >&2
        tail -n 20 "$dir"/*.log >&2
    fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

start() {
    local name=$1
    shift
    "$@" </dev/null >"$dir/$name.log" 2>&1 &
    pids+=($!)
}

# wait_for WHAT COMMAND..: until the command works, as long as what was started last is there.
wait_for() {
    local what=$1
    shift
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        kill -0 "${pids[${#pids[@]} - 1]}" 2>/dev/null || { echo "$what has ended" >&2; exit 1; }
        sleep 0.2
    done
    echo "$what did not get ready within a minute" >&2
    exit 1
}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

# On a terminal the answer is written as it comes. Elsewhere it comes at the end without a line end, what happened beside it.
ask() {
    if [ -t 1 ]; then
        muster run "$@"
    else
        muster run "$@" 2>"$dir/beside" || { cat "$dir/beside" >&2; return 1; }
        echo
        cat "$dir/beside"
    fi
}

start llm python3 -u tests/support/fake_llm.py
wait_for "The fake language model" grep -q 'listening on' "$dir/llm.log"
llm=$(sed -n 's/.*listening on //p' "$dir/llm.log")

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export MUSTER_SERVER=http://127.0.0.1:$port
say "\$ muster serve --port $port"
start server muster serve --port "$port" --data-dir "$dir/server"
wait_for "The server" muster workers

echo '{}' >"$dir/models.json"
cat >"$dir/worker.toml" <<END
isolated = true
opencode_config = '''
$(sed "s|LLM_URL|$llm|" tests/support/opencode.json)
'''
END
say "\$ muster-worker --server $MUSTER_SERVER --name demo --codebase app=$dir/app"
# Its home directory is where direct chat runs.
start worker env HOME="$dir/home" muster-worker --server "$MUSTER_SERVER" --name demo --codebase "app=$dir/app" --state-dir "$dir/worker" \
    --opencode "$opencode" --config "$dir/worker.toml"
wait_for "The worker" sh -c 'muster models --json | grep -q fake/echo'
muster workers
muster codebases

say '$ muster run "Hello from the other machine"'
ask "Hello from the other machine"
muster tasks --json | grep -Eq '"result": ?"echo: Hello from the other machine"'

say '$ muster run "!write hello.txt Hello" --codebase app'
ask "!write $dir/app/hello.txt Hello" --codebase app
[ "$(cat "$dir/app/hello.txt")" = Hello ]

say "The file is there: app/hello.txt says \"$(cat "$dir/app/hello.txt")\"."
muster tasks

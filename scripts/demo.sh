#!/usr/bin/env bash
# The main job, offline, start to end: a server and a worker with the real OpenCode, whose language model is a fake
# one. A prompt is answered as text, another writes a file. Everything is stopped and removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/stage.sh
mkdir "$dir/app" "$dir/home"
git -C "$dir/app" init --quiet

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

start_llm
port=$(free_port)
export MUSTER_SERVER=http://127.0.0.1:$port
say "\$ muster serve --port $port"
start server muster serve --port "$port" --data-dir "$dir/server"
wait_for "The server" muster workers

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

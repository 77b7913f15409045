#!/usr/bin/env bash
# What the demos have in common; sourced by them, in the root of the repository. It builds, makes a directory, and ends and removes everything at
# the end. Afterwards: $dir, $opencode, start, wait_for, say, free_port, start_llm, and $dir/worker.toml for workers with the fake language model.
root=$PWD

cargo build --workspace
opencode=$(scripts/opencode.sh)
PATH=$root/target/debug:$PATH
dir=$(mktemp -d "${TMPDIR:-/tmp}/muster-demo.XXXXXX")

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

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The fake language model, and a configuration of workers that have it.
start_llm() {
    local llm
    start llm python3 -u tests/support/fake_llm.py
    wait_for "The fake language model" grep -q 'listening on' "$dir/llm.log"
    llm=$(sed -n 's/.*listening on //p' "$dir/llm.log")
    echo '{}' >"$dir/models.json"
    cat >"$dir/worker.toml" <<END
isolated = true
opencode_config = '''
$(sed "s|LLM_URL|$llm|" tests/support/opencode.json)
'''
END
}

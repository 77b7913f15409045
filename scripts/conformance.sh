#!/usr/bin/env bash
# Runs the official conformance kit of A2A (a2aproject/a2a-tck, version 1.0) against a server of this build, and prints what the kit says.
#
#     TCK=/path/to/a2a-tck scripts/conformance.sh [arguments of run_tck.py: --transport jsonrpc --level must -- -x ..]
#
# The kit must be checked out and installed as its README says; it is run with uv if there is one, else with its own .venv, else with python3.
# PORT is the port of the server (default 5787). Its log is kept in build/conformance. The exit code is the kit's.
set -euo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-5787}
dir=$PWD/build/conformance
url=http://127.0.0.1:$port

if [ ! -f "${TCK:-}/run_tck.py" ]; then
    echo "TCK must be the directory of the kit: git clone https://github.com/a2aproject/a2a-tck, then TCK=/path/to/a2a-tck $0" >&2
    exit 2
fi
if command -v uv >/dev/null; then run=(uv run python)
elif [ -x "$TCK/.venv/bin/python" ]; then run=("$TCK/.venv/bin/python")
else run=(python3); fi

cargo build --workspace --bins
rm -rf "$dir"
mkdir -p "$dir"
# The kit asks for the card without a version, and wants no field in it that 1.0 does not know.
MUSTER_A2A_CONFORMANCE_AGENT=true MUSTER_A2A_CARD=1.0 target/debug/muster serve --port "$port" --name conformance --data-dir "$dir/data" \
    >"$dir/server.log" 2>&1 &
server=$!
stop() { kill "$server" 2>/dev/null && wait "$server" || true; }
trap stop EXIT
for _ in $(seq 100); do
    curl -sf "$url/healthz" >/dev/null && break
    kill -0 "$server" 2>/dev/null || { cat "$dir/server.log" >&2; exit 1; }
    sleep 0.2
done

cd "$TCK"
"${run[@]}" run_tck.py --sut-host "$url" "$@"

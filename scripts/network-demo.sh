#!/usr/bin/env bash
# Three servers that find each other, offline, start to end: a message, a coordination and a status report go to any of them; then a
# coordination on one lets the real OpenCode on machines of the two others write two files (their language model is a fake one). Everything is
# stopped and removed at the end. The ports are 5001, 5002 and 5003 (PORTS="6001 6002 6003" for others).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/stage.sh
read -r a b c <<<"${PORTS:-5001 5002 5003}"

serve() {
    local name=$1
    shift
    say "\$ muster serve $*"
    start "$name" muster serve "$@" --data-dir "$dir/$name"
    wait_for "The server $name" muster --server "http://127.0.0.1:$2" status
}

# What the agent of a server says to a message.
send() {
    local port=$1 text=$2
    say "\$ curl localhost:$port/ .. \"$text\""
    jq -n --arg text "$text" '{jsonrpc: "2.0", id: 1, method: "message/send", params: {message: {parts: [{type: "text", content: $text}]}}}' \
        | curl -s "localhost:$port/" -H 'content-type: application/json' -d @- | tee "$dir/answer.json" | jq -r .result.message.parts[0].content
}

says() { jq -r .result.message.parts[0].content "$dir/answer.json" | grep -q -- "$1" || { echo "The answer does not say: $1" >&2; exit 1; }; }
has_peers() { [ "$(muster --server "http://127.0.0.1:$1" peers --json | jq '[.[] | select(.state == "up")] | length')" = 2 ]; }

serve Server-A --port "$a" --name Server-A
serve Server-B --port "$b" --name Server-B --connect "http://localhost:$a"
serve Server-C --port "$c" --name Server-C --connect "http://localhost:$a,http://localhost:$b"
for port in $a $b $c; do wait_for "The network" has_peers "$port"; done
cat "$dir/Server-C.log"

send "$a" "Hello Server-A"
says "Worker-A-Server-A"
send "$b" "coordinate distributed analytics task"
for server in A B C; do says "Worker-A-Server-$server (Server-$server): completed"; done
send "$c" "status report"
says "connected peers: Server-A, Server-B"
says "events by server: .*Server-A .*Server-B .*Server-C"

start_llm
for server in b c; do
    mkdir -p "$dir/home-$server"
    say "\$ muster-worker --server http://127.0.0.1:${!server} --name machine-$server"
    start "worker-$server" env HOME="$dir/home-$server" muster-worker --server "http://127.0.0.1:${!server}" --name "machine-$server" \
        --state-dir "$dir/worker-$server" --opencode "$opencode" --config "$dir/worker.toml"
done
export MUSTER_SERVER=http://127.0.0.1:$a
has_machine() { muster agents --json | jq -e --arg name "$1" '.[] | select(.name == $name and .health.state == "up" and (.machine.models | length) > 0)'; }
for server in b c; do wait_for "The machine of Server-${server^}" has_machine "machine-$server"; done
say "\$ muster agents"
muster agents

send "$a" "coordinate
machine-b: !write $dir/home-b/b.txt from B
machine-c: !write $dir/home-c/c.txt from C"
says "2 parts, 2 completed"
[ "$(cat "$dir/home-b/b.txt")" = "from B" ]
[ "$(cat "$dir/home-c/c.txt")" = "from C" ]
say "The files are there: b.txt says \"$(cat "$dir/home-b/b.txt")\" on the machine of Server-B, c.txt says \"$(cat "$dir/home-c/c.txt")\" on that of Server-C."
say "\$ muster peers"
muster peers

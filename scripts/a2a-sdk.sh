#!/usr/bin/env bash
# Installs the official SDKs of A2A into build/a2a unless they are there: the Python ones from PyPI (1.x for A2A 1.0, 0.3.26 for A2A 0.3), each in a
# virtual environment of its own, and the JavaScript one from npm, which speaks both. They are clients in the tests, the Python ones servers too.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
missing=0

is_installed() { [ "$(cat "$root/build/a2a/$1/installed" 2>/dev/null)" = "$2" ]; }

python_sdk() {
    local name=$1 dir=$root/build/a2a/$1
    shift
    is_installed "$name" "$*" && return 0
    command -v python3 >/dev/null || { echo "$1 is to be installed from PyPI, but there is no python3 here" >&2; missing=1; return 0; }
    echo "Installing $1 into build/a2a/$name .." >&2
    rm -rf "$dir"
    python3 -m venv "$dir" >&2
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2
    echo "$*" >"$dir/installed"
}

javascript_sdk() {
    local dir=$root/build/a2a/js
    is_installed js "$*" && return 0
    command -v npm >/dev/null || { echo "$1 is to be installed from npm, but there is no npm here: install Node.js" >&2; missing=1; return 0; }
    echo "Installing $1 into build/a2a/js .." >&2
    rm -rf "$dir"
    mkdir -p "$dir"
    # A package.json of its own keeps npm from looking for one further up.
    echo '{"private":true}' >"$dir/package.json"
    (cd "$dir" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error "$@" >&2)
    echo "$*" >"$dir/installed"
}

python_sdk v1 'a2a-sdk[grpc,http-server]==1.3.0' 'uvicorn==0.54.0'
python_sdk v03 'a2a-sdk[http-server]==0.3.26' 'uvicorn==0.54.0'
# The last two are what it speaks gRPC with.
javascript_sdk '@a2a-js/sdk@1.3.0' '@grpc/grpc-js@1.14.7' '@bufbuild/protobuf@2.17.0'
exit "$missing"

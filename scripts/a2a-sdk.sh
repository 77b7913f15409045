#!/usr/bin/env bash
# Installs the official Python SDKs of A2A from PyPI into build/a2a unless they are there: 1.x for A2A 1.0, 0.3.26 for A2A 0.3. They are clients in
# the tests, each in a virtual environment of its own.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

install() {
    local name=$1 package=$2 dir=$root/build/a2a/$1
    [ "$(cat "$dir/installed" 2>/dev/null)" = "$package" ] && return 0
    echo "Installing $package into build/a2a/$name .." >&2
    rm -rf "$dir"
    python3 -m venv "$dir" >&2
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$package" >&2
    echo "$package" >"$dir/installed"
}

command -v python3 >/dev/null || { echo "There is no python3 here" >&2; exit 1; }
install v1 'a2a-sdk[grpc]==1.3.0'
install v03 'a2a-sdk==0.3.26'

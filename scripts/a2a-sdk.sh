#!/usr/bin/env bash
# Installs the official SDKs of A2A into build/a2a unless they are there: the Python ones from PyPI (1.x for A2A 1.0, 0.3.26 for A2A 0.3), each in a
# virtual environment of its own, and the JavaScript one from npm, which speaks both. They are clients in the tests.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
missing=0

is_installed() { [ "$(cat "$root/build/a2a/$1/installed" 2>/dev/null)" = "$2" ]; }

python_sdk() {
    local name=$1 package=$2 dir=$root/build/a2a/$1
    is_installed "$name" "$package" && return 0
    command -v python3 >/dev/null || { echo "$package is to be installed from PyPI, but there is no python3 here" >&2; missing=1; return 0; }
    echo "Installing $package into build/a2a/$name .." >&2
    rm -rf "$dir"
    python3 -m venv "$dir" >&2
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$package" >&2
    echo "$package" >"$dir/installed"
}

javascript_sdk() {
    local package=$1 dir=$root/build/a2a/js
    is_installed js "$package" && return 0
    command -v npm >/dev/null || { echo "$package is to be installed from npm, but there is no npm here: install Node.js" >&2; missing=1; return 0; }
    echo "Installing $package into build/a2a/js .." >&2
    rm -rf "$dir"
    mkdir -p "$dir"
    # A package.json of its own keeps npm from looking for one further up.
    echo '{"private":true}' >"$dir/package.json"
    (cd "$dir" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error "$package" >&2)
    echo "$package" >"$dir/installed"
}

python_sdk v1 'a2a-sdk==1.3.0'
python_sdk v03 'a2a-sdk==0.3.26'
javascript_sdk '@a2a-js/sdk@1.3.0'
exit "$missing"

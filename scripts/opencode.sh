#!/usr/bin/env bash
# Installs the pinned OpenCode from npm into build/opencode unless it is there, and prints the path of its binary.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(<"$root/opencode.version")
dir=$root/build/opencode
binary=$dir/opencode

# OpenCode makes directories in its home even for `--version`: not in the user's.
version_of() {
    HOME=$dir/home XDG_DATA_HOME='' XDG_CONFIG_HOME='' XDG_CACHE_HOME='' XDG_STATE_HOME='' "$1" --version 2>/dev/null || true
}

if [ -x "$binary" ] && [ "$(cat "$dir/installed" 2>/dev/null)" = "$version" ]; then
    echo "$binary"
    exit 0
fi
if ! command -v npm >/dev/null; then
    echo "OpenCode $version is to be installed from npm, but there is no npm here: install Node.js" >&2
    exit 1
fi

echo "Installing OpenCode $version into build/opencode .." >&2
mkdir -p "$dir/home"
rm -f "$dir/installed" "$binary"
# A package.json of its own keeps npm from looking for one further up. The package's install script only links
# the binary, newer npm refuses to run it, and the binary is found below: so it is not run.
echo '{"private":true}' >"$dir/package.json"
(cd "$dir" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error "opencode-ai@$version" >&2)

# One package a platform; those that npm chose are here. Without AVX2 only the ones named -baseline run, which are slower.
for kind in full baseline; do
    for candidate in "$dir"/node_modules/opencode-*/bin/opencode; do
        case $candidate in *-baseline*) is=baseline ;; *) is=full ;; esac
        if [ "$is" = "$kind" ] && [ -x "$candidate" ] && [ "$(version_of "$candidate")" = "$version" ]; then
            ln -sf "${candidate#"$dir"/}" "$binary"
            echo "$version" >"$dir/installed"
            echo "$binary"
            exit 0
        fi
    done
done
echo "npm installed opencode-ai $version, but none of its binaries runs here: $(uname -sm)" >&2
exit 1

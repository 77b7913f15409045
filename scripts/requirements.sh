#!/usr/bin/env bash
# Installs what the tests use and the machine lacks, where that needs no question: with apt, as root or by sudo
# without a password. What stays away is told here, and the tests that need it are skipped.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

missing=()
command -v rg >/dev/null || missing+=(ripgrep)
command -v jq >/dev/null || missing+=(jq)
command -v curl >/dev/null || missing+=(curl)
[ -n "${TEST_POSTGRES_URL:-}" ] || "$root/scripts/postgres.sh" find >/dev/null 2>&1 || missing+=(postgresql)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Not installed: ${missing[*]} (there is no apt-get here)" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n env)
else
    echo "Not installed: ${missing[*]}. To run all tests: sudo apt-get install ${missing[*]}" >&2
    exit 0
fi
echo "Installing ${missing[*]} .." >&2
install() { "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null >&2; }
install || { "${as_root[@]}" apt-get update -q >&2 && install; } || echo "Could not install: ${missing[*]}" >&2

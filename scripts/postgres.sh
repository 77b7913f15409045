#!/usr/bin/env bash
# A private PostgreSQL for tests: on a free loopback port, without fsync, owned by nobody else.
#   postgres.sh find            prints the directory of its programs, or fails
#   postgres.sh start           prints two lines: the URL of its database, and the directory to stop it by
#   postgres.sh start durable   the same with fsync and all that makes a commit last, for measuring
#   postgres.sh stop DIR        stops it and removes the directory
set -euo pipefail

programs() {
    local dir newest=''
    if command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then
        dirname "$(command -v initdb)"
        return
    fi
    for dir in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
        [ -x "$dir/initdb" ] && newest=$dir
    done
    [ -n "$newest" ] && echo "$newest"
}

# PostgreSQL refuses to run as root.
as_owner() {
    if [ "$(id -u)" != 0 ]; then
        "$@"
    else
        runuser -u "$owner" -- "$@"
    fi
}
owner=postgres
id -u "$owner" >/dev/null 2>&1 || owner=nobody

init() {
    local common=(-D "$1/data" -U postgres -A trust -E UTF8 --no-sync)
    # A collation that is not byte order, where there is one: the product must not depend on it.
    as_owner "$bin/initdb" "${common[@]}" --locale=C.UTF-8 --locale-provider=icu --icu-locale=en >"$1/initdb.log" 2>&1 && return
    rm -rf "$1/data"
    as_owner "$bin/initdb" "${common[@]}" --locale=C >"$1/initdb.log" 2>&1
}

start() {
    local dir port settings
    dir=$(mktemp -d "${TMPDIR:-/tmp}/muster-postgres.XXXXXX")
    [ "$(id -u)" != 0 ] || chown "$owner" "$dir"
    cd "$dir"
    init "$dir" || { cat "$dir/initdb.log" >&2; rm -rf "$dir"; exit 1; }
    settings="-c listen_addresses=127.0.0.1 -c unix_socket_directories=$dir -c max_connections=300"
    [ "${1:-}" = durable ] || settings="$settings -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    for _ in 1 2 3 4 5 6 7 8; do
        port=$((20000 + RANDOM % 12000))
        if as_owner "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 -o "-p $port $settings" start >/dev/null 2>&1; then
            printf 'postgres://postgres@127.0.0.1:%s/postgres\n%s\n' "$port" "$dir"
            return
        fi
    done
    cat "$dir/log" >&2
    rm -rf "$dir"
    exit 1
}

stop() {
    case $1 in */muster-postgres.*) ;; *) echo "not a directory of this script: $1" >&2 && exit 1 ;; esac
    cd /
    as_owner "$bin/pg_ctl" -D "$1/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$1"
}

bin=$(programs) || { echo "there is no PostgreSQL here (initdb, pg_ctl)" >&2 && exit 1; }
case ${1:-} in
find) echo "$bin" ;;
start) start "${2:-}" ;;
stop) stop "${2:?the directory that start printed}" ;;
*) sed -n '2,6s/^# *//p' "$0" >&2 && exit 2 ;;
esac

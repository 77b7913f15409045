#!/usr/bin/env bash
# Everything that must pass. Each step runs even if one before it failed; the summary is at the end.
# MUSTER_REQUIRE=postgres,opencode,python,node,a2a-sdk,a2a-js makes a test that is skipped for want of one of these a failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
logs=build/test
mkdir -p "$logs"
rm -f "$logs"/*.log
failed=()
postgres_dir=''

stop_postgres() {
    [ -z "$postgres_dir" ] || scripts/postgres.sh stop "$postgres_dir"
    postgres_dir=''
}
trap stop_postgres EXIT
trap 'exit 130' INT TERM

step() {
    local name=$1 began=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    if "$@" 2>&1 | tee "$logs/$name.log"; then
        printf '=== %s: ok (%s s)\n' "$name" $((SECONDS - began))
    else
        printf '=== %s: FAILED (%s s)\n' "$name" $((SECONDS - began))
        failed+=("$name")
    fi
}

requirements() {
    scripts/requirements.sh
    scripts/opencode.sh >/dev/null || echo "Without OpenCode the tests that need it are skipped."
    scripts/a2a-sdk.sh || echo "Without the SDKs of A2A the tests that need them are skipped."
}

# One PostgreSQL for all test programs, so that not each of them starts its own.
start_postgres() {
    local answer
    [ -z "${TEST_POSTGRES_URL:-}" ] || return 0
    if answer=$(scripts/postgres.sh start); then
        TEST_POSTGRES_URL=${answer%%$'\n'*}
        postgres_dir=${answer##*$'\n'}
        export TEST_POSTGRES_URL
    else
        echo "Without PostgreSQL the tests that need it are skipped."
    fi
}

doc() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet; }

# The worker's binary is built first: the integration tests of the server start it.
tests() { cargo build --locked --workspace --quiet && cargo test --locked --workspace --no-fail-fast; }

# Sums the lines "test result: ok. 12 passed; 0 failed; 1 ignored; .." of all test programs.
summary() {
    printf '\n=== summary\n'
    awk '/^test result:/ { passed += $4; bad += $6; skipped += $8; programs++ }
        END { printf "%d passed, %d failed, %d skipped in %d test programs\n", passed, bad, skipped, programs }' "$logs/tests.log"
    grep -E '^test .* \.\.\. ignored' "$logs/tests.log" | sed 's/^test /skipped: /; s/ *\.\.\. ignored[, ]*/: /'
    grep -E '^test .* \.\.\. FAILED' "$logs/tests.log" | sed 's/^test /FAILED: /; s/ *\.\.\. FAILED//'
    if [ ${#failed[@]} -gt 0 ]; then
        echo "FAILED steps: ${failed[*]} (their output is in $logs)"
        exit 1
    fi
    echo "all steps passed in $SECONDS s"
}

step requirements requirements
step format cargo fmt --all --check
step clippy cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
step doc doc
step deny scripts/deny.sh
start_postgres
step tests tests
stop_postgres
summary

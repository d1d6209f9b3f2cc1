#!/usr/bin/env bash
# Installs what the tests need and runs all of them.
#
#   scripts/test.sh            everything
#   scripts/test.sh STEP…      only these steps, in this order:
#
#     tools     Chromium, the npm packages and the Python packages of the tests
#     check     format, lints, sizes (scripts/check.sh)
#     unit      the tests of the workspace, the simulation among them
#     build     the broker and the load generator, for the steps below
#     sdk       the stock clients in Node, in Chromium and in Python, with 1, 2 and 8 shards
#     hostile   bad input on raw sockets, and bad hosts, with 1, 2 and 8 shards
#     websocket every rule of RFC 6455 and RFC 7692, against the echo of `fanwire dev`
#     load      10,000 subscribers of one topic, then 10,000 idle connections
#
# TEST_SHARDS="1 2 8"   the numbers of shards
# CHROMIUM_BIN=…        a Chromium of your choice
# CARGO_TARGET_DIR=…    where cargo builds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ALL_STEPS=(tools check unit build sdk hostile websocket load)
TARGET="${CARGO_TARGET_DIR:-target}"
SDK_TESTS=broker/server/tests/sdk
HOSTILE_TESTS=broker/server/tests/hostile
WEBSOCKET_TESTS=broker/server/tests/websocket
VENV=.cache/sdk-venv
LOAD_CONNECTIONS=10000

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# ---- tools

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "cannot run as root: $*" "install it by hand, then start scripts/test.sh again"
    fi
}

apt_install() {
    command -v apt-get >/dev/null || die "please install: $*" "(there is no apt-get here)"
    note "installing $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_chromium() {
    local name
    for name in "${CHROMIUM_BIN:-}" chromium chromium-browser google-chrome; do
        [ -n "$name" ] && command -v "$name" && return
    done
    return 1
}

# Succeeds if the file $2 was not what it is now when `mark_done` was last called.
changed() { [ "$(cat "$1" 2>/dev/null)" != "$(sha256sum <"$2")" ]; }
mark_done() { sha256sum <"$2" >"$1"; }

step_tools() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust, see https://rustup.rs"
    command -v npm >/dev/null || apt_install nodejs npm
    [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] ||
        die "Node 20 or newer is needed, this is $(node --version)"
    command -v python3 >/dev/null || apt_install python3 python3-venv
    find_chromium >/dev/null || apt_install chromium
    note "$(cargo --version), node $(node --version), $(python3 --version)"
    note "$(find_chromium)"

    local stamp="$SDK_TESTS/node_modules/.installed"
    if changed "$stamp" "$SDK_TESTS/package-lock.json"; then
        note "npm ci"
        npm ci --prefix "$SDK_TESTS" --no-audit --no-fund --ignore-scripts --loglevel=error
        mark_done "$stamp" "$SDK_TESTS/package-lock.json"
    fi
    stamp="$VENV/.installed"
    if changed "$stamp" "$SDK_TESTS/python/requirements.txt"; then
        note "pip install"
        rm -rf "$VENV"
        # Debian's Python comes without what `venv` needs.
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        python3 -m venv "$VENV"
        "$VENV/bin/pip" install --quiet --disable-pip-version-check \
            -r "$SDK_TESTS/python/requirements.txt"
        mark_done "$stamp" "$SDK_TESTS/python/requirements.txt"
    fi
}

# ---- the workspace

step_check() { scripts/check.sh; }

step_unit() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --locked
        cargo test --quiet --workspace --locked --doc
    else
        cargo test --quiet --workspace --locked
    fi
    # The benches of core, each once and untimed: what they measure must be accepted.
    cargo test --quiet --locked -p fanwire-bench --bench core >/dev/null
    # With a fault planted in core, this passes only if the simulation notices it.
    cargo test --quiet --locked -p fanwire-core --features planted-fault --test sim
}

step_build() {
    cargo build --profile test-release --locked -p fanwire -p fanwire-bench
}

# ---- real clients

use_broker() {
    BROKER_BIN="$(realpath -m "$TARGET/test-release/fanwire")"
    [ -x "$BROKER_BIN" ] || die "no broker at $BROKER_BIN" "build it: scripts/test.sh build"
    export BROKER_BIN
}

# Python's tests, of the folder $1.
python_tests() {
    # The helpers of the hostile tests serve the others too.
    PYTHONPATH="$HOSTILE_TESTS" PYTHONDONTWRITEBYTECODE=1 \
        "$VENV/bin/python" -m unittest discover -s "$1"
}

step_sdk() {
    use_broker
    CHROMIUM_BIN="$(find_chromium)" || die "no Chromium: scripts/test.sh tools"
    export CHROMIUM_BIN
    local shards status=0
    for shards in ${TEST_SHARDS:-1 2 8}; do
        note "stock clients, number of shards: $shards"
        export BROKER_SHARDS=$shards
        npm test --silent --prefix "$SDK_TESTS" || status=1
        python_tests "$SDK_TESTS/python" || status=1
    done
    return $status
}

step_hostile() {
    use_broker
    local shards status=0
    for shards in ${TEST_SHARDS:-1 2 8}; do
        note "bad input, number of shards: $shards"
        export BROKER_SHARDS=$shards
        python_tests "$HOSTILE_TESTS" || status=1
    done
    return $status
}

# The framing of a connection knows nothing of shards, so one number of them is enough.
step_websocket() {
    use_broker
    python_tests "$WEBSOCKET_TESTS"
}

# ---- load

# Starts a broker with 2 shards; sets broker_pid, broker_output and broker_url.
start_broker() {
    broker_output="$(mktemp)"
    "$BROKER_BIN" dev --listen 127.0.0.1:0 --shards 2 --api-key "$1" >"$broker_output" &
    broker_pid=$!
    broker_url=""
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        broker_url="$(grep -om1 'ws://[0-9.:]*/connection/websocket' "$broker_output" || true)"
        [ -n "$broker_url" ] && return
        kill -0 "$broker_pid" 2>/dev/null || break
        sleep 0.1
    done
    die "the broker does not start"
}

stop_broker() {
    [ -n "${broker_pid:-}" ] || return 0
    kill "$broker_pid" 2>/dev/null || true
    wait "$broker_pid" || die "the broker ended with status $?"
    broker_pid=""
    rm -f "$broker_output"
}

# One run of scenario $1 of the load generator with a broker of its own. Its exit status says
# whether all arrived, once and in order; the speed is for the reader.
load() {
    start_broker "a-key-for-the-load"
    "$TARGET/test-release/fanwire-bench" "$@" --server-pid "$broker_pid" --url "$broker_url"
    stop_broker
}

step_load() {
    use_broker
    trap 'kill "${broker_pid:-}" 2>/dev/null || true' EXIT
    local connections=$LOAD_CONNECTIONS limit
    limit="$(ulimit -n)"
    if [ "$limit" != unlimited ] && [ "$limit" -lt $((connections + 1000)) ]; then
        connections=$((limit - 1000))
        note "only $connections connections, because ulimit -n is $limit"
    fi
    note "$connections subscribers of one topic, 5 messages/s of 128 bytes"
    load fanout --subscribers "$connections" --topics 1 --rate 5 --size 128 --seconds 10 \
        --api-key "a-key-for-the-load"
    note "$connections idle connections, a topic each"
    load idle --connections "$connections" --topics "$connections" --seconds 30
}

# ---- all

main() {
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    local passed=0 failed=() started=$SECONDS step before
    [ $# -gt 0 ] || set -- "${ALL_STEPS[@]}"
    for step in "$@"; do
        [[ " ${ALL_STEPS[*]} " == *" $step "* ]] ||
            die "no such step: $step" "steps: ${ALL_STEPS[*]}"
        say "$step"
        before=$SECONDS
        # A process of its own, because `set -e` has no effect in what `if` calls.
        if bash scripts/test.sh --run "$step" 2>&1; then
            passed=$((passed + 1))
            note "$step: passed in $((SECONDS - before)) s"
        else
            failed+=("$step")
            note "$step: FAILED after $((SECONDS - before)) s"
        fi
    done
    say "steps, in $((SECONDS - started)) s"
    [ ${#failed[@]} = 0 ] || note "failed: ${failed[*]}"
    printf '%s passed, %s failed\n' "$passed" "${#failed[@]}"
    [ ${#failed[@]} = 0 ]
}

if [ "${1:-}" = --run ]; then
    "step_$2"
else
    main "$@"
fi

#!/usr/bin/env bash
# Measures Fanwire beside other servers on this machine, and writes docs/benchmarks.md.
#
#   scripts/compare.sh                     everything, in under 15 minutes on two cores
#   scripts/compare.sh --quick             a smoke test: one short round, written to .cache
#   scripts/compare.sh --only fanwire,ws   only these servers
#   scripts/compare.sh --output FILE       somewhere else than docs/benchmarks.md
#
# Servers: fanwire uwebsockets nats mosquitto nchan ws socketio websockets. They take turns on core
# SERVER_CPU (0), each with one thread or worker; the generator has core GENERATOR_CPU (1).
#
# What is missing comes from Debian, npm and PyPI, and is unpacked under .cache/compare: nothing is
# installed into the system, and no service is started. What cannot be had is left out, and the page
# says so. Centrifugo is in none of these registries.
#
# BROKER_BIN=… BENCH_BIN=…   programs to use in place of a release build
# CARGO_TARGET_DIR=…          where cargo builds
set -euo pipefail
# Each job gets a process group, so that it can be ended with all that it has started.
set -m
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ALL_SERVERS=(fanwire uwebsockets nats mosquitto nchan ws socketio websockets)
SERVER_CPU="${SERVER_CPU:-0}"
GENERATOR_CPU="${GENERATOR_CPU:-1}"
TARGET="${CARGO_TARGET_DIR:-target}"
CACHE="$PWD/.cache/compare"
PEERS="$PWD/bench/peers"
DEBIAN="$CACHE/debian/root"
VENV="$CACHE/venv"

# By far the most: 3 rounds × 8 servers × 6 s of fan-out, 8 sweeps of up to a minute, 8 × 8 s of
# idle connections, 3 rounds × 12 × 4 s of floor, two sweeps with shards: under 15 minutes.
rounds=3 seconds=4 floor_seconds=2 idle_connections=15000 tls_connections=5000 storm_clients=15000
rest_tries=150 sweep=yes output=""
# What each shard gets of its core where two are held against one, in percent.
SHARD_SHARE=20
servers=("${ALL_SERVERS[@]}")

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
die() {
    printf '%s\n' "$@" >&2
    exit 1
}
# What is left out, for the reader of the page as well.
skip() {
    note "left out: $*"
    printf '%s\n' "$*" >>"$results/skipped"
}

# shellcheck source=scripts/compare/servers.sh
. scripts/compare/servers.sh
# shellcheck source=scripts/compare/goals.sh
. scripts/compare/goals.sh

# ---- processes

server_pid="" job_pid="" port="" protocol=""
server_cores="$SERVER_CPU" generator_cores="$GENERATOR_CPU"
# Control groups to be removed, the inner ones first.
groups=()

# Ends a job and all that it has started.
end_group() {
    [ -n "$1" ] || return 0
    kill -TERM -- "-$1" 2>/dev/null || return 0
    local tries
    for ((tries = 0; tries < 30; tries++)); do
        kill -0 -- "-$1" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

clean_up() {
    trap - EXIT INT TERM HUP
    end_group "$job_pid"
    stop_server
    rm -rf "${work:-}"
}

# A job in the background, so that a signal is heard while it runs.
run() {
    local status=0
    "$@" &
    job_pid=$!
    wait "$job_pid" || status=$?
    end_group "$job_pid"
    job_pid=""
    return $status
}

free_port() {
    python3 -c 'import socket
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1])'
}

# Starts a server on its core or cores, with the libraries that were unpacked.
launch() {
    LD_LIBRARY_PATH="$DEBIAN/usr/lib/$(uname -m)-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
        taskset -c "$server_cores" "$@" >"$work/server.log" 2>&1 &
    server_pid=$!
    # Its end is meant, and no news.
    disown "$server_pid"
}

# Waits until the server takes connections.
is_up() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        kill -0 "$server_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

stop_server() {
    end_group "$server_pid"
    server_pid=""
    local group
    for group in "${groups[@]}"; do rmdir "$group" 2>/dev/null || true; done
    groups=()
}

# Waits until nothing else wants a core, for the build just made and others use them; or gives up,
# and notes how often something did, in percent.
rest() {
    local tries ready busy=0 calm=0
    for ((tries = 0; tries < rest_tries && calm < 10; tries++)); do
        # Ready to run now, without the reader; the averages remember the build for minutes.
        ready="$(awk '{ split($4, ready, "/"); print ready[1] - 1 }' /proc/loadavg)"
        calm=$((ready == 0 ? calm + 1 : 0))
        busy=$((busy + (ready > 0)))
        sleep 0.2
    done
    [ "$calm" -lt 10 ] || busy=0
    printf '%s\n' "$((100 * busy / tries))" >"$results/busy"
    [ "$busy" = 0 ] || note "the machine is not at rest: these figures will be no measurement"
}

# ---- measuring

# One run of the generator against the running server; the rest are its arguments.
measure() {
    local name="$1.$2.$3" label="$2" status=0 pin=()
    shift 3
    [ -z "$generator_cores" ] || pin=(--pin "$generator_cores")
    run "$BENCH_BIN" "$@" --protocol "$protocol" --url "$(url_of "$protocol")" "${pin[@]}" \
        --server-pid "$server_pid" --label "$label" --quiet --json-file "$results/$name.json" \
        >"$work/bench.log" 2>&1 || status=$?
    case $status in
        0) note "$name" ;;
        1) note "$name: FAULTY: $(grep -om1 'FAULTY.*' "$work/bench.log" || true)" ;;
        *) skip "$name: $(grep -m1 '^error' "$work/bench.log" || tail -n1 "$work/bench.log")" ;;
    esac
}

# CPU time of the server until now, in ticks.
server_ticks() { sed 's/.*) //' "/proc/$server_pid/stat" | awk '{ print $12 + $13 }'; }

# Notes how busy the server is without anything to do, in percent of a core.
measure_rest() {
    local before
    # Its start is over then.
    sleep 0.5
    before="$(server_ticks)"
    sleep 1
    printf '%s\n' "$(((100 * ($(server_ticks) - before)) / $(getconf CLK_TCK)))" \
        >"$results/rest.$1"
}

# The fan-out at rising rates; the rest are further arguments.
measure_sweep() {
    local label="$1" name="$2"
    shift 2
    measure "$name" "$label" 1 sweep --subscribers 1000 --size 128 --factor 1.8 --seconds 1.5 \
        --warmup 0.5 --settle 0.2 --attempts 2 --p99-max 100ms "$@"
}

# All runs of one round against server $1; $2 is the round. A server of its own for each.
measure_server() {
    local server="$1" round="$2"
    with_server "$server" measure fanout "$server" "$round" fanout --subscribers 1000 --rate 50 \
        --size 128 --seconds "$seconds" --warmup 0.5 --settle 0.3
    # Neither changes much from round to round.
    [ "$round" = 1 ] || return 0
    with_server "$server" measure_rest "$server"
    with_server "$server" measure idle "$server" "$round" idle --seconds 3 --topics 1 \
        --connections "$idle_connections"
    [ "$sweep" = no ] || with_server "$server" measure_sweep "$server" sweep --from 200
}

with_server() {
    local server="$1"
    shift
    protocol="${PROTOCOLS[$server]}"
    port="$(free_port)"
    "start_$server"
    if is_up; then
        "$@"
    else
        skip "$server does not start: $(tail -n1 "$work/server.log")"
    fi
    stop_server
}

prepare() {
    say "tools"
    local server able=()
    for server in "${servers[@]}"; do
        protocol="${PROTOCOLS[$server]:-}"
        [ -n "$protocol" ] || die "no such server: $server" "servers: ${ALL_SERVERS[*]}"
        if provide "$server"; then
            able+=("$server")
        else
            skip "$server: its packages cannot be had here"
        fi
    done
    servers=("${able[@]}")
}

main() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --quick) rounds=1 seconds=2 floor_seconds=1 rest_tries=10 sweep=no
                idle_connections=1000 tls_connections=1000 storm_clients=2000 ;;
            --only) IFS=, read -ra servers <<<"${2:?--only needs names}"; shift ;;
            --output) output="${2:?--output needs a file}"; shift ;;
            *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2 ;;
        esac
        shift
    done
    # A smoke test is no result.
    [ "$sweep" = yes ] || : "${output:=.cache/compare/benchmarks.md}"
    : "${output:=docs/benchmarks.md}"
    command -v python3 >/dev/null || die "python3 is missing"
    command -v taskset >/dev/null || die "taskset is missing (Debian: util-linux)"
    taskset -c "$SERVER_CPU,$GENERATOR_CPU" true 2>/dev/null ||
        die "this machine has no cores $SERVER_CPU and $GENERATOR_CPU to use"
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

    mkdir -p "$CACHE"
    work="$(mktemp -d)"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    results="$work/results"
    mkdir "$results"
    touch "$results/skipped"

    say "build"
    build
    prepare
    # What follows is what takes long on a machine that has built before.
    SECONDS=0
    rest
    local round server
    for ((round = 1; round <= rounds; round++)); do
        say "round $round of $rounds"
        for server in "${servers[@]}"; do measure_server "$server" "$round"; done
    done
    if [[ " ${servers[*]} " == *" fanwire "* ]]; then
        say "goals"
        measure_storm
        measure_tls
        [ "$sweep" = no ] || measure_shards
        say "floor"
        measure_floor
    fi

    say "page"
    printf '%s\n' "$SECONDS" >"$results/elapsed"
    PYTHONDONTWRITEBYTECODE=1 python3 scripts/compare/page.py "$results" "$BENCH_BIN" "$output"
    rm -rf "$CACHE/results"
    cp -r "$results" "$CACHE/results"
    note "written: $output, in $((SECONDS / 60)) min $((SECONDS % 60)) s"
}

main "$@"

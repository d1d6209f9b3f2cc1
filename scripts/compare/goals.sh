# shellcheck shell=bash disable=SC2034,SC2154  # Variables are shared with scripts/compare.sh.
# What scripts/compare.sh measures of Fanwire alone: the goals beside those that peers have too.

measure_tls() {
    if ! "$BENCH_BIN" idle --help | grep -qe '--insecure'; then
        skip "idle TLS connections: this generator does not speak TLS"
        return
    fi
    if ! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -keyout "$work/key.pem" -out "$work/certificate.pem" >/dev/null 2>&1; then
        skip "idle TLS connections: openssl makes no certificate here"
        return
    fi
    scheme=wss
    with_server fanwire_tls measure idle-tls fanwire 1 idle --insecure --seconds 3 --topics 1 \
        --connections "$tls_connections"
    scheme=ws
}

# All leave and come back, on both cores, which the generator uses as well.
measure_storm() {
    shards=2 server_cores="$SERVER_CPU,$GENERATOR_CPU" generator_cores=""
    with_server fanwire measure storm fanwire 1 storm --clients "$storm_clients" --topics 1000 \
        --history-while-away 2 --topic-prefix demo:bench --seconds 2
    shards=1 server_cores="$SERVER_CPU" generator_cores="$GENERATOR_CPU"
}

# Two shards against one. Two cores leave no other for the generator, so each shard's thread gets
# the same small share of its core, and the generator what is left of both.
measure_shards() {
    shards=1 server_cores="$SERVER_CPU,$GENERATOR_CPU" generator_cores=""
    for shards in 1 2; do
        with_server fanwire measure_throttled "shards-$shards"
    done
    shards=1 server_cores="$SERVER_CPU" generator_cores="$GENERATOR_CPU"
}

measure_throttled() {
    if throttle; then
        measure_sweep fanwire "$1" --from 100 --processes 2
    else
        skip "$1: needs root and the cpu controller of control groups"
    fi
}

# Gives each shard's threads SHARD_SHARE percent of a core, in slices of 10 ms.
throttle() {
    local task name group root count=0
    root="$(control_group)" || return 1
    groups=("$root")
    for task in "/proc/$server_pid/task"/*; do
        name="$(cat "$task/comm")"
        [[ $name == shard-* ]] || continue
        group="$root/$name"
        # A shard's helper for blocking calls has its name.
        if [ ! -d "$group" ]; then
            mkdir "$group" 2>/dev/null || return 1
            groups=("$group" "${groups[@]}")
            count=$((count + 1))
        fi
        limit "$group" "${task##*/}" 2>/dev/null || return 1
    done
    [ "$count" = "$shards" ]
}

# Version 1 of control groups has the controller in a tree of its own; version 2 wants the process
# in a group before its threads can have their own.
control_group() {
    local path
    path="/sys/fs/cgroup/cpu$(sed -n 's/^[0-9]*:[^:]*\bcpu\b[^:]*:\(.*\)/\1/p' /proc/self/cgroup)"
    [ -w "$path/tasks" ] || path="/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)"
    path="${path%/}/fanwire-compare-$$"
    mkdir "$path" 2>/dev/null || return 1
    printf '%s\n' "$path"
}

limit() {
    local group="$1" thread="$2"
    if [ -e "$group/cpu.cfs_quota_us" ]; then
        echo 10000 >"$group/cpu.cfs_period_us" &&
            echo "$((SHARD_SHARE * 100))" >"$group/cpu.cfs_quota_us" &&
            echo "$thread" >"$group/tasks"
    else
        grep -q "^$server_pid$" "${group%/*}/cgroup.procs" ||
            echo "$server_pid" >"${group%/*}/cgroup.procs" || return 1
        echo threaded >"$group/cgroup.type" &&
            echo +cpu >"${group%/*}/cgroup.subtree_control" &&
            echo "$((SHARD_SHARE * 100)) 10000" >"$group/cpu.max" &&
            echo "$thread" >"$group/cgroup.threads"
    fi
}

measure_floor() {
    local status=0
    run "$BENCH_BIN" floor --fanwire "$BROKER_BIN" --rounds "$rounds" --seconds "$floor_seconds" \
        --server-cpu "$SERVER_CPU" --pin "$GENERATOR_CPU" --json-file "$results/floor.json" \
        --quiet >"$work/bench.log" 2>&1 || status=$?
    grep -v '^$' "$work/bench.log" || true
    [ "$status" -le 1 ] || skip "floor: $(tail -n1 "$work/bench.log")"
}

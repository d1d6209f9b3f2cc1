# shellcheck shell=bash disable=SC2034,SC2154  # Variables are shared with scripts/compare.sh.
# The servers that scripts/compare.sh measures: where they come from, and how they start.

# ---- tools

# A file of a Debian package: the system's, or ours.
debian_file() {
    local file
    for file in "/$1" "$DEBIAN/$1"; do
        [ -e "$file" ] && printf '%s\n' "$file" && return
    done
    return 1
}

# Unpacks the Debian package $1, with what it needs and this system lacks, unless it has file $2.
debian_package() {
    debian_file "$2" >/dev/null && return
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    local packages
    packages="$(apt-get install -s --no-install-recommends "$1" 2>/dev/null |
        awk '/^Inst/ { print $2 }')"
    [ -n "$packages" ] || return 1
    note "unpacking $(tr '\n' ' ' <<<"$packages")"
    mkdir -p "$DEBIAN" "$CACHE/debian/packages"
    # shellcheck disable=SC2086  # A word for each package.
    (cd "$CACHE/debian/packages" && apt-get download -qq $packages 2>/dev/null) || return 1
    local package
    for package in "$CACHE"/debian/packages/*.deb; do
        dpkg -x "$package" "$DEBIAN"
        rm "$package"
    done
    debian_file "$2" >/dev/null
}

# Succeeds if the file $2 was not what it is now when `mark_done` was last called.
changed() { [ "$(cat "$1" 2>/dev/null)" != "$(sha256sum <"$2")" ]; }
mark_done() { sha256sum <"$2" >"$1"; }

npm_packages() {
    command -v npm >/dev/null || return 1
    local folder="$CACHE/npm"
    mkdir -p "$folder"
    # Modules find their packages beside them.
    cp "$PEERS"/*.mjs "$PEERS"/package*.json "$folder"
    changed "$folder/.installed" "$PEERS/package-lock.json" || return 0
    note "npm ci"
    npm ci --prefix "$folder" --no-audit --no-fund --ignore-scripts --loglevel=error || return 1
    mark_done "$folder/.installed" "$PEERS/package-lock.json"
}

python_packages() {
    changed "$VENV/.installed" "$PEERS/requirements.txt" || return 0
    note "pip install"
    rm -rf "$VENV"
    python3 -m venv "$VENV" || return 1
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$PEERS/requirements.txt" ||
        return 1
    mark_done "$VENV/.installed" "$PEERS/requirements.txt"
}

build() {
    if [ -z "${BROKER_BIN:-}" ] || [ -z "${BENCH_BIN:-}" ]; then
        cargo build --release --locked --quiet -p fanwire -p fanwire-bench
    fi
    BROKER_BIN="$(realpath -m "${BROKER_BIN:-$TARGET/release/fanwire}")"
    BENCH_BIN="$(realpath -m "${BENCH_BIN:-$TARGET/release/fanwire-bench}")"
    [ -x "$BROKER_BIN" ] || die "no program $BROKER_BIN"
    [ -x "$BENCH_BIN" ] || die "no program $BENCH_BIN"
}

# ---- servers

declare -A PROTOCOLS=(
    [fanwire]=centrifugo [fanwire_tls]=centrifugo [uwebsockets]=nchan [nats]=nats
    [mosquitto]=mqtt [nchan]=nchan [ws]=nchan [socketio]=socketio [websockets]=websocket
)

shards=1 scheme=ws

# Where the generator finds a server of this protocol.
url_of() {
    case "$1" in
        centrifugo) printf '%s://127.0.0.1:%s/connection/websocket' "$scheme" "$port" ;;
        nats) printf 'tcp://127.0.0.1:%s' "$port" ;;
        *) printf 'ws://127.0.0.1:%s' "$port" ;;
    esac
}

start_fanwire() {
    launch "$BROKER_BIN" dev --listen "127.0.0.1:$port" --shards "$shards" --log-level error "$@"
}

start_fanwire_tls() {
    start_fanwire --tls-cert "$work/certificate.pem" --tls-key "$work/key.pem"
}

start_uwebsockets() {
    launch "$VENV/bin/python" "$PEERS/uwebsockets_server.py" "$port"
}

start_websockets() {
    launch "$VENV/bin/python" "$PEERS/websockets_server.py" "$port"
}

start_ws() {
    launch node "$CACHE/npm/ws.mjs" "$port"
}

start_socketio() {
    launch node "$CACHE/npm/socketio.mjs" "$port"
}

start_nats() {
    # One core is what it gets; told so, it starts as many threads.
    GOMAXPROCS=1 launch "$(debian_file usr/sbin/nats-server)" -a 127.0.0.1 -p "$port"
}

start_mosquitto() {
    sed "s|@PORT@|$port|; s|@FOLDER@|$work|" "$PEERS/mosquitto.conf" >"$work/mosquitto.conf"
    launch "$(debian_file usr/sbin/mosquitto)" -c "$work/mosquitto.conf"
}

start_nchan() {
    local module nginx
    module="$(debian_file usr/lib/nginx/modules/ngx_nchan_module.so)"
    nginx="$(debian_file usr/sbin/nginx)"
    sed "s|@PORT@|$port|; s|@FOLDER@|$work|; s|@MODULE@|$module|" "$PEERS/nginx.conf" \
        >"$work/nginx.conf"
    if [ -d /var/lib/nginx ]; then
        launch "$nginx" -p "$work" -c "$work/nginx.conf" -e stderr
    else
        # The module insists on a folder that only an installed nginx has.
        # shellcheck disable=SC2016  # The inner shell's.
        launch unshare --map-root-user --mount sh -c \
            'mount -t tmpfs none /var/lib && mkdir /var/lib/nginx && exec "$@"' \
            sh "$nginx" -p "$work" -c "$work/nginx.conf" -e stderr
    fi
}

# Gets what server $1 needs.
provide() {
    case "$1" in
        fanwire) ;;
        uwebsockets) python_packages && debian_package libuv1 \
            "usr/lib/$(uname -m)-linux-gnu/libuv.so.1" ;;
        websockets) python_packages ;;
        ws | socketio) npm_packages ;;
        nats) debian_package nats-server usr/sbin/nats-server ;;
        mosquitto) debian_package mosquitto usr/sbin/mosquitto ;;
        nchan) debian_package libnginx-mod-nchan usr/lib/nginx/modules/ngx_nchan_module.so &&
            debian_package nginx usr/sbin/nginx ;;
    esac
}

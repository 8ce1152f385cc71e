#!/usr/bin/env bash
# Serves the functions on this machine with the real `cargo lambda watch`, and does what a client, a gateway and a
# scheduler do: appends, invokes catch-up, and reads the view.
#
#     scripts/local-lambda.sh
#
# DATABASE_URL names the database to use. Without it the script starts the Postgres that `cargo run` finds or downloads, with its
# data in a temporary folder. If cargo-lambda is not installed, the script gets it with pip.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d /var/tmp/foldlog-local-lambda-XXXXXX)
watch=
postgres=

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

clean_up() {
    local status=$?
    [ -z "$watch" ] || kill -TERM -- "-$watch" 2>/dev/null || true
    if [ -n "$postgres" ] && [ -f "$postgres/cluster/postmaster.pid" ]; then
        local pid
        pid=$(head -n 1 "$postgres/cluster/postmaster.pid")
        kill -INT "$pid" || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
    [ "$status" = 0 ] || cat "$work"/*.log >&2 || true
    rm -rf "$work"
}
trap clean_up EXIT

# Waits until a command succeeds: wait_for WHAT SECONDS COMMAND…
wait_for() {
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "timed out waiting for $what" >&2
            return 1
        fi
        sleep 0.2
    done
}

# Prints the body of a response with any status: request METHOD URL [JSON]
request() {
    python3 -c '
import sys, urllib.error, urllib.request
method, url, *body = sys.argv[1:]
body = body[0].encode() if body else None
request = urllib.request.Request(url, body, {"content-type": "application/json"} if body else {}, method=method)
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(answer.read().decode())
' "$@"
}

is_healthy() {
    [[ $(request GET "$1/health") == *'"status":"up"'* ]]
}

# Checks that $2 contains $3; $1 says what that proves.
expect() {
    case $2 in
    *"$3"*) echo "ok: $1" ;;
    *)
        echo "failed: $1: expected $3 in: $2" >&2
        return 1
        ;;
    esac
}

cargo_lambda() {
    command -v cargo-lambda >/dev/null && return
    local version=1.9.2
    local folder=$PWD/target/ci/cargo-lambda-$version
    if [ ! -x "$folder/bin/cargo-lambda" ]; then
        # Without its dependencies, which only cross-compilation needs.
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder" "cargo-lambda==$version"
    fi
    export PATH=$folder/bin:$PATH
}

# Starts a Postgres: `local` starts it and is killed, so that only the functions fold events.
start_database() {
    local port=$1 local_pid
    export LOCAL_DATA_DIR=$work/data
    APP_SERVER_PORT=:$port target/debug/local >"$work/local.log" 2>&1 &
    local_pid=$!
    wait_for "a Postgres" 300 is_healthy "http://127.0.0.1:$port"
    postgres=$LOCAL_DATA_DIR
    kill -KILL "$local_pid"
    wait "$local_pid" 2>/dev/null || true
    local socket=$postgres/socket
    [ ! -f "$postgres/socket-folder" ] || socket=$(cat "$postgres/socket-folder")
    export DATABASE_URL="postgres://foldlog:$(cat "$postgres/password")@${socket//\//%2F}:5432/foldlog"
}

cargo_lambda
chmod 755 "$work"
cargo build --features lambda --bins
[ -n "${DATABASE_URL:-}" ] || start_database "$(free_port)"
cargo run --quiet --features lambda --bin migrate -- up >"$work/migrate.log"

port=$(free_port)
setsid cargo lambda watch --features lambda --ignore-changes --invoke-port "$port" >"$work/watch.log" 2>&1 &
watch=$!
url=http://localhost:$port
invoke() { cargo lambda invoke --invoke-port "$port" "$@"; }
wait_for "cargo lambda watch" 300 is_healthy "$url"

uuid() { python3 -c 'import uuid; print(uuid.uuid4())'; }
user=$(uuid)
event='{"id":"'$(uuid)'","aggregate_id":"'$user'","type_id":1000,"payload":{"id":"'$user'","username":"ada","email":"'$user'@example.org"}}'
expect "an append is stored" "$(request POST "$url/users" "$event")" '"version":1'
expect "a duplicate event gets the same response" "$(request POST "$url/events" "$event")" '"version":1'
expect "the view is not updated yet" "$(request GET "$url/users/$user")" '"status":404'
expect "status reports the lag" "$(invoke catch_up --data-file events/status.json)" '"remaining":1'
expect "a scheduled catch-up applies it" "$(invoke catch_up --data-file events/schedule.json)" '"applied":1'
expect "the row is there" "$(request GET "$url/users/$user")" '"username":"ada"'
expect "the list contains the user" "$(request GET "$url/users?limit=1000")" "$user"
expect "health reports the lag" "$(request GET "$url/health")" '"lag_events":0'
expect "the stage is removed from the path" "$(invoke query --data-file events/apigw-v1-list.json)" '"statusCode":200'
expect "migrations are applied" "$(invoke migrate --data-file events/migrate-status.json)" '"applied  '
expect "an unknown verb is rejected" "$(invoke catch_up --data-ascii '{"sing":true}' 2>&1 || true)" 'UnknownVerb'

kill -TERM "$watch"
wait "$watch" || true
if kill -0 -- "-$watch" 2>/dev/null; then
    echo "cargo lambda watch left processes of the group $watch running" >&2
    exit 1
fi
watch=
echo "ok: no process is left running"

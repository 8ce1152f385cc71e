#!/usr/bin/env bash
# Sends requests that Schemathesis generates from the OpenAPI document to a `local` that is already built, and compares every
# response with the document:
#
#     scripts/schemathesis.sh          (with DATABASE_URL: against that database; otherwise with a new Postgres)
#
# The document is validated first. scripts/schemathesis.toml lists what is checked, and the exceptions with their reasons.
# To repeat a run, use the seed that it prints: SCHEMATHESIS_SEED=7 scripts/schemathesis.sh
set -euo pipefail
cd "$(dirname "$0")/.."

version=4.32.5
validator=0.9.0
tools=$PWD/target/ci/schemathesis-$version
if [ ! -f "$tools/complete" ]; then
    rm -rf "$tools"
    python3 -m pip install --quiet --disable-pip-version-check --target "$tools" \
        "schemathesis==$version" "openapi-spec-validator==$validator"
    touch "$tools/complete"
fi
export PYTHONPATH=$tools:$PWD/scripts

folder=$(mktemp -d)
# The account that Postgres runs as needs access.
chmod 755 "$folder"
server=
end() {
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap end EXIT

touch "$folder/out"
APP_SERVER_PORT=:0 LOCAL_DATA_DIR=$folder/data DATABASE_URL=${DATABASE_URL-} RUST_LOG=error \
    target/debug/local >"$folder/out" 2>"$folder/err" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's/^foldlog listens on //p' "$folder/out")
    [ -z "$url" ] && kill -0 "$server" 2>/dev/null || break
    sleep 0.2
done
if [ -z "$url" ]; then
    cat "$folder/err" >&2
    exit 1
fi

python3 - "$url/openapi.json" <<'PYTHON'
import json, sys, urllib.request
from openapi_spec_validator import OpenAPIV31SpecValidator
OpenAPIV31SpecValidator(json.load(urllib.request.urlopen(sys.argv[1]))).validate()
print("the document is valid OpenAPI 3.1")
PYTHON

cd "$folder"
"$tools/bin/schemathesis" --config-file "$OLDPWD/scripts/schemathesis.toml" run "$url/openapi.json" \
    --seed "${SCHEMATHESIS_SEED:-1}" --max-examples "${SCHEMATHESIS_EXAMPLES:-60}" --no-color
if [ -s "$folder/err" ]; then
    echo "the server wrote to stderr:" >&2
    cat "$folder/err" >&2
    exit 1
fi

#!/usr/bin/env bash
# Generates TypeScript from the snapshots of the OpenAPI document, and compiles scripts/openapi-types/*.ts against it with
# `tsc --strict`. The snapshots are compared with the code by `cargo test --test it openapi::`.
#
# Exits with 3 where node or npm is missing, so that .ci/run can list the step as not done.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "scripts/openapi-types.sh: node and npm are required, and at least one of them is missing" >&2
    exit 3
fi

generator=7.13.0
compiler=5.9.3
tools=$PWD/target/ci/openapi-types-$generator-$compiler
if [ ! -x "$tools/node_modules/.bin/tsc" ]; then
    npm install --prefix "$tools" --no-save --no-audit --no-fund --loglevel=error \
        "openapi-typescript@$generator" "typescript@$compiler"
fi

folder=$tools/check
rm -rf "$folder"
mkdir -p "$folder"
cp scripts/openapi-types/*.ts "$folder/"
generate() {
    "$tools/node_modules/.bin/openapi-typescript" "$1" --output "$folder/$2.gen.ts" >/dev/null
}
generate tests/snapshots/openapi.json users
generate tests/snapshots/openapi_types.json types
"$tools/node_modules/.bin/tsc" --strict --noEmit --noUncheckedIndexedAccess --exactOptionalPropertyTypes \
    --target es2022 --module nodenext --moduleResolution nodenext --skipLibCheck false "$folder"/*.ts
echo "openapi-typescript $generator and tsc $compiler --strict accept the OpenAPI document"

#!/usr/bin/env bash
# Generates TypeScript from the snapshots of the OpenAPI document by three generators, checks that none of them merges or renames a
# type, and compiles all of it with `tsc --strict`, together with scripts/openapi-types/*.ts, which use the types. The snapshots
# are compared with the code by `cargo test --test it openapi::`.
#
# Exits with 3 where node or npm is missing, so that .ci/run can list the step as not done.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/lib/npm-tools.sh
require_npm

openapi_typescript=7.13.0
# npm warns that these two ask for node 22.18; they run on node 20.
hey_api=0.99.0
orval=8.38.0
compiler=5.9.3
install_tools "openapi-types-$openapi_typescript-$hey_api-$orval-$compiler" "openapi-typescript@$openapi_typescript" \
    "@hey-api/openapi-ts@$hey_api" "orval@$orval" "typescript@$compiler"
bin=$tools/node_modules/.bin

folder=$tools/check
rm -rf "$folder"
mkdir -p "$folder"
cp scripts/openapi-types/*.ts "$folder/"
quietly() {
    "$@" >"$folder/log" 2>&1 || { cat "$folder/log" >&2 && return 1; }
}
generate() {
    local document=$PWD/tests/snapshots/$1.json
    quietly "$bin/openapi-typescript" "$document" --root-types --root-types-no-schema-prefix --output "$folder/$2.gen.ts"
    quietly "$bin/openapi-ts" --input "$document" --output "$folder/$2.hey" --no-log-file
    # Without a configuration file it reads one of the current folder.
    (cd "$folder" && quietly "$bin/orval" --input "$document" --output "$folder/$2.orval.ts" --client fetch)
    node scripts/openapi-types/check-names.mjs "$document" \
        "$folder/$2.gen.ts" "$folder/$2.hey/types.gen.ts" "$folder/$2.orval.ts"
}
generate openapi users
generate openapi_types types
generate openapi_names names
"$bin/tsc" --strict --noEmit --noUncheckedIndexedAccess --exactOptionalPropertyTypes \
    --target es2022 --module nodenext --moduleResolution nodenext --skipLibCheck false "$folder"/{users,types}{,.gen}.ts "$folder/names.gen.ts"
# These two come with code of their own, which needs the types of a browser, and imports without file extensions.
"$bin/tsc" --strict --noEmit --target es2022 --lib es2022,dom,dom.iterable --module esnext --moduleResolution bundler \
    --skipLibCheck false "$folder"/*.orval.ts "$folder"/*.hey/index.ts "$folder"/*-hey.ts
echo "openapi-typescript $openapi_typescript, hey-api $hey_api, Orval $orval and tsc $compiler --strict accept the OpenAPI document"

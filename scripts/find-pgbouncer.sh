#!/usr/bin/env bash
# Prints the path of a PgBouncer: an installed one, or one that apt brings. Without either it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

for found in "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer target/pgbouncer/usr/sbin/pgbouncer; do
    if [ -n "$found" ] && [ -x "$found" ]; then
        realpath "$found"
        exit
    fi
done

# One at a time: every test that needs it may come here at once.
mkdir -p target
exec 9>target/pgbouncer.lock
flock 9
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    {
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends pgbouncer
    } >target/pgbouncer.log 2>&1 || true
elif command -v apt-get >/dev/null && [ ! -e target/pgbouncer ]; then
    mkdir -p target/pgbouncer.new
    (cd target/pgbouncer.new && apt-get download pgbouncer libevent-2.1-7 libcares2 &&
        for package in *.deb; do dpkg -x "$package" .; done) >target/pgbouncer.log 2>&1 &&
        mv target/pgbouncer.new target/pgbouncer || true
fi
for found in /usr/sbin/pgbouncer target/pgbouncer/usr/sbin/pgbouncer; do
    if [ -x "$found" ]; then
        realpath "$found"
        exit
    fi
done
echo "these tests need PgBouncer: install it (apt-get install pgbouncer, brew install pgbouncer) and run them again" >&2
exit 1

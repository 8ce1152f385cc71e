#!/usr/bin/env bash
# Builds the programs as they are released and prints how big each is. Fails when one is above 15 MiB, when one carries a
# client of an AWS service, or when `query` carries the code that invokes another function.
set -euo pipefail
cd "$(dirname "$0")/.."

limit=15
target=${CARGO_TARGET_DIR:-target}
# As `sam build` does it.
cargo build --release --no-default-features --features lambda --bins

# Whether a text is in a program. Names of crates and of headers are, even in a stripped one: panics name their sources.
has() {
    grep -a -q -F -e "$1" "$target/release/$2"
}

bad=0
complain() {
    echo "$1" >&2
    bad=1
}

printf '%-9s %6s  %s\n' program MiB 'clients of AWS services in it'
for program in command query catch_up migrate listener; do
    bytes=$(wc -c <"$target/release/$program")
    clients=$({ grep -a -o -E 'aws-sdk-[a-z0-9]+' "$target/release/$program" || true; } | sort -u | xargs)
    printf '%-9s %6s  %s\n' "$program" "$(awk "BEGIN { printf \"%.2f\", $bytes / 1048576 }")" "${clients:-none}"
    [ "$bytes" -le $((limit * 1048576)) ] || complain "$program is above $limit MiB"
    for client in $clients; do
        # What aws-config itself brings: a role may be had from STS for a web identity (a pod's).
        [ "$client" = aws-sdk-sts ] || complain "$program carries $client, and needs no service's client"
    done
done

# `command` can invoke the catch-up function (AFTER_APPEND=invoke), so the question is one that can be answered with yes.
invokes=x-amz-invocation-type
has "$invokes" command || complain "command does not invoke: this script no longer knows how to tell"
if has "$invokes" query; then
    complain "query carries the code that invokes a function"
fi
exit "$bad"

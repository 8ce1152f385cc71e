#!/usr/bin/env bash
# Builds the release binaries and prints their sizes. Fails when one is larger than 15 MiB, when one contains a client of an AWS
# service, or when `query` contains the code that invokes another function.
set -euo pipefail
cd "$(dirname "$0")/.."

limit_mib=15
target=${CARGO_TARGET_DIR:-target}
# The same features as in the Makefile that `sam build` calls.
cargo build --release --no-default-features --features lambda,users --bins

# Whether a binary contains a text. Even a stripped binary contains the names of its crates, because panics name source files.
contains() {
    grep -a -q -F -e "$1" "$target/release/$2"
}

bad=0
complain() {
    echo "$1" >&2
    bad=1
}

printf '%-9s %6s  %s\n' program MiB 'clients of AWS services'
for program in command query catch_up migrate listener; do
    bytes=$(wc -c <"$target/release/$program")
    clients=$({ grep -a -o -E 'aws-sdk-[a-z0-9]+' "$target/release/$program" || true; } | sort -u | xargs)
    printf '%-9s %6s  %s\n' "$program" "$(awk "BEGIN { printf \"%.2f\", $bytes / 1048576 }")" "${clients:-none}"
    [ "$bytes" -le $((limit_mib * 1048576)) ] || complain "$program is larger than $limit_mib MiB"
    for client in $clients; do
        # aws-config depends on it: STS issues a role to a web identity, for example to a pod.
        [ "$client" = aws-sdk-sts ] || complain "$program contains $client"
    done
done

# `command` can invoke the catch-up function (AFTER_APPEND=invoke), so the text must be found there; this proves that the
# search works.
invokes=x-amz-invocation-type
contains "$invokes" command || complain "command does not contain $invokes: this search no longer works"
if contains "$invokes" query; then
    complain "query contains the code that invokes a function"
fi
exit "$bad"

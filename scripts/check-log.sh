#!/usr/bin/env bash
# Searches the log of the whole test suite for what must never be logged: passwords, tokens, keys, payloads, e-mail
# addresses, URLs with a password. The tests use such values and plant some of them for this purpose.
#
#     TEST_LOG=1 RUST_LOG=trace,sqlx::query=off cargo test --all-features 2>suite.log; scripts/check-log.sh suite.log
set -euo pipefail

log=$1
forbidden=(
    'planted-' 'hunter2' 's3cret-of-the-tests' 'test_password' # passwords, tokens and payloads of the tests
    '@example\.org' '@test\.test'                             # e-mail addresses in payloads
    'eyJ[A-Za-z0-9_-]{10,}'                                   # a token, or the start of one
    '\$argon2id\$'                                            # a hashed password
    'postgres(ql)?://[^/ ]*:[^/ @]+@'                         # a URL with a password
    'X-Amz-Signature=|aws4_request'                           # a signature
    '"payload" *:'                                            # a payload by its name
)
lines=$(wc -l <"$log")
# An empty log would pass every search.
if [ "$lines" -lt 500 ] || ! grep -q 'POST /{domain} 201' "$log"; then
    echo "$log has only $lines lines or none of a request: run the tests with TEST_LOG and RUST_LOG as shown above" >&2
    exit 1
fi
found=0
for pattern in "${forbidden[@]}"; do
    if grep -av 'postgres://user:password@host' "$log" | grep -aEn -m 5 -e "$pattern"; then
        echo "^ these lines contain a secret: $pattern" >&2
        found=1
    fi
done
[ "$found" = 0 ] && echo "$lines lines of log contain no secrets"
exit "$found"

#!/usr/bin/env bash
# Looks through what was logged while all tests ran for what must never be: passwords, tokens, keys, payloads, e-mail
# addresses, URLs with a password. The tests use such values, some of them planted.
#
#     TEST_LOG=1 RUST_LOG=trace,sqlx::query=off cargo test --all-features 2>suite.log; scripts/check-log.sh suite.log
set -euo pipefail

log=$1
never=(
    'planted-' 'hunter2' 's3cret-of-the-tests' 'test_password' # passwords, tokens and payloads of the tests
    '@example\.org' '@test\.test'                             # e-mail addresses in payloads
    'eyJ[A-Za-z0-9_-]{10,}'                                   # a token, or the beginning of one
    '\$argon2id\$'                                            # a hashed password
    'postgres(ql)?://[^/ ]*:[^/ @]+@'                         # a URL with a password
    'X-Amz-Signature=|aws4_request'                           # a signature
    '"payload" *:'                                            # a payload by its name
)
lines=$(wc -l <"$log")
# A log that holds next to nothing would prove nothing.
if [ "$lines" -lt 500 ] || ! grep -q 'POST /{domain} 201' "$log"; then
    echo "$log has $lines lines, and none of the requests': the log was not kept" >&2
    exit 1
fi
found=0
for pattern in "${never[@]}"; do
    if grep -av 'postgres://user:password@host' "$log" | grep -aEn -m 5 -e "$pattern"; then
        echo "^ logged, and must never be: $pattern" >&2
        found=1
    fi
done
[ "$found" = 0 ] && echo "$lines lines of log, and nothing in them that must not be"
exit "$found"

#!/usr/bin/env bash
# All tests of the workspace, with the crash matrix and a count at the end: of tests, and of those that ran against a real API server.
set -euo pipefail
cd "$(dirname "$0")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PCF_API_SERVER_TESTS="$work/api-server-tests"
: >"$PCF_API_SERVER_TESTS"
export PCF_CRASH_MATRIX="$work/crash-matrix"
: >"$PCF_CRASH_MATRIX"
status=0
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$work/log" || status=1
echo "The crash matrix: what was done to the whole program, and whether the failover went on."
cat "$PCF_CRASH_MATRIX"
awk -v real="$(wc -l <"$PCF_API_SERVER_TESTS")" '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END {
        printf "%d passed, %d failed, %d ignored; %d of them ran against a real Kubernetes API server\n", passed, failed, ignored, real
        if (failed > 0 || ignored > 0 || passed == 0 || real == 0) exit 1
    }' "$work/log" || status=1
exit $status

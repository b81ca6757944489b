#!/usr/bin/env bash
# All tests of the workspace. Prints the matrix of what was done to the whole program, adds the seconds of each test program to
# the table of parts ($PCF_PARTS), and says in its last line how many tests there were and how many of them ran against a real API
# server. By day; with PCF_NIGHT=1 everything that there is.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/beside.sh
source scripts/beside.sh
work="$(mktemp -d)"
trap 'besides_end; rm -rf "$work"' EXIT
export PCF_API_SERVER_TESTS="$work/api-server-tests"
: >"$PCF_API_SERVER_TESTS"
export PCF_CRASH_MATRIX="$work/crash-matrix"
: >"$PCF_CRASH_MATRIX"
export PCF_ENGINES_ROWS="$work/engines"
: >"$PCF_ENGINES_ROWS"
# One number for all test programs of this run, from its time: the samples move from run to run.
export PCF_SAMPLE="${PCF_SAMPLE:-$(date +%s)}"
# Whole programs wait for each other's clocks more than they compute: one more than there are cores.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) + 1))}"
if [ "${PCF_NIGHT:-}" = 1 ]; then
    echo "PCF_NIGHT=1: everything, no samples"
else
    echo "PCF_SAMPLE=$PCF_SAMPLE: with it the same samples are tested again"
fi

status=0
# Built first, so that the seconds of each test program are its own.
cargo test --workspace --locked --no-run 2>&1 | tee "$work/built" || status=1
# The simulation has no clock but its own: it runs on what the others leave of the processors. The patterns name all programs but it.
beside "$work/simulation" cargo test --workspace --locked --no-fail-fast --test simulation
cargo test --workspace --locked --no-fail-fast --lib --bins --test '[!s]*' --test 's[!i]*' 2>&1 | tee "$work/log" || status=1
cargo test --workspace --locked --no-fail-fast --doc 2>&1 | tee -a "$work/log" || status=1
wait "${besides[0]}" || status=1
besides=()
tee -a "$work/log" <"$work/simulation"
programs() { sed -n "s/^ *$1 .*(\(.*\))\$/\1/p" "$2" | sort -u; } # verb file
left_out="$(comm -23 <(programs Executable "$work/built") <(programs Running "$work/log"))"
if [ -n "$left_out" ]; then
    printf 'tests.sh: built, and not run:\n%s\n' "$left_out" >&2
    status=1
fi
echo "The matrix: what was done to the whole program, and whether it went on."
cat "$PCF_CRASH_MATRIX"
echo "What engines of Microsoft's were driven with."
scripts/engines.sh table "$work/log" || status=1
# Cargo says which program it runs, and each program when it has ended. One that never says so has crashed.
awk -v parts="${PCF_PARTS:-/dev/null}" '
    function add(result, seconds, name) { printf "%s\t%s\t %s\n", result, seconds, name >>parts }
    function crashed() { if (running != "") add("FAILED", 0, running ": has not come to its end") }
    /^ +Running / || /^ +Doc-tests / {
        crashed()
        running = $0 ~ /Doc-tests/ || $0 ~ /unittests/ ? "unit" : $2
    }
    /^test result:/ && running != "" {
        seconds = $0
        sub(/.*finished in /, "", seconds)
        sub(/s.*/, "", seconds)
        if (running != "unit") add($3 == "ok." ? "ok" : "FAILED", seconds, running)
        else { units += seconds; if ($3 != "ok.") failed = 1 }
        running = ""
    }
    END {
        crashed()
        add(failed ? "FAILED" : "ok", units + 0, "unit and property tests")
    }' "$work/log"
summary="$(awk -v real="$(wc -l <"$PCF_API_SERVER_TESTS")" '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END {
        printf "%d passed, %d failed, %d ignored; %d of them ran against a real Kubernetes API server\n", passed, failed, ignored, real
        if (failed > 0 || ignored > 0 || passed == 0 || real == 0) exit 1
    }' "$work/log")" || status=1
echo "$summary"
# Whoever asked for the table wants this line after it.
if [ -n "${PCF_PARTS:-}" ]; then echo "$summary" >"$PCF_PARTS.summary"; fi
exit $status

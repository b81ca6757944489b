#!/usr/bin/env bash
# The parts of `make test` and `make night`. To be sourced: each part runs whatever became of the others, and at the end one table
# says how each of them went and how long it took.
set -euo pipefail

# shellcheck source=scripts/beside.sh
source scripts/beside.sh
parts_work="$(mktemp -d)"
trap 'besides_end; rm -rf "$parts_work"' EXIT
# One line for each part: result, seconds, name, separated by tabs. What a part consists of may add lines of its own.
export PCF_PARTS="$parts_work/parts"
: >"$PCF_PARTS"

# Runs a command as a part of a name, whatever became of the parts before it.
part() { # name command…
    local name="$1" began result=ok
    shift
    began="$(date +%s.%N)"
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" || result=FAILED
    record_part "$result" "$(seconds_since "$began")" "$name"
}

# Runs a command that only computes as a part beside those that come after it. What it prints is shown by `parts_wait`.
part_beside() { # name command…
    printf '\n== %s, beside what follows: %s\n' "$1" "${*:2}"
    beside "$parts_work/beside-${#besides[@]}" part "$@"
}

# Waits for the parts that run beside the others.
parts_wait() {
    local n
    for n in "${!besides[@]}"; do
        wait "${besides[n]}" || true
        cat "$parts_work/beside-$n"
    done
    besides=()
}

seconds_since() { # time as `date +%s.%N` gives it
    awk -v began="$1" -v now="$(date +%s.%N)" 'BEGIN { printf "%.1f", now - began }'
}

record_part() { # result seconds name
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$PCF_PARTS"
}

# The table. Fails if a part failed, or if there was none.
parts_table() {
    printf '\n%-64s %10s  %s\n' part seconds result
    # Lines whose name begins with a space belong to the part after them: their seconds are in its own. What runs beside others lets them
    # go first, so that all together takes less than the sum.
    awk -F '\t' -v all="$SECONDS" '
        { printf "%-64s %10.1f  %s\n", $3, $2, $1; if ($1 != "ok") failed = 1 }
        END { printf "%-64s %10.1f  %s\n", "all", all, failed || NR == 0 ? "FAILED" : "ok"; exit failed || NR == 0 }
    ' "$PCF_PARTS"
}

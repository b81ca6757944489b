#!/usr/bin/env bash
# The parts of `make test` and `make night`. To be sourced: each part runs whatever became of the others, and at the end one table
# says how each of them went and how long it took.
set -euo pipefail

parts_work="$(mktemp -d)"
trap 'parts_end' EXIT
# Of each part that runs beside the others its process and the file of what it prints.
parts_beside=()
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

# Runs a command that only computes as a part beside those that come after it, on what they leave of the processors. What it prints is
# shown by `parts_wait`.
part_beside() { # name command…
    local printed="$parts_work/beside-${#parts_beside[@]}"
    printf '\n== %s, beside what follows: %s\n' "$1" "${*:2}"
    # In a process group of its own, so that all of it can be ended.
    set -m
    (part "$1" scripts/when-idle.sh "${@:2}") >"$printed" 2>&1 &
    set +m
    parts_beside+=("$!" "$printed")
}

# Waits for the parts that run beside the others.
parts_wait() {
    local n
    for ((n = 0; n < ${#parts_beside[@]}; n += 2)); do
        wait "${parts_beside[n]}" || true
        cat "${parts_beside[n + 1]}"
    done
    parts_beside=()
}

# Leaves nothing behind, even if ended early.
parts_end() {
    local n
    for ((n = 0; n < ${#parts_beside[@]}; n += 2)); do kill -- "-${parts_beside[n]}" 2>/dev/null || true; done
    rm -rf "$parts_work"
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

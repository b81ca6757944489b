# shellcheck shell=bash
# Sourced by the scripts that run what only computes beside tests of whole programs, which wait for clocks.

# Of each that runs beside the others the process, which leads a group of its own, so that all of it can be ended.
besides=()

# Runs a command on what the others leave of the processors.
beside() { # file-for-what-it-prints command…
    set -m
    (
        chrt --idle --pid 0 "$BASHPID" || renice -n 19 "$BASHPID"
        "${@:2}"
    ) >"$1" 2>&1 &
    set +m
    besides+=("$!")
}

# Ends what still runs, if the script is ended early.
besides_end() {
    local group
    for group in "${besides[@]}"; do kill -- "-$group" 2>/dev/null || true; done
}

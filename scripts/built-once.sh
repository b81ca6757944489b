# shellcheck shell=bash
# Sourced by the scripts that build a program of others from sources that this repository pins, and print where it lies.

# pinned MODULE: prints the version of a module that the go.mod of this folder names.
pinned() {
    local version
    version="$(sed -n "s|^.*$1 \(v[^ ]*\).*|\1|p" go.mod)"
    if [ -z "$version" ]; then
        echo "$(basename "$0"): $PWD/go.mod names no version of $1." >&2
        return 1
    fi
    echo "$version"
}

# built_once WHAT KEY NEWS: sets `wanted` to the folder of the user's cache for WHAT as KEY identifies it. Where it is not there yet, `build` is
# called with an empty folder, which becomes that one; NEWS says what is built and how long that takes.
built_once() {
    local what="$1" key="$2" news="$3" cache
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover"
    wanted="$cache/$what-$key"
    mkdir -p "$cache"
    # Two processes must not build at the same time.
    exec 9>"$cache/$what-lock"
    flock 9
    if [ -d "$wanted" ]; then return; fi
    if ! command -v go >/dev/null; then
        echo "$what.sh: Go 1.26 or newer is missing: it builds $what. Install it (https://go.dev/dl)." >&2
        exit 1
    fi
    echo "building $news: $wanted" >&2
    building="$(mktemp -d "$cache/building-$what-XXXXXX")"
    trap 'rm -rf "$building"' EXIT
    export GOTOOLCHAIN=local
    build "$building"
    mv -T "$building" "$wanted"
    trap - EXIT
}

#!/usr/bin/env bash
# Prints the path of a program that says what kstatus makes of objects, built once into the user's cache from tests/kstatus and the
# sources that its go.sum pins.
set -euo pipefail
cd "$(dirname "$0")/../tests/kstatus"
key="$(cat go.mod go.sum *.go | sha256sum | cut -c1-16)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover"
wanted="$cache/kstatus-$key/kstatus"
mkdir -p "$cache"
# Two processes must not build at the same time.
exec 9>"$cache/kstatus-lock"
flock 9
if [ ! -x "$wanted" ]; then
    if ! command -v go >/dev/null; then
        echo "kstatus.sh: Go 1.26 or newer is missing: it builds kstatus. Install it (https://go.dev/dl)." >&2
        exit 1
    fi
    echo "building kstatus once, about a minute: $wanted" >&2
    building="$(mktemp -d "$cache/building-kstatus-XXXXXX")"
    GOTOOLCHAIN=local CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "-s -w" -o "$building/kstatus" . >&2
    mv -T "$building" "${wanted%/kstatus}"
fi
echo "$wanted"

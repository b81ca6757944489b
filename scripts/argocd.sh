#!/usr/bin/env bash
# Prints the path of Argo CD's program in one pinned version, built once into the user's cache from the sources that
# tests/argocd/go.sum pins.
set -euo pipefail
cd "$(dirname "$0")/../tests/argocd"
version="$(sed -n 's|^.*github.com/argoproj/argo-cd/v3 \(v[^ ]*\).*|\1|p' go.mod)"
if [ -z "$version" ]; then
    echo "argocd.sh: tests/argocd/go.mod names no version of Argo CD." >&2
    exit 1
fi
key="$(cat go.mod go.sum | sha256sum | cut -c1-16)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover"
wanted="$cache/argocd-$key/argocd"
mkdir -p "$cache"
# Two processes must not build at the same time.
exec 9>"$cache/argocd-lock"
flock 9
if [ ! -x "$wanted" ]; then
    if ! command -v go >/dev/null; then
        echo "argocd.sh: Go 1.26 or newer is missing: it builds Argo CD. Install it (https://go.dev/dl)." >&2
        exit 1
    fi
    echo "building Argo CD $version once, about ten minutes and 2.2 GB of memory: $wanted" >&2
    building="$(mktemp -d "$cache/building-argocd-XXXXXX")"
    GOTOOLCHAIN=local CGO_ENABLED=0 nice go build -mod=readonly -trimpath -ldflags "-s -w" \
        -o "$building/argocd" github.com/argoproj/argo-cd/v3/cmd >&2
    mv -T "$building" "${wanted%/argocd}"
fi
echo "$wanted"

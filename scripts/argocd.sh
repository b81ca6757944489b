#!/usr/bin/env bash
# Prints the path of Argo CD's program in one pinned version, built once into the user's cache from the sources that
# tests/argocd/go.sum pins.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/built-once.sh
. ./built-once.sh
cd ../tests/argocd
version="$(pinned "github.com/argoproj/argo-cd/v3")"
key="$(cat go.mod go.sum | sha256sum | cut -c1-16)"
build() {
    CGO_ENABLED=0 nice go build -mod=readonly -trimpath -ldflags "-s -w" -o "$1/argocd" github.com/argoproj/argo-cd/v3/cmd >&2
}
built_once argocd "$key" "Argo CD $version once, about ten minutes and 2.2 GB of memory"
echo "$wanted/argocd"

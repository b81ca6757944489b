#!/usr/bin/env bash
# Prints the path of Helm 4 in one pinned version, built once into the user's cache from the sources that tests/helm4/go.sum pins.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/built-once.sh
. ./built-once.sh
cd ../tests/helm4
version="$(pinned "helm.sh/helm/v4")"
flags="-s -w -X helm.sh/helm/v4/internal/version.version=$version"
key="$({ cat go.mod go.sum; printf '%s' "$flags"; } | sha256sum | cut -c1-16)"
build() {
    CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "$flags" -o "$1/helm" helm.sh/helm/v4/cmd/helm >&2
}
built_once helm4 "$key" "helm $version once, about two minutes"
echo "$wanted/helm"

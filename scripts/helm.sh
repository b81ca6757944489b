#!/usr/bin/env bash
# Prints the path of helm in one pinned version, built once into the user's cache from the sources that tests/helm/go.sum pins.
set -euo pipefail
cd "$(dirname "$0")/../tests/helm"
version() { sed -n "s|^.*$1 \(v[^ ]*\).*|\1|p" go.mod; }
helm="$(version helm.sh/helm/v3)"
# Where no API server is asked, helm takes the version of Kubernetes from its build: that of its client.
minor="$(version k8s.io/client-go | cut -d. -f2)"
if [ -z "$helm" ] || [ -z "$minor" ]; then
    echo "helm.sh: tests/helm/go.mod names no version of helm, or none of its client." >&2
    exit 1
fi
flags="-s -w -X helm.sh/helm/v3/internal/version.version=$helm"
for package in pkg/lint/rules pkg/chartutil; do
    flags="$flags -X helm.sh/helm/v3/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/$package.k8sVersionMinor=$minor"
done
key="$({ cat go.mod go.sum; printf '%s' "$flags"; } | sha256sum | cut -c1-16)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover"
wanted="$cache/helm-$key/helm"
mkdir -p "$cache"
# Two processes must not build at the same time.
exec 9>"$cache/helm-lock"
flock 9
if [ ! -x "$wanted" ]; then
    if ! command -v go >/dev/null; then
        echo "helm.sh: Go 1.26 or newer is missing: it builds helm. Install it (https://go.dev/dl)." >&2
        exit 1
    fi
    echo "building helm $helm once, about two minutes: $wanted" >&2
    building="$(mktemp -d "$cache/building-helm-XXXXXX")"
    GOTOOLCHAIN=local CGO_ENABLED=0 \
        go build -mod=readonly -trimpath -ldflags "$flags" -o "$building/helm" helm.sh/helm/v3/cmd/helm >&2
    mv -T "$building" "${wanted%/helm}"
fi
echo "$wanted"

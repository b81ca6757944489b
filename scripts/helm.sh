#!/usr/bin/env bash
# Prints the path of helm in one pinned version, built once into the user's cache from the sources that tests/helm/go.sum pins.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/built-once.sh
. ./built-once.sh
cd ../tests/helm
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
build() {
    CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "$flags" -o "$1/helm" helm.sh/helm/v3/cmd/helm >&2
}
built_once helm "$key" "helm $helm once, about two minutes"
echo "$wanted/helm"

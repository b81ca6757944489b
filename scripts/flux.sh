#!/usr/bin/env bash
# Prints a folder with what the tests of GitOps need of Flux: `kustomize-controller`, built once into the user's cache from the sources
# that tests/flux/go.sum pins, and in `crds` the definitions of its resources and of source-controller's.
#
# source-controller itself is not here: not all of the modules that it is made of can be had from the module proxy. The tests have a
# stand-in for it (tests/common/flux.rs), which speaks through its real definitions.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/built-once.sh
. ./built-once.sh
cd ../tests/flux
controller="github.com/fluxcd/kustomize-controller"
version="$(pinned "$controller")"
# Only its definitions are used: it stands in no go.sum, so its checksum stands here, in the form of one.
source="github.com/fluxcd/source-controller@v1.9.5"
source_sum="h1:MFPyCodUi9hZIMaKDsC/rYbNoyzpvrAdrPVixj7W9F0="
flags="-s -w -X main.VERSION=$version"
key="$({ cat go.mod go.sum; printf '%s' "$flags $source $source_sum"; } | sha256sum | cut -c1-16)"
field() { sed -n "s|^\t\"$1\": \"\(.*\)\",\{0,1\}\$|\1|p"; }
build() {
    local told folder
    told="$(go mod download -json "$source")" || {
        echo "flux.sh: $source cannot be had: $told" >&2
        exit 1
    }
    if [ "$(field Sum <<<"$told")" != "$source_sum" ]; then
        echo "flux.sh: $source has the checksum $(field Sum <<<"$told"), not $source_sum." >&2
        exit 1
    fi
    CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "$flags" -o "$1/kustomize-controller" "$controller" >&2
    mkdir "$1/crds"
    for folder in "$(go list -mod=readonly -m -f '{{.Dir}}' "$controller")" "$(field Dir <<<"$told")"; do
        cp "$folder"/config/crd/bases/*.yaml "$1/crds/"
    done
    # As Go keeps them, nobody may write them: the next one could not take the folder away.
    chmod -R u+w "$1"
}
built_once flux "$key" "kustomize-controller $version once, about three minutes"
echo "$wanted"

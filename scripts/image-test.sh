#!/usr/bin/env bash
# `make image-test`: looks at the image in target/image with tools that others wrote, runs its programs in it, and builds it again.
# A check that cannot run is a failure. All checks run even if one has failed; the table at the end says how each of them went.
# $PROFILE (production or debug) says which programs are in it, $BINARIES where they were taken from if not from the target folder.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/parts.sh
source scripts/parts.sh
PROFILE="${PROFILE:-production}"
image="${CARGO_TARGET_DIR:-target}/image"
# Of the compressed image with the programs of production; those of debug are not optimised, and twice as large.
limit_mb=60
spdx_tools=0.8.5

missing=()
for tool in skopeo umoci jq file readelf:binutils unshare:util-linux; do
    command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
done
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then sudo="sudo"; fi
    echo "installing ${missing[*]}"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

work="$(mktemp -d)"
trap 'rm -rf "$work" "$parts_work"' EXIT
root="$work/bundle/rootfs"

fail() {
    echo "image-test.sh: $*" >&2
    return 1
}

# Fails, and shows what was found, if there is anything on standard input.
nothing() { # what
    local found
    found="$(cat)"
    [ -z "$found" ] || fail "$1: $found"
}

# Compares two texts.
same() { # what wanted found
    [ "$2" = "$3" ] || fail "$1: wanted '$2', found '$3'"
}

# Runs a program of the image in the image, as the image's user, with its environment and nothing else of this machine.
# Assignments before the program are added to the environment.
# It becomes the program: to be called in a process of its own, which whoever kills it kills with it.
inside() { # [name=value…] program argument…
    local environment=()
    mapfile -t environment < <(jq -r '.config.Env[]' "$work/config.json")
    while [[ "$1" == *=* ]]; do
        environment+=("$1")
        shift
    done
    # By root the user is changed for real; others are that user in a namespace of their own.
    if [ "$(id -u)" -eq 0 ]; then
        exec env -i "${environment[@]}" "$(command -v chroot)" --userspec=65532:65532 "$root" "$@"
    else
        exec env -i "${environment[@]}" "$(command -v unshare)" --map-user=65532 --map-group=65532 --root="$root" "$@"
    fi
}

# umoci checks the digest of each blob, and what each layer is when decompressed.
unpack() {
    umoci unpack --rootless --image "$image:$reference" "$work/bundle" &&
        jq -e '.process.user == {"uid": 65532, "gid": 65532}' "$work/bundle/config.json" >/dev/null
}

# The layout and the tar are one image, and skopeo can read and copy both of them without changing a byte.
layout() {
    local digest
    digest="$(cat "$image/digest")" || return 1
    same "skopeo's digest of the layout" "$digest" "$(skopeo inspect --format '{{.Digest}}' "oci:$image:$reference")" || return 1
    same "skopeo's digest of the tar" "$digest" "$(skopeo inspect --format '{{.Digest}}' "oci-archive:$image/$tar:$reference")" || return 1
    skopeo copy --quiet --preserve-digests "oci-archive:$image/$tar:$reference" "dir:$work/copied" || return 1
    same "digest of the copy" "$digest" "sha256:$(sha256sum <"$work/copied/manifest.json" | cut -d' ' -f1)" || return 1
    # `docker load` that knows no layouts.
    skopeo copy --quiet "docker-archive:$image/$tar:$reference" "dir:$work/legacy"
}

configuration() {
    local revision
    revision="$(git rev-parse HEAD)" || return 1
    jq -e --arg revision "$revision" --arg version "${reference#*:}" '
        .config.User == "65532:65532" and .config.Entrypoint == ["/usr/bin/pcf-operator"] and .config.Cmd == ["run"]
        and (.config.Labels | ."org.opencontainers.image.version" == $version and ."org.opencontainers.image.licenses" == "Apache-2.0"
            and (."org.opencontainers.image.revision" | startswith($revision)) and has("org.opencontainers.image.title")
            and has("org.opencontainers.image.source"))
    ' "$work/config.json" >/dev/null || fail "the configuration is not as it should be: $(cat "$work/config.json")"
}

# What may be executed is known: with that there is no shell, no package manager and no interpreter under another name, either.
executables() {
    local wanted found
    wanted="$(printf '%s\n' /usr/bin/kubectl-pcf /usr/bin/pcf-operator "/usr/lib/$triplet/${loader##*/}" "/usr/lib/$triplet/libc.so.6" | sort)"
    found="$(find "$root" -type f -perm /111 -printf '/%P\n' | sort)"
    same "files that may be executed" "$wanted" "$found" || return 1
    find "$root" \( -name '*sh' -o -name 'busybox*' -o -name 'apt*' -o -name 'dpkg*' \) -not -type d -printf '/%P\n' | nothing "a shell or a package manager"
}

# Read from the layers themselves: unpacking without root has no owners and drops some bits.
rights() {
    local layer
    while read -r layer; do
        tar --numeric-owner -tvzf "$image/blobs/sha256/$layer" >>"$work/listed" || return 1
    done < <(jq -r '.layers[].digest[7:]' "$work/manifest.json")
    [ "$(wc -l <"$work/listed")" -gt 50 ] || fail "too little in the layers" || return 1
    awk '$2 != "0/0"' "$work/listed" | nothing "of another owner than root" || return 1
    awk '$1 ~ /^[-d].*[sS]/' "$work/listed" | nothing "setuid or setgid" || return 1
    awk '$1 !~ /^[-dl]/' "$work/listed" | nothing "neither a file nor a folder nor a link" || return 1
    awk '$1 ~ /^[-d].......w/ && $6 != "tmp/"' "$work/listed" | nothing "anybody may write" || return 1
    # Without it the operator has no place for the certificates that it is given. A read-only root file system needs a mount there.
    grep -q '^drwxrwxrwt .* tmp/$' "$work/listed" || fail "/tmp is missing, or not everybody's"
}

libraries() {
    local program found
    for program in pcf-operator kubectl-pcf; do
        # The image's own loader, in the image: what it does not find is not there.
        found="$(inside "$loader" --list "/usr/bin/$program" 2>&1)" || fail "$program: $found" || return 1
        grep -q 'libssl\.so' <<<"$found" || fail "$program: no libssl in $found" || return 1
        sed -n '/not found/p' <<<"$found" | nothing "$program lacks" || return 1
    done
}

programs() {
    local program said
    for program in pcf-operator kubectl-pcf; do
        said="$(inside "/usr/bin/$program" --version)" || return 1
        same "version of $program" "${reference#*:}" "${said##* }" || return 1
    done
    inside /usr/bin/pcf-operator crd | diff - crds/persistentchatfailovers.persistentchat.dev.yaml || fail "another CRD than that in crds/"
}

roots() {
    local folder=/etc/ssl/certs count said file
    count="$(find "$root$folder" -type f -name '*.[0-9]' | wc -l)"
    [ "$count" -gt 100 ] || fail "only $count roots" || return 1
    same "what else is among the roots" "$count" "$(find "$root$folder" -mindepth 1 | wc -l)" || return 1
    same "where OpenSSL looks" "$folder" "$(readlink "$root/usr/lib/ssl/certs")" || return 1
    for file in "$root$folder"/*; do
        # Found by its subject's hash, as OpenSSL looks for it, and its own issuer.
        openssl verify -no_check_time -no-CAfile -no-CAstore -CApath "$root$folder" "$file"
    done >"$work/verified" 2>&1 || fail "not a root: $(grep -v ': OK$' "$work/verified")" || return 1
    same "certificates that are roots" "$count" "$(grep -c ': OK$' "$work/verified")" || return 1
    # Without roots the operator does not start; with them it starts, and finds that nobody answers there.
    said="$(start)"
    grep -q '"message":"started"' <<<"$said" || fail "the operator does not start: $said" || return 1
    said="$(start SSL_CERT_DIR=/nonexistent)"
    grep -q 'No CA certificates' <<<"$said" || fail "without roots the operator does not say so: $said"
}

# Starts the operator for a moment, against an API server that is not there.
start() { # [name=value…]
    cat >"$root/tmp/kubeconfig" <<'YAML'
apiVersion: v1
kind: Config
current-context: nobody
contexts: [{ name: nobody, context: { cluster: nobody, user: nobody } }]
clusters: [{ name: nobody, cluster: { server: "https://localhost:1" } }]
users: [{ name: nobody, user: {} }]
YAML
    inside KUBECONFIG=/tmp/kubeconfig "$@" /usr/bin/pcf-operator run >"$work/said" 2>&1 &
    local started=$!
    for _ in $(seq 50); do
        if grep -q '"message":"started"' "$work/said" || ! kill -0 "$started" 2>/dev/null; then break; fi
        sleep 0.2
    done
    kill -9 "$started" 2>/dev/null || true
    wait "$started" 2>/dev/null || true
    rm -f "$root/tmp/kubeconfig"
    cat "$work/said"
}

size() {
    local bytes limit
    bytes="$(cat "$image"/blobs/sha256/* | wc -c)"
    limit=$((limit_mb * 1000000))
    awk -v bytes="$bytes" -v unpacked="$(du -sb "$root" | cut -f1)" -v profile="$PROFILE" \
        'BEGIN { printf "%.1f MB compressed, %.1f MB unpacked, with %s programs\n", bytes / 1e6, unpacked / 1e6, profile }'
    [ "$PROFILE" != production ] || [ "$bytes" -le "$limit" ] || fail "more than $limit_mb MB"
}

bill_of_materials() {
    local tools="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover/spdx-tools-$spdx_tools" program
    if [ ! -x "$tools/bin/pyspdxtools" ]; then
        echo "installing spdx-tools $spdx_tools once"
        rm -rf "$tools"
        python3 -m venv "$tools" && "$tools/bin/pip" install --quiet "spdx-tools==$spdx_tools" || return 1
    fi
    "$tools/bin/pyspdxtools" --version SPDX-2.3 --infile "$image/sbom.spdx.json" || return 1
    same "the image that it is about" "$(cut -d: -f2 "$image/digest")" \
        "$(jq -r '.packages[] | select(.primaryPackagePurpose == "CONTAINER").checksums[0].checksumValue' "$image/sbom.spdx.json")" || return 1
    # Each package that the image says it has is listed, and no other.
    same "packages of Debian" "$(cd "$root/var/lib/dpkg/status.d" && sort ./* | sed -n 's/^Package: //p')" \
        "$(jq -r '.packages[] | select(.externalRefs[0].referenceLocator | startswith("pkg:deb/")).name' "$image/sbom.spdx.json" | sort)" || return 1
    for program in pcf-operator kubectl-pcf; do
        same "hash of $program" "$(sha256sum <"$root/usr/bin/$program" | cut -d' ' -f1)" \
            "$(jq -r --arg name "./usr/bin/$program" '.files[] | select(.fileName == $name).checksums[] | select(.algorithm == "SHA256").checksumValue' "$image/sbom.spdx.json")" || return 1
    done
    jq -r '[.packages[].externalRefs[0].referenceLocator | split("/")[0]] | group_by(.) | map("\(length) \(.[0])") | join(", ")' "$image/sbom.spdx.json"
}

options=(--profile "$PROFILE")
if [ -n "${BINARIES:-}" ]; then options+=(--binaries "$BINARIES"); fi

again() {
    scripts/image.py "${options[@]}" --check
}

# What the Containerfile copies into its last stage is what the image holds; and both are of the toolchain that is pinned.
containerfile() {
    local pinned
    scripts/image.py "${options[@]}" --packages "$image/packages.json" --rootfs "$work/rootfs" || return 1
    diff --recursive --no-dereference "$work/rootfs" "$root" || return 1
    pinned="$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
    same "Rust of the Containerfile" "$pinned" "$(sed -n 's/^ARG RUST_VERSION=//p' Containerfile)" || return 1
    sed -n "/rust:$pinned-bookworm/d; /rust:.*-bookworm/p" .github/workflows/*.yml | nothing "another Rust in the workflows"
}

# What all checks begin with: if this cannot be read, there is nothing to check.
reference="$(jq -r '.manifests[0].annotations."org.opencontainers.image.ref.name"' "$image/index.json")"
tar="persistent-chat-failover.tar"
manifest="$(jq -r '.manifests[0].digest[7:]' "$image/index.json")"
cp "$image/blobs/sha256/$manifest" "$work/manifest.json"
cp "$image/blobs/sha256/$(jq -r '.config.digest[7:]' "$work/manifest.json")" "$work/config.json"
case "$(jq -r .architecture "$work/config.json")" in
amd64) triplet=x86_64-linux-gnu loader=/lib64/ld-linux-x86-64.so.2 ;;
arm64) triplet=aarch64-linux-gnu loader=/lib/ld-linux-aarch64.so.1 ;;
esac

part "image: unpacked by umoci" unpack
part "image: layout and tar read by skopeo" layout
part "image: configuration" configuration
part "image: what may be executed" executables
part "image: owners and rights" rights
part "image: libraries" libraries
part "image: programs run in it" programs
part "image: roots of trust" roots
part "image: size" size
part "image: bill of materials" bill_of_materials
part "image: built again" again
part "image: what the Containerfile copies" containerfile
parts_table

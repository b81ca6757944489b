#!/usr/bin/env bash
# `make dist`: what a release consists of, in target/dist, from the image in target/image and the chart. The programs are taken from the
# image: what is downloaded alone is what was tested there.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
image="$target/image"
out="$target/dist"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

blob() { # digest
    cat "$image/blobs/sha256/${1#sha256:}"
}
blob "$(cat "$image/digest")" >"$work/manifest.json"
blob "$(jq -r .config.digest "$work/manifest.json")" >"$work/config.json"
label() { # name
    jq -er --arg name "org.opencontainers.image.$1" '.config.Labels[$name]' "$work/config.json"
}
version="$(label version)"
source="$(label source)"
architecture="$(jq -r .architecture "$work/config.json")"
epoch="$(date -d "$(label created)" +%s)"
case "$(label revision)" in
*-dirty)
    echo "dist.sh: the image was made of sources that are not committed: commit, then make image" >&2
    exit 1
    ;;
esac

rm -rf "$out"
mkdir -p "$out"
cp "$image/persistent-chat-failover.tar" "$out/persistent-chat-failover-$version-$architecture.oci.tar"
cp "$image/sbom.spdx.json" "$image/packages.json" "$out/"
cp "$image/digest" "$out/image-digest.txt"

# As in the image: the same files give the same bytes.
packed() { # -C folder name… …
    tar --create --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u+rw,go=u-w "$@" | gzip -n9
}

blob "$(jq -r '.layers[-1].digest' "$work/manifest.json")" | tar -xz -C "$work"
for program in pcf-operator kubectl-pcf; do
    packed -C "$work/usr/bin" "$program" -C "$work/usr/share/doc/persistent-chat-failover" LICENSE THIRD-PARTY \
        >"$out/${program}_linux_$architecture.tar.gz"
done

# Helm packs with the time of day.
"$(scripts/helm.sh)" package charts/persistent-chat-failover --version "$version" --app-version "$version" --destination "$work" >/dev/null
mkdir "$work/chart"
tar --touch -xzf "$work/persistent-chat-failover-$version.tgz" -C "$work/chart"
packed -C "$work/chart" persistent-chat-failover >"$out/persistent-chat-failover-$version.tgz"

archive="kubectl-pcf_linux_$architecture.tar.gz"
cat >"$out/pcf.krew.yaml" <<YAML
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: pcf
spec:
  version: v$version
  homepage: $source
  shortDescription: Fails Persistent Chat over between data centres
  description: |
    Shows, plans and reports failovers of Lync Server 2013 and Skype for Business Server 2015 Persistent Chat that the operator
    persistent-chat-failover carries out.
  caveats: |
    Needs a Linux with glibc 2.36 or newer and OpenSSL 3.
  platforms:
    - selector:
        matchLabels: { os: linux, arch: $architecture }
      uri: $source/releases/download/v$version/$archive
      sha256: $(sha256sum <"$out/$archive" | cut -d' ' -f1)
      bin: kubectl-pcf
      files:
        - { from: kubectl-pcf, to: . }
        - { from: LICENSE, to: . }
        - { from: THIRD-PARTY, to: . }
YAML
(cd "$out" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
cat "$out/SHA256SUMS"

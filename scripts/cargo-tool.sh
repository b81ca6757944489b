#!/usr/bin/env bash
# cargo-tool.sh TOOL VERSION ARGUMENTS: runs a tool of cargo's in one pinned version, built once into the user's cache.
set -euo pipefail
tool="$1" version="$2"
shift 2
tools="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover/$tool-$version"
if [ ! -x "$tools/bin/$tool" ]; then
    echo "building $tool $version once" >&2
    # A target folder of its own: ours holds other features. It runs for seconds and takes minutes to optimise.
    CARGO_TARGET_DIR="$tools/target" CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --quiet --locked --root "$tools" "$tool@$version"
    rm -rf "$tools/target"
fi
exec "$tools/bin/$tool" "$@"

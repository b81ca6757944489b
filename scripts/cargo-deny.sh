#!/usr/bin/env bash
# Runs cargo-deny in one pinned version, built once into the user's cache.
set -euo pipefail
version=0.20.2
tools="${XDG_CACHE_HOME:-$HOME/.cache}/persistent-chat-failover/cargo-deny-$version"
if [ ! -x "$tools/bin/cargo-deny" ]; then
    echo "building cargo-deny $version once"
    # A target folder of its own: ours holds other features. It runs for seconds and takes minutes to optimise.
    CARGO_TARGET_DIR="$tools/target" CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --quiet --locked --root "$tools" "cargo-deny@$version"
    rm -rf "$tools/target"
fi
exec "$tools/bin/cargo-deny" "$@"

#!/usr/bin/env bash
# Runs cargo-deny in the version that this project is checked with.
exec "$(dirname "$0")/cargo-tool.sh" cargo-deny 0.20.2 "$@"

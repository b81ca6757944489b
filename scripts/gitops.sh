#!/usr/bin/env bash
# `make gitops`: the resource in the hands of GitOps tools, all of it: builds the tools once, and runs every test of them.
set -euo pipefail
cd "$(dirname "$0")/.."
export PCF_NIGHT=1
# Before the tests, so that their seconds are their own.
scripts/flux.sh
scripts/kstatus.sh
scripts/argocd.sh
scripts/helm4.sh
cargo test --locked -p simulation --test gitops -- --nocapture
cargo test --locked --test flux --test flux_hazards --test flux_taken_back --test argocd -- --nocapture
cargo test --locked --test helm_wish --test restored -- --nocapture

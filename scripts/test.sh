#!/usr/bin/env bash
# `make test`: the gate. Everything static, every test (of the crash matrices a sample), two planted defects. All parts run even
# if one has failed; the table at the end says what each took.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/parts.sh
source scripts/parts.sh
target="${CARGO_TARGET_DIR:-target}"

part "format" cargo fmt --all --check
part "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
part "bans, licences, sources" scripts/cargo-deny.sh --locked check bans licenses sources
part "chart" scripts/chart.sh check
part "build" cargo test --workspace --locked --no-run
part "planted defects have their place" "$target/debug/pcf-mutants" --fits
part_beside "planted defects, two of them" "$target/debug/pcf-mutants" --short
part "tests" scripts/tests.sh
parts_wait

status=0
parts_table || status=1
cat "$PCF_PARTS.summary" || status=1
exit $status

#!/usr/bin/env bash
# `make night`: everything. What `make test` does, with whole crash matrices; every crash point of the simulation and many seeds;
# every planted defect; the demo. All parts run even if one has failed; one table at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/parts.sh
source scripts/parts.sh
target="${CARGO_TARGET_DIR:-target}"
export PCF_NIGHT=1

part "format" cargo fmt --all --check
part "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
part "bans, licences, sources" scripts/cargo-deny.sh --locked check bans licenses sources
part "chart" scripts/chart.sh check
part "build" cargo test --workspace --locked --no-run
part "tests" scripts/tests.sh
part "simulation: build" cargo build --locked --release -p simulation
part "simulation: every crash point with every fate" "$target/release/pcf-soak" --exhaustive
part "simulation: everything that can befall a pool, at every second" "$target/release/pcf-soak" --interrupted
part "simulation: 20,000 seeds, each twice" "$target/release/pcf-soak" --twice --seeds 20000
part "simulation: 20,000 nights of a planned switch" "$target/release/pcf-soak" --planned --seeds 20000
part "simulation: 20,000 nights in which the lost side returns" "$target/release/pcf-soak" --returning --seeds 20000
part "simulation: 20,000 weeks" "$target/release/pcf-soak" --weeks --seeds 20000
part "planted defects, all of them" "$target/debug/pcf-mutants"
part "image, as it is shipped" make --no-print-directory image image-test
part "figures" make --no-print-directory bench
part "demo" make --no-print-directory demo

status=0
parts_table || status=1
cat "$PCF_PARTS.summary" || status=1
exit $status

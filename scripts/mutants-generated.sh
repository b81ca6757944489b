#!/usr/bin/env bash
# Mutants that nobody chose: cargo-mutants lists them, one build holds them all, each is woken alone in every test that comes past it.
# A sample; BASE=commit: those of what has changed since; ALL=1: all of them. A run that is stopped is gone on with.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"

mkdir -p "$target"
choice=()
if [ -n "${BASE:-}" ]; then
    git diff "$BASE" -- src >"$target/mutants.diff"
    choice+=(--in-diff "$target/mutants.diff")
fi
for files in 'src/domain/**' 'src/steps/**' 'src/engine/**' 'src/permit.rs' 'src/permit/**' 'src/procedures.rs' 'src/status/**' \
    'src/systems/sql_server/**' 'src/systems/management_shell/**'; do
    choice+=(--file "$files")
done
scripts/cargo-tool.sh cargo-mutants 26.2.0 mutants --list --json --no-config "${choice[@]}" >"$target/mutants.json"

every=40
if [ -n "${BASE:-}" ] || [ "${ALL:-}" = 1 ]; then every=1; fi
# Which sample moves from run to run (PCF_SAMPLE=n: the same again).
shift_by=$((${PCF_SAMPLE:-$(date +%s)} % every))
echo "one of every $every, from number $shift_by"
cargo build --locked --workspace --all-targets
cargo build --locked --release -p simulation --bins --tests
"$target/debug/pcf-mutants" --generated "$target/mutants.json" --every "$every" --shift "$shift_by"

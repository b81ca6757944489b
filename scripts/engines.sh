#!/usr/bin/env bash
# What Microsoft's own engines were driven with: PowerShell on both sides of the protocol, the T-SQL parser.
#
#   engines.sh             runs the tests that drive them, and prints the table
#   engines.sh table LOG   prints the table of a run of cargo's whose output is in LOG; $PCF_ENGINES_ROWS is what its tests wrote
#
# The engines are found by $PCF_ENGINES_RUN (a program, called as `$PCF_ENGINES_RUN pwsh …` and `… tsql …`); without it a pwsh of the PATH
# serves, and what could not be run is a line of the table. With PCF_ENGINES_REQUIRED=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

# Test program, engine, what is driven.
programs='client_on_powershell	PowerShell	our client: values, errors, stop, deadlines, floods, ends
cmdlets_on_powershell	PowerShell	every cmdlet of the operator, in every form
shell_on_powershell	PowerShell	the lab'"'"'s Management Shell: cmdlets, stop, detached jobs
failover_on_powershell	PowerShell	a whole failover, the operator killed in it
powershell_client	PowerShell'"'"'s client	the lab'"'"'s answers, read by it
parsed	T-SQL parser	every statement of the operator, for every version
driver	SqlClient	the lab'"'"'s SQL Server: checks of the driver, in each version
recorded	recordings	the lab'"'"'s SQL Server: answers of real servers, compared'

version() {
    local run=("${PCF_ENGINES_RUN:-}" pwsh)
    [ -n "${PCF_ENGINES_RUN:-}" ] || run=(pwsh)
    # shellcheck disable=SC2016
    "${run[@]}" -NoLogo -NoProfile -Command '$PSVersionTable.PSVersion.ToString()' 2>/dev/null || echo unknown
}

table() { # log
    local powershell=none status=0 program what
    # What the documentation says was driven is what was driven.
    while IFS=$'\t' read -r program _ what; do
        grep -qF "| $what |" docs/architecture.md && grep -qF "/$program.rs" docs/architecture.md ||
            { echo "docs/architecture.md does not have: $program, $what" >&2; status=1; }
    done <<<"$programs"
    if [ -n "${PCF_ENGINES_RUN:-}" ] || command -v pwsh >/dev/null; then powershell="$(version)"; fi
    printf '%-20s %-9s %-62s %7s %7s\n' engine version 'driven with' times failed
    awk -F '\t' -v rows="$PCF_ENGINES_ROWS" -v log_file="$1" -v powershell="$powershell" -v required="${PCF_ENGINES_REQUIRED:-}" '
        BEGIN {
            while ((getline line <rows) > 0) { split(line, of, "\t"); times[of[1]] += of[2]; if (of[3] != "") told[of[1]] = told[of[1]] "    " of[3] "\n" }
            while ((getline line <log_file) > 0) {
                if (line ~ /^ +Running /) { n = split(line, of, "/"); program = ""; if (match(line, /tests\/[a-z_]+\.rs/)) program = substr(line, RSTART + 6, RLENGTH - 9) }
                if (line ~ /^test result:/ && program != "") { split(line, of, " "); failed[program] += of[6]; ended[program] = 1; program = "" }
            }
        }
        {
            version = $2 ~ /^PowerShell/ ? powershell : "-"
            if (!ended[$1]) { printf "%-20s %-9s %-62s %7s\n", $2, version, $3, "its test program has not come to its end"; bad = 1 }
            else if (!times[$1] && !failed[$1]) {
                printf "%-20s %-9s %-62s %s\n", $2, version, $3, "not run: no engine (PCF_ENGINES_RUN is not set" ($2 ~ /^PowerShell/ ? ", no pwsh on the PATH)" : ")")
                if (required == "1") bad = 1
            }
            else { printf "%-20s %-9s %-62s %7d %7d\n%s", $2, version, $3, times[$1], failed[$1], told[$1]; if (failed[$1]) bad = 1 }
        }
        END { exit bad }' <<<"$programs" || status=1
    return $status
}

if [ "${1:-}" = table ]; then
    table "$2"
    exit
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PCF_ENGINES_ROWS="$work/rows"
: >"$PCF_ENGINES_ROWS"
tests=()
while IFS=$'\t' read -r program _; do tests+=(--test "$program"); done <<<"$programs"
status=0
cargo test --workspace --locked --no-fail-fast "${tests[@]}" 2>&1 | tee "$work/log" || status=1
table "$work/log" || status=1
exit $status

#!/usr/bin/env bash
# Measures the builds that a student runs first, and the build of the tests. Before each build, the target
# folder is empty, and cargo has already downloaded all crates. Prints the median of RUNS runs (default: 5). Usage:
#     tests/bench/first_build.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/../.."
run_count=${1:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo fetch --quiet
TIMEFORMAT='%R %U %S'

for command in 'build --bin step1-blocking' 'build -p step1-blocking' 'test --no-run'; do
    for ((run = 0; run < run_count; run++)); do
        rm -rf "$folder/target"
        # shellcheck disable=SC2086 # split the command into words
        { time CARGO_TARGET_DIR="$folder/target" cargo --quiet $command 2> "$folder/errors"; } 2>&1 ||
            { cat "$folder/errors" >&2; exit 1; }
    done | sort -n | awk -v command="$command" '
        { elapsed[NR] = $1; cpu[NR] = $2 + $3 }
        END {
            middle = int((NR + 1) / 2)
            printf "cargo %-28s %6.1f s elapsed, %5.1f s of CPU time\n", \
                command, elapsed[middle], cpu[middle]
        }'
done
for package in step1-blocking step3-select; do
    crate_count=$(cargo tree -p "$package" -e normal --prefix none --no-dedupe | sort -u | wc -l)
    echo "$package and its dependencies: $crate_count crates"
done

#!/usr/bin/env bash
# The time of a build from an empty target folder, crates already downloaded: the median of five,
# in seconds, for what a student builds first and for what the tests need. On a quiet machine:
#     tests/bench/first_build.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo fetch --quiet
TIMEFORMAT='%R %U %S'

for what in 'build --bin step1-blocking' 'build -p step1-blocking' 'test --no-run'; do
    for ((run = 0; run < runs; run++)); do
        rm -rf "$folder/target"
        # shellcheck disable=SC2086 # the words of the command
        { time CARGO_TARGET_DIR="$folder/target" cargo --quiet $what 2> "$folder/errors"; } 2>&1 ||
            { cat "$folder/errors" >&2; exit 1; }
    done | sort -n | awk -v what="$what" '
        { elapsed[NR] = $1; processor[NR] = $2 + $3 }
        END {
            middle = int((NR + 1) / 2)
            printf "cargo %-28s %6.1f s, %5.1f s of processor time\n", \
                what, elapsed[middle], processor[middle]
        }'
done
crates=$(cargo tree -p step1-blocking -e normal --prefix none --no-dedupe | sort -u | wc -l)
echo "crates in step1-blocking's tree: $crates"
crates=$(cargo tree -p step3-select -e normal --prefix none --no-dedupe | sort -u | wc -l)
echo "crates in step3-select's tree:   $crates"

#!/usr/bin/env bash
# How small the library is: crates in its default build, bytes of examples/05_hello without symbols, and the seconds
# that a clean build takes on two cores. Crates and bytes may not be over 10 % above benches/size.txt. The seconds are
# the machine's as much as ours: they are printed, and fail at four times the baseline, when something has gone wrong.
#
#   scripts/size.sh            compare
#   scripts/size.sh --renew    write benches/size.txt anew, for a change that is worth what it weighs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

baseline=benches/size.txt
clean=target/size

crates=$(cargo tree --locked -e normal --prefix none | sed 's/ (\*)$//' | sort -u | grep -vc '^tourbillon ')

cargo build --quiet --locked --release --example 05_hello
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
strip -o "$stripped" target/release/examples/05_hello
bytes=$(wc -c <"$stripped")

# All is fetched by now, or it would be the network that is timed.
rm -rf "$clean"
began=$EPOCHREALTIME
CARGO_TARGET_DIR=$clean cargo build --quiet --locked --release --lib --jobs 2
seconds=$(awk -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN { printf "%.1f", ended - began }')
rm -rf "$clean"

# Name, value, how far above the baseline in percent, and what we aim at.
measured="crates $crates 10 20
bytes $bytes 10 600000
seconds $seconds 300 15"

if [ "${1-}" = --renew ]; then
  {
    echo "# By scripts/size.sh --renew."
    awk '{ print $1, $2 }' <<<"$measured"
  } >"$baseline"
  cat "$baseline"
  exit 0
fi

awk -v baseline="$baseline" '
  FILENAME == baseline { if ($1 != "#") was[$1] = $2; next }
  FNR == 1 { printf "%-8s %10s %10s %9s %10s\n", "what", "measured", "baseline", "change", "aim" }
  {
    change = ($2 / was[$1] - 1) * 100
    note = change > $3 ? "  too much" : change < -10 && $3 == 10 ? "  better: renew the baseline" : ""
    failed = failed || change > $3
    aim = $2 > $4 ? "  above the aim" : ""
    printf "%-8s %10s %10s %+8.1f%% %10s%s%s\n", $1, $2, was[$1], change, $4, aim, note
  }
  END {
    if (failed) print "if that is right, and worth it: scripts/size.sh --renew"
    exit failed
  }' "$baseline" - <<<"$measured"

#!/usr/bin/env bash
# What tasks, callbacks and timers cost beside other runtimes (benches/peers): instructions, counted by valgrind's
# callgrind, and processor time, the least of several runs, both for one piece of work. A busy machine moves the second
# only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --quiet --manifest-path benches/peers/Cargo.toml
peers=${CARGO_TARGET_DIR:-benches/peers/target}/release/peers
# Two lengths of a run: their difference leaves out what is paid once.
few=20000 many=120000 timed=2000000

count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$peers" "$@" 2>&1 | sed -n 's/.*Collected : //p'
}

TIMEFORMAT='%U %S'
printf '%-18s %-16s %12s %8s\n' work by instructions ns
while read -r work by; do
  instructions=$((($(count "$work" "$by" $many) - $(count "$work" "$by" $few)) / (many - few)))
  for _ in 1 2 3 4 5; do
    { time "$peers" "$work" "$by" $timed; } 2>&1
  done |
    awk -v timed=$timed -v row="$(printf '%-18s %-16s %12d' "$work" "$by" "$instructions")" '
      { spent = $1 + $2; if (NR == 1 || spent < least) least = spent }
      END { printf "%s %8.1f\n", row, least / timed * 1e9 }'
done < <("$peers")

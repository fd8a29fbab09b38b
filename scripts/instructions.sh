#!/usr/bin/env bash
# How many instructions a request costs, counted by valgrind's callgrind while the library serves canned connections
# (benches/instructions). No system call is in it, and two runs give the same numbers. Fails when a case costs over 2 %
# more than benches/instructions.txt says.
#
#   scripts/instructions.sh            compare
#   scripts/instructions.sh --renew    write that file and the table in docs/performance.md anew, for a change that is
#                                      worth what it costs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

baseline=benches/instructions.txt
page=docs/performance.md
percent_max=2
# Two lengths of a run, in turns: their difference leaves out what is paid once. The second must have had time to pass
# as often as the first, see TURNS_A_SECOND in benches/instructions/main.rs.
short=250 long=1250
# libc chooses its memcpy and memchr by what the processor can, which moves a case by up to 1.5 %. It shall see what
# every x86-64 can.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-AVX_Fast_Unaligned_Load
GLIBC_TUNABLES+=,-SSE4_2,-SSE4_1,-SSSE3,-BMI2,-RTM,-ERMS,-FSRM

bench=$(cargo build --release --bench instructions --message-format=json |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')
made_with="rustc $(rustc -vV | sed -n 's/^release: //p') for $host"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# "REQUESTS INSTRUCTIONS" of a run.
count() {
  local requests
  requests=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$log" "$bench" "$1" "$2") || {
    cat "$log" >&2
    return 1
  }
  echo "$requests $(sed -n 's/.*Collected : //p' "$log")"
}

counted=
for name in $("$bench"); do
  read -r few_requests few <<<"$(count "$name" $short)"
  read -r many_requests many <<<"$(count "$name" $long)"
  requests=$((many_requests - few_requests))
  counted+="$name $(((many - few + requests / 2) / requests))"$'\n'
done

if [ "${1-}" = --renew ]; then
  {
    echo "# Instructions a request, by scripts/instructions.sh --renew, with $made_with"
    printf %s "$counted"
  } >"$baseline"
  while read -r name instructions; do
    # The number with commas, in the row of that name.
    instructions=$(sed ':more; s/\B[0-9]\{3\}\>/,&/; t more' <<<"$instructions")
    sed -i "s/^| \`$name\` | [0-9,]* |/| \`$name\` | $instructions |/" "$page"
  done < <(printf %s "$counted")
  cat "$baseline"
  exit 0
fi

counted_with=$(sed -n '1s/.*--renew, with //p' "$baseline")
case $counted_with in
  "$made_with") ;;
  *" for $host") echo "$baseline was counted with $counted_with; this is $made_with" ;;
  *)
    echo "$baseline was counted with $counted_with; nothing is held against $made_with"
    percent_max=1000000
    ;;
esac
printf '%s' "$counted" | awk -v max=$percent_max -v baseline="$baseline" '
  FILENAME == baseline { if ($1 != "#") was[$1] = $2; next }
  FNR == 1 { printf "%-16s %12s %10s %9s\n", "case", "instructions", "baseline", "change" }
  !($1 in was) { printf "%-16s %12d %10s  is not in the baseline\n", $1, $2, "-"; failed = 1; next }
  {
    change = ($2 / was[$1] - 1) * 100
    note = change > max ? "  too many" : change < -max ? "  better: renew the baseline" : ""
    failed = failed || change > max
    printf "%-16s %12d %10d %+8.1f%%%s\n", $1, $2, was[$1], change, note
    delete was[$1]
  }
  END {
    for (name in was) { print name " is in the baseline only"; failed = 1 }
    if (failed) print "if that is right, and worth it: scripts/instructions.sh --renew"
    exit failed
  }' "$baseline" -

#!/usr/bin/env bash
# Runs a command while the yardstick serves on a port of its own, whose number is in PORT. The exit code is the
# command's, or 1 when the yardstick did not start, did not live as long as the command, or did not end well.
#
#   scripts/with-yardstick.sh [yardstick's arguments …] -- COMMAND …
#
# The yardstick is $YARDSTICK, else the release build.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
yardstick=${YARDSTICK:-$root/target/release/examples/yardstick}

arguments=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  arguments+=("$1")
  shift
done
if [ $# -lt 2 ]; then
  echo "usage: $0 [yardstick's arguments …] -- COMMAND …" >&2
  exit 2
fi
shift

said=$(mktemp)
server=
finish() {
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
  rm -f "$said"
}
trap finish EXIT

"$yardstick" --port 0 "${arguments[@]}" >"$said" </dev/null &
server=$!
PORT=
for _ in $(seq 100); do
  PORT=$(sed -n 's/^listening on 127\.0\.0\.1://p' "$said")
  [ -z "$PORT" ] && kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
if [ -z "$PORT" ]; then
  echo "the yardstick does not say where it listens" >&2
  exit 1
fi
export PORT

status=0
"$@" || status=$?

if ! kill -TERM "$server" 2>/dev/null; then
  echo "the yardstick ended before it was told to" >&2
  exit 1
fi
# A graceful end takes no longer than its deadline of 10 s.
ended=0
wait "$server" || ended=$?
server=
if [ "$ended" -ne 0 ]; then
  echo "the yardstick ended with $ended" >&2
  exit 1
fi
sed -n 's/^stopped: /the yardstick stopped: /p' "$said"
exit "$status"

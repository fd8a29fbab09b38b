#!/usr/bin/env bash
# Autobahn against the yardstick's echo, which compresses, and against our client, as `wsload reflect`: the whole of RFC
# 6455 and of RFC 7692.
#
#   scripts/autobahn.sh              every case
#   scripts/autobahn.sh --quick      without the messages of more than 1 MiB, and with fewer of compression's cases; see
#                                    tests/autobahn/README.md
#
# The programs are $YARDSTICK and $WSLOAD, else the release builds with the feature `deflate` in target/compressing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
autobahn=$root/tests/autobahn/autobahn.sh
built=$root/target/compressing/release/examples
export YARDSTICK=${YARDSTICK:-$built/yardstick} WSLOAD=${WSLOAD:-$built/wsload}
"$root/scripts/with-yardstick.sh" --ws-limit 16777216 -- bash -c \
  '"$0" "ws://127.0.0.1:$PORT/ws/deflate" "$@"' "$autobahn" --out "$root/target/autobahn/server" "$@"
"$autobahn" --client "$WSLOAD reflect {url}" --out "$root/target/autobahn/client" "$@"

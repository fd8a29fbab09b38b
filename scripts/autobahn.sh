#!/usr/bin/env bash
# Autobahn's sections 1 to 10 against the yardstick's echo: the whole of RFC 6455.
#
#   scripts/autobahn.sh              every case
#   scripts/autobahn.sh --quick      without the messages of more than 1 MiB; see tests/autobahn/README.md
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec "$root/scripts/with-yardstick.sh" --ws-limit 16777216 -- bash -c \
  '"$0" "ws://127.0.0.1:$PORT/ws/echo" --exclude "12.*,13.*" "$@"' "$root/tests/autobahn/autobahn.sh" "$@"

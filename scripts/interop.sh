#!/usr/bin/env bash
# Clients that others wrote, one after another, each against a yardstick of its own; then our client against servers that
# others wrote.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root/tests/interop"
export PYTHONDONTWRITEBYTECODE=1
python=$root/target/venv/bin/python

# Of the yardstick's own arguments, those in OPTIONS.
against_yardstick() {
  echo "-- $*"
  # shellcheck disable=SC2086
  "$root/scripts/with-yardstick.sh" ${OPTIONS-} -- "$@"
}

against_yardstick bash curl.sh
against_yardstick "$python" websockets_client.py
against_yardstick "$python" aiohttp_client.py
# Node 20 has a WebSocket of its own only when asked; from 22 on it is there anyway.
against_yardstick node --no-warnings --experimental-websocket node.mjs
# Against a build that compresses, and that has something for Prometheus' own parser.
(
  export YARDSTICK=$root/target/compressing/release/examples/yardstick
  against_yardstick "$python" compressing.py
  against_yardstick node --no-warnings compressing.mjs
  OPTIONS=--metrics against_yardstick "$python" prometheus.py
)
echo "-- our client"
"$python" fetch.py
"$python" websocket_servers.py

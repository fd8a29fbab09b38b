#!/usr/bin/env bash
# The Autobahn test suite against a WebSocket echo server, text back as text, bytes back as bytes; or against a client
# that sends back what it gets from {url}, and is run once for each case.
#
#   autobahn.sh ws://127.0.0.1:PORT/PATH [--quick] [--cases '1.*,6.*'] [--exclude '12.*,13.*'] [--out DIR]
#   autobahn.sh --client 'COMMAND {url}' [the same options]
#
# --quick leaves out the cases of section 9 that are larger than 1 MiB, and most of 12 and 13.
# Exit code 0 when no case failed; not implemented is failed, unless --allow-unimplemented is given.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work="$here/../../target/autobahn"
venv="$work/venv"
if [ ! -e "$venv/ok" ]; then
  rm -rf "$venv"
  mkdir -p "$work"
  python3 -m venv "$venv"
  "$venv/bin/pip" -q --disable-pip-version-check install -r "$here/requirements.txt"
  touch "$venv/ok"
fi
"$venv/bin/python" "$here/wstest3.py" build
exec "$venv/bin/python" "$here/autobahn.py" "$@"

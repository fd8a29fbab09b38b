#!/bin/sh
# Bugs planted on purpose: the simulator must find each of them.
#
# Each tests/planted/NAME.patch is applied to a copy of the tree, the simulator's tests are run there, and have to fail
# with a seed. Fails if a patch no longer applies, if the copy does not compile, or if a bug is not caught.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
target=$root/target/planted
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
status=0
git ls-files -z | xargs -0 tar -cf - | tar -xf - -C "$copy"
cd "$copy"
# Never the surrounding repository, should the temporary folder lie in one.
export GIT_CEILING_DIRECTORIES="$copy/.."
export CARGO_TARGET_DIR="$target"
log=$target/planted.log
mkdir -p "$target"
for patch in "$root"/tests/planted/*.patch; do
    name=$(basename "$patch" .patch)
    if ! git apply -C1 "$patch"; then
        echo "planted $name: the patch no longer applies"
        status=1
        continue
    fi
    if ! cargo test --quiet --features sim --test sim --no-run >"$log" 2>&1; then
        cat "$log"
        echo "planted $name: does not compile"
        status=1
    elif cargo test --quiet --features sim --test sim seeds_from_0 >"$log" 2>&1; then
        echo "planted $name: NOT CAUGHT"
        status=1
    else
        verdict=$(grep -m1 -E '^SEED=[0-9]+: ' "$log" | cut -c1-160) || verdict=
        if [ -n "$verdict" ]; then
            echo "planted $name: caught. $verdict"
        else
            cat "$log"
            echo "planted $name: failed, but without a seed"
            status=1
        fi
    fi
    git apply -R -C1 "$patch"
done
exit $status

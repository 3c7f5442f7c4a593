#!/bin/sh
# Builds the filter as it is shipped: filter.sh OUT
#
# With wasm-opt, so that everybody gets the same file.
set -eu
out=$1
cd "$(dirname "$0")/../.."
command -v wasm-opt >/dev/null || {
    echo "wasm-opt is missing: install binaryen" >&2
    exit 1
}
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
said=$(cargo --locked wasm)
echo "$said"
# It says where the file is, and how large.
cp "${said% * bytes}" "$out"

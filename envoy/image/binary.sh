#!/bin/sh
# Builds the controller as one static file: binary.sh OUT [PROFILE]
#
# With musl, whose resolver is in the file: glibc's would look for libraries of its own version when the first name is
# looked up. Needs rustup and a C compiler; ring's C code calls no library, so that any will do.
set -eu
out=$1
profile=${2:-release}
cd "$(dirname "$0")/../.."
target=$(uname -m)-unknown-linux-musl
[ -d "$(rustc --print target-libdir --target "$target")" ] || rustup target add "$target"
variable=CC_$(printf %s "$target" | tr - _)
export "$variable=$(command -v musl-gcc || command -v cc)"
# Flags of the environment would replace those of .cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
cargo build --locked --package controller --bin hookgate --target "$target" --profile "$profile"
dir=$profile
[ "$profile" != dev ] || dir=debug
cp "${CARGO_TARGET_DIR:-target}/$target/$dir/hookgate" "$out"

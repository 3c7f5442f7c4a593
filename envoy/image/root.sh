#!/bin/sh
# Lays out what is in the image, and nothing else: root.sh BINARY FILTER CERTIFICATES OUT
#
# No shell, no package manager, no library. Every time stamp is SOURCE_DATE_EPOCH, so that equal files make equal layers.
set -eu
binary=$1 filter=$2 certificates=$3 out=$4
: "${SOURCE_DATE_EPOCH:?set it to the seconds of the commit: git log -1 --format=%ct}"
here=$(dirname "$0")
umask 022
mkdir "$out"
mkdir -p "$out/etc/ssl/certs" "$out/licenses" "$out/spool" "$out/tmp" "$out/usr/local/bin"
install -m 0755 "$binary" "$out/usr/local/bin/hookgate"
# The controller looks for it beside itself.
install -m 0644 "$filter" "$out/usr/local/bin/filter.wasm"
install -m 0644 "$certificates" "$out/etc/ssl/certs/ca-certificates.crt"
install -m 0644 "$here/../../LICENSE" "$out/licenses/LICENSE"
echo 'nobody:x:65534:65534:nobody:/:/none' >"$out/etc/passwd"
echo 'nogroup:x:65534:' >"$out/etc/group"
chmod 1777 "$out/tmp"
# The user of the Pod writes here where no volume is mounted.
chmod 1777 "$out/spool"
find "$out" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

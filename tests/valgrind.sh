#!/bin/sh
# valgrind.sh - one small conversion under valgrind: no bad read or write, no uninitialised value used, nothing leaked.
#
#   valgrind.sh BUILD/rvc        from the project root; reports as a cmocka program does, for tests/run
#
# The networks are those of tests/small: real structure, a few channels, so the whole way takes seconds even here.
set -u
rvc=$1
tmp=${RVC_TEST_TMP:-build/tmp}/valgrind
name=convert_under_valgrind
skip() { echo "skipped: $1"; echo "[  SKIPPED ] $name"; exit 0; }
fail() { echo "$1"; echo "[  FAILED  ] $name"; exit 1; }

echo "[ RUN      ] $name"
command -v valgrind >/dev/null 2>&1 || skip "valgrind is not installed"
rm -rf "$tmp"
mkdir -p "$tmp" || fail "cannot make $tmp"
for manifest in tests/small/*.tsv; do
    "$rvc" synthesize "$manifest" -o "$tmp/$(basename "$manifest" .tsv).npz" || fail "cannot synthesize $manifest"
done
valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect \
    --errors-for-leak-kinds=definite,indirect \
    "$rvc" convert --threads 2 --hubert "$tmp/hubert.npz" --rmvpe "$tmp/rmvpe.npz" -m "$tmp/voice_v2_40k.npz" \
    samples/short.wav -o "$tmp/out.wav" --timing || fail "valgrind: exit status $?"
[ -s "$tmp/out.wav" ] || fail "nothing was written"
echo "[       OK ] $name"

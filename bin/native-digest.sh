#!/bin/sh
# One number for everything the addon is made of: `bin/native-digest.sh`. bin/build-native.sh leaves it beside the addon, and
# src/native/index.ts, which makes the same, refuses an addon that was built from anything else.
set -eu
cd "$(dirname "$0")/.."
{
  echo binding.gyp
  find native -path native/fuzz -prune -o -type f -print
} | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c 1-64

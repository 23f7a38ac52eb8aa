#!/bin/sh
# Runs test/native against the addon built with AddressSanitizer and UndefinedBehaviorSanitizer: `bin/test-native.sh [vitest arguments]`.
set -eu
cd "$(dirname "$0")/.."
RINGWAY_ADDON=$PWD/build-asan/build/Release/ringway.node
if [ ! -f "$RINGWAY_ADDON" ]; then sh bin/build-native.sh asan; fi
# Node itself is not instrumented: the runtime comes first by preload. V8 keeps memory until exit on purpose, so leaks are
# not looked for here; native/ tests count their live objects instead.
asan=$(g++ -print-file-name=libasan.so)
ubsan=$(g++ -print-file-name=libubsan.so)
ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:handle_segv=0:${ASAN_OPTIONS:-}
UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:${UBSAN_OPTIONS:-}
export RINGWAY_ADDON ASAN_OPTIONS UBSAN_OPTIONS
sh bin/node -e 0 || exit 1
LD_PRELOAD="$asan $ubsan" exec sh bin/node node_modules/vitest/vitest.mjs run --configLoader native --config vitest.native.config.ts "$@"

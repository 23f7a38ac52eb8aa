#!/bin/sh
# Builds the addon against the headers of the pinned Node: `bin/build-native.sh [release|asan]`.
# release -> build/Release, asan (AddressSanitizer and UndefinedBehaviorSanitizer) -> build-asan/build/Release.
# A second build of a kind in one checkout waits for the first: node-gyp fails where another makes and removes files below it.
# Beside the addon, ringway.built says what it was built from and for which Node: src/native/index.ts compares.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-release}
defines=
headers=$(dirname "$(dirname "$(sh bin/node -p process.execPath)")")
if [ ! -f "$headers/include/node/node_api.h" ]; then
  echo "build-native: no headers in $headers; run 'npm run setup'" >&2
  exit 1
fi
case $kind in
  release)
    directory=. ;;
  asan)
    # node-gyp always writes to <directory>/build, so a second flavour is built from a directory of links.
    directory=build-asan
    mkdir -p "$directory"
    for name in binding.gyp native package.json node_modules; do ln -sfn "../$name" "$directory/$name"; done
    flags='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g'
    defines='-- -Dlink_time=0'
    export CXXFLAGS="$flags" CFLAGS="$flags" LDFLAGS='-fsanitize=address,undefined' ;;
  *)
    echo "build-native: expected release or asan but received $kind" >&2
    exit 2 ;;
esac
. bin/lock.sh
lock "build-$kind" "build of the addon ($kind)"
built="$(sh bin/native-digest.sh) $(sh bin/node --version)" # before the build: sources may change meanwhile
if [ "$waited" = yes ] && [ "$(cat "$directory/build/Release/ringway.built" 2>/dev/null)" = "$built" ]; then exit 0; fi
gyp="sh bin/node node_modules/node-gyp/bin/node-gyp.js --directory $directory --nodedir $headers --release --loglevel warn"
# configure rewrites the makefiles when sources come and go; make then rebuilds only what changed
$gyp configure $defines
$gyp build --jobs "${RINGWAY_BUILD_JOBS:-2}"
echo "$built" >"$directory/build/Release/ringway.built.new"
mv "$directory/build/Release/ringway.built.new" "$directory/build/Release/ringway.built"

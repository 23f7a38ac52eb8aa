#!/bin/sh
# Puts in place what Ringway needs on this machine, and says so: `bin/setup.sh [start|test]`. The second time it only looks, without
# starting Node: at a digest of what setting up depends on, and at files that have to be there (or, with a `!`, must not).
set -eu
cd "$(dirname "$0")/.."
purpose=${1:-start}
ready=.cache/ready-$purpose

inputs() {
  { cat package.json package-lock.json bin/setup.sh bin/setup.mjs bin/build-native.sh bin/lock.sh && sh bin/native-digest.sh; } | sha256sum
}

is_ready() {
  [ -f "$ready" ] || return 1
  {
    read -r was && [ "$was" = "$(inputs)" ] || return 1
    while read -r path; do
      case $path in
        !*) [ ! -e "${path#!}" ] || return 1 ;;
        *) [ -e "$path" ] || return 1 ;;
      esac
    done
  } <"$ready"
}

# The engine's compiled code (src/keeper/compiled.ts). Without it everything works, and takes more memory.
is_compiled() {
  [ -f .cache/engine/stamp ] && [ -z "$(find src workers package-lock.json -newer .cache/engine/stamp -print -quit)" ]
}
compile() {
  is_compiled || sh bin/node --disable-warning=ExperimentalWarning src/cli/precompile.ts
}

if is_ready && { is_compiled || [ ! -w .cache ]; }; then exit 0; fi # somebody else's checkout is theirs to compile
if ! command -v node >/dev/null 2>&1; then
  echo 'ringway: Node (18 or newer) and npm are needed first; on Debian and Ubuntu: apt-get install nodejs npm' >&2
  exit 1
fi
. bin/lock.sh
lock setup set-up
if ! is_ready; then
  node bin/setup.mjs "$purpose" "$ready.paths"
  { inputs && cat "$ready.paths"; } >"$ready"
  rm "$ready.paths"
fi
compile || echo 'ringway: the engine was not compiled ahead: it takes more memory, and works' >&2

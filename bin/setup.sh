#!/bin/sh
# Puts in place what Ringway needs on this machine, and says so: `bin/setup.sh [start|test]`. The second time it only looks.
set -eu
cd "$(dirname "$0")/.."
if ! command -v node >/dev/null 2>&1; then
  echo 'ringway: Node (18 or newer) and npm are needed first; on Debian and Ubuntu: apt-get install nodejs npm' >&2
  exit 1
fi
exec node bin/setup.mjs "${1:-start}"

#!/bin/bash
# Makes the peers and their certificates in DIR (default: .cache/peers of the repository) unless they are there already.
# Minutes the first time, a moment afterwards. Needs root for apt the first time.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
D=${1:-$HERE/../../.cache/peers}
mkdir -p "$D"; D=$(cd "$D" && pwd)
exec 9>"$D/lock"; flock 9
[ -x "$D/nss/nss_client" ] && [ -x "$D/nss/nss_server" ] || bash "$HERE/nss.sh" "$D/nss"
[ -x "$D/wolfssl/w/examples/client/client" ] && [ -x "$D/wolfssl/w/examples/server/server" ] || bash "$HERE/wolfssl.sh" "$D/wolfssl"
[ -e "$D/certificates/done" ] || { mkdir -p "$D/certificates"; bash "$HERE/mkdb.sh" "$D/certificates"; touch "$D/certificates/done"; }

# Read by scripts that may run once at a time in a checkout: `. bin/lock.sh`, then `lock NAME WHAT`, which waits for whoever has it, and says so.
# The kernel lets go of it when its last holder ends, however it ends: there is no lock that somebody left behind. `waited` is `yes` afterwards
# where another was waited for, and may have done the work.
waited=no
lock() {
  mkdir -p .cache
  exec 9>>".cache/$1.lock"
  command -v flock >/dev/null 2>&1 || return 0 # of util-linux, which set-up installs
  if flock -n 9; then return 0; fi
  waited=yes
  echo "ringway: another $2 is under way in this checkout: waiting for it" >&2
  flock 9 || true # a file system that knows no locks
}

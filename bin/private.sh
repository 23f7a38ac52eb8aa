#!/bin/sh
# Runs a command in mount and PID namespaces of its own, with an empty /run, and without root in a user and network namespace too:
# `bin/private.sh COMMAND...`. What the command makes with `ip netns add`, and every process it leaves, goes when it ends,
# also when it is killed. Prints what to do where the machine forbids it.
set -eu
PATH="$PATH:/usr/sbin:/sbin" # sysctl and others live there, where Debian's ordinary users do not look
export PATH
inner='mount -t tmpfs tmpfs /run && mkdir /run/netns || exit 1; "$@"'
flags='--mount --pid --fork --kill-child --mount-proc'
if [ "$(id -u)" != 0 ]; then flags="--user --map-root-user --net $flags"; fi
if refusal=$(unshare $flags sh -c "$inner" sh true 2>&1); then exec unshare $flags sh -c "$inner" sh "$@"; fi
refusal=$(printf '%s\n' "$refusal" | head -n 1)

setting_is() { [ "$(cat "/proc/sys/$1" 2>/dev/null)" = "$2" ]; }

# two lines: what is refused, and what to do (`ringway doctor` reads them)
if [ "$(id -u)" = 0 ]; then
  echo "private: this machine refuses namespaces even to root ($refusal)" >&2
  advice='in a container, start it with --privileged; in a chroot, make its folder a mount point (mount --bind DIR DIR)'
else
  echo "private: this machine refuses namespaces to ordinary users ($refusal)" >&2
  advice='run it as root'
  # of Ubuntu since 23.10: a user namespace may be made, but gives no rights in it
  if setting_is kernel/apparmor_restrict_unprivileged_userns 1; then
    advice='sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run it with sudo'
  elif setting_is kernel/unprivileged_userns_clone 0; then
    advice='sudo sysctl kernel.unprivileged_userns_clone=1, or run it with sudo'
  elif setting_is user/max_user_namespaces 0; then
    advice='sudo sysctl user.max_user_namespaces=1000, or run it with sudo'
  fi
fi
echo "private: $advice" >&2
exit 1

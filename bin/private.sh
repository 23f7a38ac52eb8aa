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
if [ "$(id -u)" = 0 ]; then
  echo "private: this machine refuses namespaces even to root ($refusal)" >&2
  echo 'private: in a container, start it with --privileged; in a chroot, make its folder a mount point (mount --bind DIR DIR)' >&2
else
  echo "private: this machine refuses namespaces to ordinary users ($refusal)" >&2
  echo 'private: run the same command as root, or on Ubuntu: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0' >&2
fi
exit 1

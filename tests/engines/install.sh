#!/bin/sh
# Installs the real engines from the distribution (Debian, Ubuntu), as root, and runs their tests: none may skip.
set -eu
cd "$(dirname "$0")/../.."
# runc, since crun refuses a host with both versions of control groups.
packages="bubblewrap podman runc python3 btrfs-progs"
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
missing=""
for package in $packages; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
if [ -n "$missing" ]; then
  $as_root apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qq -y --no-install-recommends $missing
fi
WEFT_ENGINES=1 exec "${PYTEST:-.venv/bin/pytest}" -q tests/engines "$@"

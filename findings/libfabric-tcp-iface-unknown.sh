#!/usr/bin/env bash
# FI_TCP_IFACE with the name of an interface that does not exist means all interfaces
#
# Software: libfabric 2.1.0 (Debian 13: libfabric1 and libfabric-bin 2.1.0-1.1), provider tcp
# Expected: fi_tcp(7): the variable requests a specific interface. Where none has that name nothing can be
#           used, as with FI_PROVIDER, where an unknown name ends in "No data available"; or there is at least
#           a warning.
# Happens:  The variable is ignored without a word: all interfaces that are there are offered, as if it were
#           unset.
# Matters:  Where interfaces are named differently from node to node, or were renamed (eth1, ens6), traffic
#           moves to another network in silence; a misspelt "lo" may open ports to the outside.
# Seen:     fi_info in a network namespace with lo and one veth: the variable unset, naming either, and naming
#           one that is not there.

# --- packages: the same in every finding; findings/check compares ---
# debian NAME SUITE PACKAGE... [-- PACKAGE...]: a root file system $work/NAME of these packages and what they
# depend on, and of those after -- alone. inside NAME COMMAND: a shell there, with its own processes, host name,
# loopback and /dev/shm. expect STATUS WORD NAME COMMAND: the same; if the exit status is another, WORD changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
not_run() { echo "NOT RUN: $*"; exit 2; }
changed() { echo "CHANGED: $*"; exit 1; }
debian() {
  local root=$work/$1 cache=${FINDINGS_CACHE:-$work/cache}/$2 wanted=() alone=() missing=() apt name
  mkdir -p "$cache"/{archives,lists}/partial "$cache"/preferences.d
  mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},tmp,proc,sys,dev,etc}
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
  apt=(apt-get -qq -y --no-install-recommends -o Dir::Etc="$cache" -o Dir::State="$cache"
    -o Dir::Cache="$cache" -o Dir::State::status="$cache/status" -o APT::Sandbox::User=root
    -o Acquire::Languages=none)
  if [ ! -f "$cache/sources.list" ]; then
    : >"$cache/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
      "${FINDINGS_MIRROR:-http://deb.debian.org/debian}" "$2" >"$cache/sources.list"
    "${apt[@]}" update || not_run "no package lists"
  fi
  shift 2
  while [ $# -gt 0 ] && [ "$1" != -- ]; do wanted+=("$1") && shift; done
  [ $# -eq 0 ] || alone=("${@:2}")
  "${apt[@]}" --print-uris -o Dir::Cache::archives="$work" install "${wanted[@]}" >"$root.uris" ||
    not_run "packages are gone"
  [ ${#alone[@]} -eq 0 ] || (cd "$work" && "${apt[@]}" --print-uris download "${alone[@]}") >>"$root.uris" ||
    not_run "packages are gone"
  sed -i -E "/ (libllvm|libamd|libhsa|libz3)/d" "$root.uris" # only for GPUs of one maker
  for name in $(awk '{ print $2 }' "$root.uris"); do
    [ -f "$cache/archives/$name" ] || missing+=("$(sed 's/_[^_]*$//; s/_/=/; s/%3a/:/' <<<"$name")")
  done
  [ ${#missing[@]} -eq 0 ] || (cd "$cache/archives" && "${apt[@]}" download "${missing[@]}") ||
    not_run "packages are gone"
  for name in $(awk '{ print $2 }' "$root.uris"); do dpkg -x "$cache/archives/$name" "$root"; done
  [ -e "$root/bin/sh" ] || ln -s busybox "$root/bin/sh"
}
inside() {
  local user=()
  [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
  # shellcheck disable=SC2016
  timeout -k 5 120 unshare "${user[@]}" --mount --pid --fork --kill-child --net --ipc --uts bash -c '
    mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && mount -t tmpfs tmpfs "$0/dev"
    mkdir -m 1777 "$0/dev/shm"
    for i in null zero random urandom; do touch "$0/dev/$i" && mount --bind "/dev/$i" "$0/dev/$i"; done
    export PATH=/usr/bin:/usr/sbin:/bin HOME=/tmp LANG=C
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    exec chroot "$0" /bin/busybox sh -c "busybox ip link set lo up; cd /tmp; $1"' "$work/$1" "$2"
}
expect() {
  local status=0
  inside "$3" "$4" || status=$?
  case $status in
    "$1") ;;
    2 | 12[4-7] | 137 | 143) not_run "the program does not get that far" ;;
    *) changed "$2" ;;
  esac
}
# --- end of packages ---

debian root trixie libfabric-bin=2.1.0-1.1 busybox-static
cat >"$work/root/tmp/look" <<'EOF'
busybox ip link add v0 type veth
busybox ip addr add 192.0.2.1/24 dev v0
for i in v0 veth0; do busybox ip link set $i up; done
for interface in "" lo v0 nosuch0; do
  [ -z "$interface" ] || export FI_TCP_IFACE=$interface
  found=$(fi_info -p tcp -t FI_EP_MSG 2>&1 | busybox awk '$1 == "domain:" { print $2 } /fi_getinfo/')
  echo "$interface:" $(for name in $found; do [ "$name" = veth0 ] || echo "$name"; done | busybox sort -u)
done
EOF
inside root 'fi_info --version | busybox grep libfabric:; sh ./look' | tee "$work/output"
[ "$(grep -cxE ': lo v0|lo: lo|v0: v0' "$work/output")" = 3 ] || not_run "the interfaces are not seen"
grep -qx 'nosuch0: lo v0' "$work/output" || changed "an unknown interface is no longer ignored"
echo "as stated"

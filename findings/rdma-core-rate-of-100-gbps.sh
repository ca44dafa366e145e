#!/usr/bin/env bash
# mbps_to_ibv_rate(100000) is not IBV_RATE_100_GBPS but "no limit"; so for 25, 50, 200 and 400 Gbit/s
#
# Software: rdma-core 56.1 (Debian 13: libibverbs1 56.1-1)
# Expected: mbps_to_ibv_rate(3): converts Mbit/s to the enumeration, with 5000 and IBV_RATE_5_GBPS as the
#           example. 100,000 is IBV_RATE_100_GBPS then, and a value between two rates the next one, or an
#           error.
# Happens:  Only the exact signalling rates are known: IBV_RATE_100_GBPS is 103,125 Mbit/s. Any other value,
#           100,000 too, is IBV_RATE_MAX, which is 0 and means the port's full speed. ibv_rate_to_mult() of
#           IBV_RATE_100_GBPS is -1.
# Matters:  static_rate of an address handle or a queue pair made from a link's nominal speed limits nothing,
#           without an error.
# Seen:     The functions called with nominal and exact rates; no device is needed.

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

debian root trixie libibverbs-dev=56.1-1 libc6-dev tcc busybox-static
cat >"$work/root/tmp/rate.c" <<'EOF'
#include <infiniband/verbs.h>
#include <stdio.h>

int main(void) {
  const int rates[] = {5000, 25000, 50000, 100000, 200000, 400000, 103125};
  int unlimited = 0;
  for (int i = 0; i < 7; ++i) {
    enum ibv_rate rate = mbps_to_ibv_rate(rates[i]);
    printf("mbps_to_ibv_rate(%d): %s\n", rates[i],
           rate == IBV_RATE_MAX        ? "IBV_RATE_MAX"
           : rate == IBV_RATE_5_GBPS   ? "IBV_RATE_5_GBPS"
           : rate == IBV_RATE_100_GBPS ? "IBV_RATE_100_GBPS"
                                       : "another");
    unlimited += rate == IBV_RATE_MAX;
  }
  printf("ibv_rate_to_mbps(IBV_RATE_100_GBPS): %d\nibv_rate_to_mult(IBV_RATE_100_GBPS): %d\n",
         ibv_rate_to_mbps(IBV_RATE_100_GBPS), ibv_rate_to_mult(IBV_RATE_100_GBPS));
  return unlimited == 5 && mbps_to_ibv_rate(103125) == IBV_RATE_100_GBPS ? 0 : 1;
}
EOF
inside root 'tcc -o rate rate.c -libverbs' || not_run "does not compile"
inside root 'busybox grep Version /usr/lib/x86_64-linux-gnu/pkgconfig/libibverbs.pc'
expect 0 "what is converted" root ./rate
echo "as stated"

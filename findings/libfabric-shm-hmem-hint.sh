#!/usr/bin/env bash
# Asking shm for FI_HMEM sets its inject size from 4096 bytes to 0, on a machine without any GPU
#
# Software: libfabric 2.1.0 (Debian 13: libfabric1 2.1.0-1.1), provider shm
# Expected: fi_getinfo(3): FI_HMEM asks that transfers to and from device memory be supported. Where there is
#           no device the capability costs nothing, or is not offered, as tcp;ofi_rxm does not; fi_shm(7) says
#           nothing else.
# Happens:  With FI_HMEM in the hints the only answer has inject_size 0. Without it there are two, of which
#           the first has 4096 bytes.
# Matters:  A program that asks for FI_HMEM in case there is a GPU (as Open MPI's mtl/ofi does by default) can
#           inject nothing on machines without one, and each short message needs a completion.
# Seen:     fi_getinfo with and without FI_HMEM, in an environment without device files; the answers are
#           printed.

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

debian root trixie libfabric-dev=2.1.0-1.1 libc6-dev tcc busybox-static
cat >"$work/root/tmp/hmem.c" <<'EOF'
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>
#include <stdio.h>
#include <string.h>

static size_t ask(const char *provider,
                  int hmem) { /* the inject size of the first answer, 9999 if there is none */
  struct fi_info *hints = fi_allocinfo(), *info = NULL;
  hints->caps = FI_TAGGED | (hmem ? FI_HMEM : 0);
  hints->mode = FI_CONTEXT;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->mr_mode =
      FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | (hmem ? FI_MR_HMEM : 0);
  hints->fabric_attr->prov_name = strdup(provider);
  int result = fi_getinfo(FI_VERSION(1, 15), NULL, NULL, 0, hints, &info);
  printf("%s, %s FI_HMEM: %s", provider, hmem ? "with" : "without",
         result == 0 ? "inject sizes" : fi_strerror(-result));
  for (struct fi_info *i = info; i != NULL; i = i->next) printf(" %zu", i->tx_attr->inject_size);
  printf("\n");
  return result == 0 ? info->tx_attr->inject_size : 9999;
}

int main(void) {
  ask("tcp;ofi_rxm", 0);
  ask("tcp;ofi_rxm", 1);
  return ask("shm", 0) > 0 && ask("shm", 1) == 0 ? 0 : 1;
}
EOF
inside root 'tcc -o hmem hmem.c -lfabric' || not_run "does not compile"
inside root 'busybox grep Version /usr/lib/x86_64-linux-gnu/pkgconfig/libfabric.pc'
expect 0 "the inject size with FI_HMEM" root 'FI_TCP_IFACE=lo busybox timeout 20 ./hmem'
echo "as stated"

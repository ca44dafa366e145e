#!/usr/bin/env bash
# The second MPI_Start of a persistent buffered send transmits another message, over pml/cm
#
# Software: Open MPI 5.0.7 (Debian 13: openmpi-bin 5.0.7-1), pml/cm with mtl/ofi over tcp;ofi_rxm; ob1 for
#           comparison
# Expected: MPI 4.1, 3.9: each MPI_Start of a request of MPI_Bsend_init begins a send of what the buffer holds
#           then, like MPI_Bsend.
# Happens:  The first start is right. The second sends neither the new value nor as many bytes. ob1 is right.
# Matters:  Programs with persistent buffered sends compute with wrong data over any MTL, or end in
#           MPI_ERR_TRUNCATE far from the cause (open-mpi/ompi issue 12797).
# Seen:     An int sent by four starts with the values 1 to 4; the receiver takes each with room for much
#           more, and prints how many bytes came and the value.

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

debian root trixie openmpi-bin=5.0.7-1 libc6-dev tcc busybox-static -- libopenmpi-dev=5.0.7-1
cat >"$work/root/tmp/bsend.c" <<'EOF'
#include <mpi.h>
#include <stdio.h>

int main(int count, char **arguments) {
  static char buffer[1 << 16], room[1 << 16];
  int rank, value, size, wrong = 0;
  void *detached;
  MPI_Request request;
  MPI_Status status;
  MPI_Init(&count, &arguments);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 0) {
    MPI_Buffer_attach(buffer, sizeof buffer);
    MPI_Bsend_init(&value, 1, MPI_INT, 1, 0, MPI_COMM_WORLD, &request);
    for (value = 1; value <= 4; ++value) {
      MPI_Start(&request);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    }
    MPI_Request_free(&request);
    MPI_Buffer_detach(&detached, &size);
  } else {
    for (int i = 1; i <= 4; ++i) {
      MPI_Recv(room, sizeof room, MPI_BYTE, 0, 0, MPI_COMM_WORLD, &status);
      MPI_Get_count(&status, MPI_BYTE, &size);
      int same = size == sizeof value && *(int *)room == i;
      printf("start %d: %d bytes, %s\n", i, size, same ? "right" : "wrong");
      wrong += !same;
    }
    fflush(stdout);
  }
  MPI_Finalize();
  return wrong ? 3 : 0;
}
EOF
inside root 'd=/usr/lib/x86_64-linux-gnu/openmpi; tcc -I$d/include -o bsend bsend.c -L$d/lib -lmpi' ||
  not_run "does not compile"
inside root 'mpirun.openmpi --version | busybox head -n 1'
try() {
  echo "$1:"
  expect "$2" "what $1 sends" root "FI_TCP_IFACE=lo busybox timeout 90 mpirun.openmpi -np 2 --oversubscribe \
    --bind-to none --mca pml $1 --mca mtl ofi --mca mtl_ofi_provider_include 'tcp;ofi_rxm' \
    --mca btl_tcp_if_include lo ./bsend 2>/dev/null"
}
try ob1 0
try cm 3
echo "as stated"

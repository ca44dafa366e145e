#!/usr/bin/env bash
# Naming the PML that is in use anyway makes MPI_Win_create fail in Open MPI 5.0.7
#
# Software: Open MPI 5.0.7 (Debian 13: openmpi-bin 5.0.7-1), mtl/ofi over libfabric 2.1.0's tcp;ofi_rxm
# Expected: Open MPI's documentation: a list of component names of a framework narrows its choice and nothing
#           more. With "--mca mtl ofi" alone pml/cm is chosen; naming it as well ("--mca pml cm") changes
#           nothing.
# Happens:  With the PML named, MPI_Win_create returns MPI_ERR_WIN; without, it works. Point-to-point
#           communication works in both.
# Matters:  Job scripts name the PML to be sure of the network; their one-sided programs then fail with an
#           error that tells nothing of it.
# Seen:     A window on two ranks, with a put, under both command lines; mpirun reports which PML it chose.

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
cat >"$work/root/tmp/window.c" <<'EOF'
#include <mpi.h>
#include <stdio.h>

int main(int count, char **arguments) {
  int rank, memory[2] = {0, 0}, value = 42, class = MPI_SUCCESS;
  MPI_Win window;
  MPI_Init(&count, &arguments);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int error = MPI_Win_create(memory, sizeof memory, sizeof(int), MPI_INFO_NULL, MPI_COMM_WORLD, &window);
  if (error) {
    MPI_Error_class(error, &class);
  } else {
    MPI_Win_fence(0, window);
    if (rank == 1) MPI_Put(&value, 1, MPI_INT, 0, 0, 1, MPI_INT, window);
    MPI_Win_fence(0, window);
    MPI_Win_free(&window);
  }
  if (rank == 0)
    printf("MPI_Win_create: %s, memory %d\n",
           !error                 ? "MPI_SUCCESS"
           : class == MPI_ERR_WIN ? "MPI_ERR_WIN"
                                  : "another error",
           memory[0]);
  MPI_Finalize();
  return 0;
}
EOF
inside root 'd=/usr/lib/x86_64-linux-gnu/openmpi; tcc -I$d/include -o window window.c -L$d/lib -lmpi' ||
  not_run "does not compile"
inside root 'mpirun.openmpi --version | busybox head -n 1'
try() {
  inside root "FI_TCP_IFACE=lo busybox timeout 90 mpirun.openmpi -np 2 --oversubscribe --bind-to none $1 \
    --mca mtl ofi --mca mtl_ofi_provider_include 'tcp;ofi_rxm' --mca btl_tcp_if_include lo \
    --mca pml_base_verbose 10 ./window 2>&1" >"$work/output" || true
  grep -oE 'select: component [a-z0-9]+ selected' "$work/output" | sort -u
  grep -a '^MPI_Win_create' "$work/output" | sed "s/^/[$1] /"
}
try '' | tee "$work/free"
try '--mca pml cm' | tee "$work/named"
for run in free named; do grep -q 'component cm selected' "$work/$run" || not_run "pml/cm is not used"; done
grep -q 'MPI_SUCCESS, memory 42' "$work/free" || changed "MPI_Win_create without a named PML"
grep -q MPI_ERR_WIN "$work/named" || changed "MPI_Win_create with a named PML"
echo "as stated"

#!/usr/bin/env bash
# MPICH refuses buffered sends that fit by the standard's formula, if their sizes are odd
#
# Software: MPICH 4.2.1 (Debian 13: mpich 4.3.0+really4.2.1-1)
# Expected: MPI 4.1, 3.6: a buffer that is as long as the sum of MPI_Pack_size and MPI_BSEND_OVERHEAD over all
#           messages is enough for them.
# Happens:  Of five messages of 65,537 bytes the last gets MPI_ERR_BUFFER; of 65,536 bytes all five are taken.
#           The space for each is rounded up by more than the overhead that is declared leaves.
# Matters:  Programs that compute their buffer as the standard says fail for some sizes only; add 16 bytes for
#           each message.
# Seen:     Buffers of exactly that length, for 65,536 and for 65,537 bytes a message, the receiver receiving
#           afterwards.

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

debian root trixie mpich=4.3.0+really4.2.1-1 libc6-dev tcc busybox-static -- libmpich-dev=4.3.0+really4.2.1-1
cat >"$work/root/tmp/exact.c" <<'EOF'
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { kMessages = 5 };

static int refused(int rank, int bytes) { /* how many, on rank 0 */
  static char data[1 << 17];
  int packed, taken = 0, class, size;
  void *detached;
  if (rank == 0) {
    MPI_Pack_size(bytes, MPI_BYTE, MPI_COMM_WORLD, &packed);
    int length = kMessages * (packed + MPI_BSEND_OVERHEAD);
    void *buffer = malloc(length);
    MPI_Buffer_attach(buffer, length);
    for (int i = 0; i < kMessages; ++i) {
      int error = MPI_Bsend(data, bytes, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
      if (!error) ++taken;
      else
        MPI_Error_class(error, &class),
            printf("message %d: %s\n", i + 1, class == MPI_ERR_BUFFER ? "MPI_ERR_BUFFER" : "an error");
    }
    MPI_Send(&taken, 1, MPI_INT, 1, 2, MPI_COMM_WORLD);
    MPI_Buffer_detach(&detached, &size);
    free(buffer);
    printf("%d bytes each, pack size %d, overhead %d: %d of %d taken\n", bytes, packed,
           (int)MPI_BSEND_OVERHEAD, taken, kMessages);
    fflush(stdout);
  } else {
    MPI_Recv(&taken, 1, MPI_INT, 0, 2, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int i = 0; i < taken; ++i)
      MPI_Recv(data, sizeof data, MPI_BYTE, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  return kMessages - taken;
}

int main(int count, char **arguments) {
  int rank;
  MPI_Init(&count, &arguments);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int even = refused(rank, 65536), odd = refused(rank, 65537);
  MPI_Finalize();
  return even == 0 && odd == 1 ? 0 : 1;
}
EOF
inside root 'tcc -I/usr/include/x86_64-linux-gnu/mpich -o exact exact.c -lmpich' || not_run "does not compile"
inside root 'mpiexec.hydra --version | busybox grep Version'
expect 0 "what is taken" root 'busybox timeout 60 mpiexec.hydra -np 2 ./exact'
echo "as stated"

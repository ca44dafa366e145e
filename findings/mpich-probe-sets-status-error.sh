#!/usr/bin/env bash
# MPICH's MPI_Probe, MPI_Iprobe, MPI_Mprobe and MPI_Sendrecv_replace overwrite status.MPI_ERROR
#
# Software: MPICH 4.2.1 (Debian 13: mpich 4.3.0+really4.2.1-1); Open MPI 5.0.7 (ob1) leaves it alone
# Expected: MPI 4.1, 3.2.5: calls do not modify the error field of a status in general; only those that return
#           several statuses do, and only if they return MPI_ERR_IN_STATUS. MPICH's own MPI_Recv, MPI_Mrecv
#           and MPI_Sendrecv follow that.
# Happens:  Probes that find their message at once, and MPI_Sendrecv_replace, set the field to MPI_SUCCESS.
# Matters:  A program that keeps the statuses of an MPI_Waitall that failed, and probes into one of them,
#           loses the error; tools that compare statuses see a difference between calls of one kind.
# Seen:     Messages to oneself that have arrived, and a status whose field is set to 77 before each call.

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
cat >"$work/root/tmp/status.c" <<'EOF'
#include <mpi.h>
#include <stdio.h>

static int modified;

static void look(const char *call, MPI_Status *status, int expected_modified) {
  int changed = status->MPI_ERROR != 77;
  printf("%s: MPI_ERROR %s\n", call, changed ? "overwritten" : "kept");
  modified += changed == expected_modified;
  status->MPI_ERROR = 77;
}

int main(int count, char **arguments) {
  int sent = 1, data, flag = 0;
  MPI_Status s;
  MPI_Message message;
  MPI_Comm self = MPI_COMM_SELF;
  MPI_Request requests[4];
  MPI_Init(&count, &arguments);
  s.MPI_ERROR = 77;
  for (int i = 0; i < 4; ++i) MPI_Isend(&sent, 1, MPI_INT, 0, i, self, &requests[i]);
  MPI_Recv(&data, 1, MPI_INT, 0, 0, self, &s);
  look("MPI_Recv", &s, 0);
  MPI_Probe(0, 1, self, &s);
  look("MPI_Probe", &s, 1);
  MPI_Recv(&data, 1, MPI_INT, 0, 1, self, &s);
  while (!flag) MPI_Iprobe(0, 2, self, &flag, &s);
  look("MPI_Iprobe", &s, 1);
  MPI_Recv(&data, 1, MPI_INT, 0, 2, self, &s);
  MPI_Mprobe(0, 3, self, &message, &s);
  look("MPI_Mprobe", &s, 1);
  MPI_Mrecv(&data, 1, MPI_INT, &message, &s);
  look("MPI_Mrecv", &s, 0);
  MPI_Sendrecv(&sent, 1, MPI_INT, 0, 5, &data, 1, MPI_INT, 0, 5, self, &s);
  look("MPI_Sendrecv", &s, 0);
  MPI_Sendrecv_replace(&data, 1, MPI_INT, 0, 5, 0, 5, self, &s);
  look("MPI_Sendrecv_replace", &s, 1);
  MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
  MPI_Finalize();
  return modified == 7 ? 0 : 1;
}
EOF
inside root 'tcc -I/usr/include/x86_64-linux-gnu/mpich -o status status.c -lmpich' || not_run "does not compile"
inside root 'mpiexec.hydra --version | busybox grep Version'
expect 0 "which calls overwrite the field" root 'busybox timeout 60 mpiexec.hydra -np 1 ./status'
echo "as stated"

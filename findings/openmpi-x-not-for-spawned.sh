#!/usr/bin/env bash
# Variables given with mpirun -x reach no process of MPI_Comm_spawn in Open MPI 5.0; in 4.1 they did
#
# Software: Open MPI 5.0.7 (Debian 13: openmpi-bin 5.0.7-1), and 4.1.4 (Debian 12: 4.1.4-3+b1) for comparison
# Expected: mpirun(1): -x exports a variable to the nodes before the program is executed. A program that is
#           spawned by a rank which has the variable has it too, as under 4.1.
# Happens:  5.0.7: the children run without it. 4.1.4: with it.
# Matters:  FI_PROVIDER, UCX_TLS, LD_LIBRARY_PATH or OMP_NUM_THREADS of -x hold for half of the job: parents
#           and children may choose different networks and not reach each other.
# Seen:     A program that prints a variable and spawns itself once, under mpirun -np 1 -x.

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

debian old bookworm openmpi-bin=4.1.4-3+b1 libc6-dev tcc busybox-static -- libopenmpi-dev=4.1.4-3+b1
debian new trixie openmpi-bin=5.0.7-1 libc6-dev tcc busybox-static -- libopenmpi-dev=5.0.7-1
cat >"$work/spawn.c" <<'EOF'
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
  MPI_Comm parent, children;
  int error;
  MPI_Init(&count, &arguments);
  MPI_Comm_get_parent(&parent);
  const char *value = getenv("SAMPLE");
  printf("%s: SAMPLE %s\n", parent == MPI_COMM_NULL ? "parent" : "child", value ? value : "is unset");
  fflush(stdout);
  if (parent == MPI_COMM_NULL) {
    MPI_Comm_spawn(arguments[0], MPI_ARGV_NULL, 1, MPI_INFO_NULL, 0, MPI_COMM_SELF, &children, &error);
    MPI_Comm_disconnect(&children);
  } else {
    MPI_Comm_disconnect(&parent);
  }
  MPI_Finalize();
  return 0;
}
EOF
for root in old new; do
  cp "$work/spawn.c" "$work/$root/tmp/"
  inside $root 'd=/usr/lib/x86_64-linux-gnu/openmpi; tcc -I$d/include -o spawn spawn.c -L$d/lib -lmpi' ||
    not_run "does not compile"
  inside $root 'mpirun.openmpi --version | busybox head -n 1
    busybox timeout 60 mpirun.openmpi -np 1 --oversubscribe --mca btl_tcp_if_include lo -x SAMPLE=hello \
      ./spawn 2>/dev/null' | tee "$work/$root.output"
  grep -qx 'parent: SAMPLE hello' "$work/$root.output" || not_run "the parent has no variable"
done
grep -qx 'child: SAMPLE hello' "$work/old.output" || changed "the children of 4.1.4"
grep -qx 'child: SAMPLE is unset' "$work/new.output" || changed "the children of 5.0.7"
echo "as stated"

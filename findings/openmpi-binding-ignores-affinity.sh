#!/usr/bin/env bash
# mpirun binds ranks to processors that its own affinity (taskset) excludes
#
# Software: Open MPI 5.0.7 (Debian 13: openmpi-bin 5.0.7-1) with PRRTE and hwloc 2.12
# Expected: sched_setaffinity(2): a child inherits the mask of its parent, so what taskset or numactl allow
#           mpirun holds for its ranks, which are bound within it, as they are within a cgroup. mpirun(1) says
#           nothing of a mask that was set outside.
# Happens:  Under taskset with the last processor mpirun binds its first rank to the first core, by default
#           and with --bind-to core: it widens what it was given. Only --bind-to none keeps the mask.
# Matters:  Two jobs that are kept apart on a node by taskset share its first cores; measurements on isolated
#           processors are not.
# Seen:     The mask of a rank (/proc/self/status) under taskset, with three ways of binding; at least two
#           processors are needed.

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

debian root trixie openmpi-bin=5.0.7-1 busybox-static
allowed=$(awk '/Cpus_allowed_list/ { print $2 }' /proc/self/status)
last=${allowed##*[,-]}
[ "$allowed" != "$last" ] || not_run "there is one processor only"
inside root 'mpirun.openmpi --version | busybox head -n 1'
for binding in '' '--bind-to core' '--bind-to none'; do
  got=$(inside root "busybox taskset -c $last busybox timeout 60 mpirun.openmpi -np 1 $binding \
    busybox awk '/Cpus_allowed_list/ { print \$2 }' /proc/self/status 2>/dev/null") || not_run "mpirun fails"
  echo "taskset -c $last mpirun -np 1 $binding: the rank may run on $got"
  case $binding in
    *none) [ "$got" = "$last" ] || changed "--bind-to none" ;;
    *) [ "$got" != "$last" ] && [ -n "$got" ] || changed "the default" ;;
  esac
done
echo "as stated"

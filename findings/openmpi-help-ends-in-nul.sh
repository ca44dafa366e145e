#!/usr/bin/env bash
# Help messages of mpirun 5.0.7 end in a NUL byte, so that grep takes a job's output for binary
#
# Software: Open MPI 5.0.7 (Debian 13: openmpi-bin 5.0.7-1) with PRRTE and PMIx 5.0.7
# Expected: POSIX, "text file": what a program says to people has no NUL character; 4.1 wrote none.
# Happens:  The message box about missing slots is followed by a byte of value 0.
# Matters:  `mpirun ... 2>&1 | grep error` prints "binary file matches" in place of the line, also for the
#           lines of other ranks; log processors refuse the file. `grep -a` is needed.
# Seen:     mpirun asked for more ranks than it has slots; the bytes of its output, and what grep says of it.

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
inside root 'mpirun.openmpi --version | busybox head -n 1'
inside root 'busybox timeout 60 mpirun.openmpi -H localhost:1 -np 2 busybox true 2>&1' >"$work/output" || true
LC_ALL=C grep -qa 'not enough slots' "$work/output" || not_run "mpirun says something else"
zeros=$(tr -dc '\000' <"$work/output" | wc -c)
echo "bytes of value 0: $zeros; the end of the output:"
tail -c 16 "$work/output" | od -An -c
echo "grep: $(LC_ALL=C grep 'not enough slots' "$work/output" 2>&1)"
[ "$zeros" -gt 0 ] || changed "no NUL byte"
echo "as stated"

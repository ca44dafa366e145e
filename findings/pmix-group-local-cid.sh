#!/usr/bin/env bash
# PMIx group: the local context ids that the members hand in at construction can be read by none of them
#
# Software: PMIx 5.0.7 (Debian 13: libpmix2t64 5.0.7-1) under the PRRTE of Open MPI 5.0.7 (openmpi-bin
#           5.0.7-1)
# Expected: pmix_common.h: PMIX_GROUP_INFO holds data that is shared among all members during construction,
#           and PMIX_GROUP_LOCAL_CID is the local context id of a member; a PMIx_Get of it for a member,
#           qualified by the group's id, gives what that member handed in.
# Happens:  The group is made and has its context id; every PMIx_Get of a member's number, one's own included,
#           ends in PMIX_ERR_NOT_FOUND.
# Matters:  MPI libraries that number communicators of groups locally (MPI_Comm_create_from_group) cannot
#           learn their peers' numbers in this way, and have to exchange them over the network.
# Seen:     Two processes construct a group, each with a number of its own, and ask for both numbers with a
#           timeout of 5 s.

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

debian root trixie openmpi-bin=5.0.7-1 libc6-dev tcc busybox-static -- libpmix-dev=5.0.7-1
cat >"$work/root/tmp/group.c" <<'EOF'
#include <pmix.h>
#include <stdio.h>
#include <stdlib.h>

static void must(const char *what, pmix_status_t status) {
  if (status == PMIX_SUCCESS) return;
  printf("%s: %s\n", what, PMIx_Error_string(status));
  exit(2);
}

int main(void) {
  pmix_proc_t self, members[2];
  pmix_info_t info[2], mine, *results = NULL;
  size_t count = 0, id = 0, number;
  int assigned = 0, got = 0;
  must("PMIx_Init", PMIx_Init(&self, NULL, 0));
  for (int i = 0; i < 2; ++i) PMIX_PROC_LOAD(&members[i], self.nspace, i);
  must("PMIx_Fence", PMIx_Fence(members, 2, NULL, 0));
  number = 1234 + self.rank;
  PMIX_INFO_LOAD(&mine, PMIX_GROUP_LOCAL_CID, &number, PMIX_SIZE);
  pmix_data_array_t array = {.type = PMIX_INFO, .size = 1, .array = &mine};
  PMIX_INFO_LOAD(&info[0], PMIX_GROUP_ASSIGN_CONTEXT_ID, NULL, PMIX_BOOL);
  PMIX_INFO_LOAD(&info[1], PMIX_GROUP_INFO, &array, PMIX_DATA_ARRAY);
  must("PMIx_Group_construct", PMIx_Group_construct("sample", members, 2, info, 2, &results, &count));
  for (size_t i = 0; i < count; ++i)
    if (PMIX_CHECK_KEY(&results[i], PMIX_GROUP_CONTEXT_ID)) assigned = 1, id = results[i].value.data.size;
  printf("process %u: group constructed, context id %s\n", self.rank, assigned ? "assigned" : "missing");
  for (int i = 0; i < 2; ++i) {
    pmix_info_t how[2];
    pmix_value_t *value = NULL;
    int seconds = 5;
    PMIX_INFO_LOAD(&how[0], PMIX_GROUP_CONTEXT_ID, &id, PMIX_SIZE);
    PMIX_INFO_SET_QUALIFIER(&how[0]);
    PMIX_INFO_LOAD(&how[1], PMIX_TIMEOUT, &seconds, PMIX_INT);
    pmix_status_t status = PMIx_Get(&members[i], PMIX_GROUP_LOCAL_CID, how, 2, &value);
    int right = status == PMIX_SUCCESS && value->data.size == 1234 + (size_t)i;
    printf("process %u: number of member %d: %s\n", self.rank, i,
           right ? "right" : PMIx_Error_string(status));
    got += right;
  }
  fflush(stdout);
  PMIx_Group_destruct("sample", NULL, 0);
  PMIx_Finalize(NULL, 0);
  return !assigned ? 2 : got ? 0 : 3;
}
EOF
inside root 'd=/usr/lib/x86_64-linux-gnu/pmix2; tcc -I$d/include -o group group.c -L$d/lib -lpmix' ||
  not_run "does not compile"
inside root 'mpirun.openmpi --version | busybox head -n 1'
inside root 'busybox timeout 60 mpirun.openmpi -np 2 --oversubscribe ./group 2>/dev/null' |
  tee "$work/output" || true
[ "$(grep -c 'context id assigned' "$work/output")" = 2 ] || not_run "the group cannot be made"
[ "$(grep -c 'number of member .: PMIX_ERR_NOT_FOUND' "$work/output")" = 4 ] || changed "numbers can be read"
echo "as stated"

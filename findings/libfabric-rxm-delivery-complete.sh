#!/usr/bin/env bash
# tcp;ofi_rxm completes FI_DELIVERY_COMPLETE sends although the peer has processed nothing
#
# Software: libfabric 2.1.0 (Debian 13: libfabric1 2.1.0-1.1), providers tcp;ofi_rxm, shm and tcp
# Expected: fi_cq(3): with FI_DELIVERY_COMPLETE a completion is generated when the operation was processed by
#           the destination endpoint. Its provider progresses manually, so that it processes nothing while its
#           process sleeps. A provider that cannot promise this does not return the flag; fi_rxm(7) lists
#           FI_FENCE alone among flags that it lacks.
# Happens:  tcp;ofi_rxm takes the flag in fi_getinfo and in fi_tsendmsg, and completes the send at once, while
#           shm and tcp wait for the peer.
# Matters:  Whoever takes the completion for a receipt (a barrier, a file that may be deleted, a failure
#           detector) is wrong with this provider.
# Seen:     A peer that sleeps for 4 s after an exchange of one message. A send of 8 bytes with the flag,
#           polled for 2 s.

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
cat >"$work/root/tmp/delivery.c" <<'EOF'
/* --- pair: two processes with an endpoint each; the same in every finding that has it --- */
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUST(call) must(#call, (call))
static struct fi_info *hints, *info;
static struct fid_fabric *fabric;
static struct fid_domain *domain;
static struct fid_cq *cq;
static struct fid_av *av;
static struct fid_ep *ep;

static void must(const char *what, long result) {
  if (result >= 0) return;
  printf("%s: %s\n", what, fi_strerror((int)-result));
  exit(2);
}

static double now(void) { /* seconds */
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void make_hints(const char *provider) {
  hints = fi_allocinfo();
  hints->caps = FI_TAGGED;
  hints->mode = FI_CONTEXT;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
  hints->fabric_attr->prov_name = strdup(provider);
}

static void open_endpoint(void) {
  struct fi_cq_attr cq_attr = {.format = FI_CQ_FORMAT_TAGGED};
  struct fi_av_attr av_attr = {.type = FI_AV_TABLE};
  MUST(fi_getinfo(FI_VERSION(1, 15), NULL, NULL, 0, hints, &info));
  MUST(fi_fabric(info->fabric_attr, &fabric, NULL));
  MUST(fi_domain(fabric, info, &domain, NULL));
  MUST(fi_cq_open(domain, &cq_attr, &cq, NULL));
  MUST(fi_av_open(domain, &av_attr, &av, NULL));
  MUST(fi_endpoint(domain, info, &ep, NULL));
  MUST(fi_ep_bind(ep, &av->fid, 0));
  MUST(fi_ep_bind(ep, &cq->fid, FI_SEND | FI_RECV));
  MUST(fi_enable(ep));
}

/* The next completion within `seconds`: 1, or 0 if there is none, or the negative error of one that failed.
 */
static long completion(double seconds) {
  struct fi_cq_tagged_entry entry;
  double end = now() + seconds;
  do {
    long result = fi_cq_read(cq, &entry, 1);
    if (result == -FI_EAVAIL) {
      struct fi_cq_err_entry error = {0};
      fi_cq_readerr(cq, &error, 0);
      return -labs(error.err);
    }
    if (result != -FI_EAGAIN) return result;
  } while (now() < end);
  return 0;
}

static void say(int fd) { MUST(write(fd, "x", 1)); }

static void hear(int fd) { /* polls meanwhile */
  char c;
  double end = now() + 20;
  while (recv(fd, &c, 1, MSG_DONTWAIT) != 1 && now() < end) fi_cq_read(cq, NULL, 0);
}

static fi_addr_t exchange(int fd) {
  char own[512] = {0}, other[512];
  size_t size = sizeof own;
  fi_addr_t address;
  MUST(fi_getname(&ep->fid, own, &size));
  MUST(write(fd, own, sizeof own));
  if (recv(fd, other, sizeof other, MSG_WAITALL) != sizeof other) exit(2);
  return fi_av_insert(av, other, 1, &address, 0, NULL) == 1 ? address : FI_ADDR_UNSPEC;
}

static long send_8(fi_addr_t to, uint64_t tag, struct fi_context *context) { /* for at most 5 s */
  static char data[8] = "message";
  double end = now() + 5;
  long result;
  while ((result = fi_tsend(ep, data, sizeof data, NULL, to, tag, context)) == -FI_EAGAIN && now() < end)
    fi_cq_read(cq, NULL, 0);
  return result;
}

/* One message, so that the two know each other: from the parent to the child, which polls until the parent is
 * done. */
static void introduce(int child, int fd, fi_addr_t peer) {
  static struct fi_context context;
  static char buffer[64];
  if (child) {
    MUST(fi_trecv(ep, buffer, sizeof buffer, NULL, FI_ADDR_UNSPEC, 1, 0, &context));
    MUST(completion(10));
    hear(fd);
  } else {
    MUST(send_8(peer, 1, &context));
    MUST(completion(10));
    say(fd);
  }
}
/* --- end of pair --- */

int main(int count, char **arguments) {
  static struct fi_context context;
  static char data[8];
  int fds[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
  pid_t pid = fork();
  int child = pid == 0, fd = fds[child];
  make_hints(arguments[1]);
  hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
  open_endpoint();
  fi_addr_t peer = exchange(fd);
  introduce(child, fd, peer);
  if (child) {
    say(fd);
    for (;;) sleep(4);
  }
  hear(fd);
  struct iovec part = {data, sizeof data};
  struct fi_msg_tagged message = {
      .msg_iov = &part, .iov_count = 1, .addr = peer, .tag = 7, .context = &context};
  MUST(fi_tsendmsg(ep, &message, FI_DELIVERY_COMPLETE | FI_COMPLETION));
  long result = completion(2);
  printf("%s: op_flags granted: %s; peer asleep: %s\n", arguments[1],
         info->tx_attr->op_flags & FI_DELIVERY_COMPLETE ? "FI_DELIVERY_COMPLETE" : "none",
         result == 1   ? "complete"
         : result == 0 ? "no completion in 2 s"
                       : fi_strerror((int)-result));
  fflush(stdout);
  kill(pid, SIGKILL);
  _exit(result == 1 ? 0 : result == 0 ? 10 : 2);
}
EOF
inside root 'tcc -o delivery delivery.c -lfabric' || not_run "does not compile"
inside root 'busybox grep Version /usr/lib/x86_64-linux-gnu/pkgconfig/libfabric.pc'
for provider in shm tcp; do
  expect 10 "what $provider waits for" root "FI_TCP_IFACE=lo busybox timeout 40 ./delivery $provider"
done
expect 0 "what tcp;ofi_rxm waits for" root "FI_TCP_IFACE=lo busybox timeout 40 ./delivery 'tcp;ofi_rxm'"
echo "as stated"

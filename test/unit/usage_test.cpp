// What the user is told of the path: which one is used and why, how peers of the node are reached, and what is missing.
#include "usage.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>

#include "catch.hpp"
#include "channel/shm_words.hpp"
#include "forbid.hpp"
#include "packet_transport.hpp"
#include "packets/packet_path.hpp"
#include "peers/peers.hpp"

using namespace fake;

namespace {

std::string job_line(const Transport& transport) {
  return efa::job_line(transport.t, {});
}

void set_path(Transport& transport, const char* path) {
  transport.t->config.options.path = const_cast<char*>(path);
}

// The last report, and its severity.
efa_user_message last;
void remember(const efa_user_message* message) {
  last = *message;
}

// While it lives, no file may become as long as a segment of shared memory.
class ShortFiles {
 public:
  ShortFiles() {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit now = before_;
    now.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &now);
  }
  ~ShortFiles() { setrlimit(RLIMIT_FSIZE, &before_); }
  ShortFiles(const ShortFiles&) = delete;

 private:
  rlimit before_;
};

std::string remedy(const char* call, int error) {
  return efa::remedy_for({call, error});
}

}  // namespace

TEST_CASE("The path of the options, and whether the user named it") {
  struct {
    const char *word, *path;
    bool by_user;
  } cases[] = {{nullptr, "tagged", false},
               {"", "tagged", false},
               {"auto", "tagged", false},
               {"tagged", "tagged", true},
               {"packets", "packets", true}};
  for (const auto& each : cases) {
    efa_options options;
    efa_options_defaults(&options);
    options.path = const_cast<char*>(each.word);
    bool by_user = !each.by_user;
    CHECK(std::string(efa_options_path(&options, &by_user)) == each.path);
    CHECK(by_user == each.by_user);
  }
}

TEST_CASE("The lines of the job and of a process name the tagged path and why it is used") {
  Transport transport;
  CHECK_THAT(job_line(transport),
             Contains("; path tagged (the provider matches messages; the default); inject up to 64"));
  CHECK_THAT(std::string(efa::process_line(transport.t, {})),
             Contains("; path tagged (the provider matches"));
  set_path(transport, "tagged");
  CHECK_THAT(job_line(transport), Contains("(the provider matches messages; set by mtl_efa_path)"));
  // The provider's shared memory has a limit of its own inside the node.
  transport.t->protocols.eager_limit = 65536;
  CHECK_THAT(
      job_line(transport),
      Contains("eager up to 65536 (noncontiguous 512), inside the node inject up to 64 and eager up to 4096 "
               "(noncontiguous 512), then rendezvous"));
  transport.t->without_shared_memory = true;
  CHECK_THAT(job_line(transport), Contains("eager up to 65536 (noncontiguous 512), then rendezvous"));
}

TEST_CASE("On the packet path they say how peers of the node are reached, and the limits of both ways") {
  PacketTransport transport(true);
  set_path(transport, "packets");
  transport.t->protocols.eager_limit = 16360;
  const std::string expected =
      "path packets (mtl_efa matches messages; set by mtl_efa_path), peers of the node through shared "
      "memory; "
      "inject up to 40 bytes, eager up to 16360 (noncontiguous 512), inside the node inject up to 8192 and "
      "eager up "
      "to 8192 (noncontiguous 512), then rendezvous";
  CHECK_THAT(job_line(transport), Contains(expected));
  CHECK_THAT(std::string(efa::process_line(transport.t, {})), Contains(expected));
}

TEST_CASE("The same without shared memory: the parameter forbids it") {
  PacketTransport transport(false);
  CHECK_THAT(
      job_line(transport),
      Contains(
          "peers of the node through the provider (mtl_efa_shm is false); inject up to 40 bytes, eager up "
          "to 1024 (noncontiguous 512), then rendezvous"));
  CHECK(transport.reports.empty());
}

TEST_CASE("The same where the memory cannot be shared") {
  const ShortFiles limit;
  PacketTransport transport(true);
  CHECK_THAT(
      job_line(transport),
      Contains(
          "peers of the node through the provider (no memory can be shared: RLIMIT_FSIZE: File too large)"));
}

TEST_CASE("Then a notice says what to do, once for each node") {
  const ShortFiles limit;
  struct {
    int local_rank, local_ranks;
    efa_severity severity;
  } cases[] = {{0, 2, EFA_REPORT_NOTICE}, {1, 2, EFA_REPORT_VERBOSE}, {0, 1, EFA_REPORT_VERBOSE}};
  for (const auto& each : cases) {
    Transport transport;
    transport.t->config.local_rank = each.local_rank;
    transport.t->config.local_ranks = each.local_ranks;
    transport.t->config.report = remember;
    transport.t->config.options.verbose = 1;
    efa::use_packets(transport.t);
    CHECK(last.id == EFA_MSG_shm_unavailable);
    CHECK(last.severity == each.severity);
    CHECK_THAT(std::string(last.text),
               Contains("through the provider efa") && Contains("ulimit -f unlimited"));
    last = {};
  }
}

TEST_CASE("A peer of the node whose memory cannot be opened: a notice for the first one") {
  PacketTransport transport(true);
  transport.t->config.report = remember;
  transport.t->config.options.verbose = 1;
  efa::Card card;
  card.provider = "efa";
  card.path = "packets";
  card.nic = "fake9";
  card.host = "here";
  card.address = {9, 9, 9, 9};
  card.shm = transport.t->packets->shm.address();
  card.shm.cookie[3] ^= 1;
  const auto bytes = card.serialize();
  for (const efa_severity severity : {EFA_REPORT_NOTICE, EFA_REPORT_VERBOSE}) {
    last = {};
    const efa_identity identity{1004, 3, 0};
    CHECK(efa_peer_create(transport.t, &identity, bytes.data(), bytes.size()));
    CHECK(last.id == EFA_MSG_shm_peer_refused);
    CHECK(last.severity == severity);
    CHECK_THAT(std::string(last.text), Contains("rank 3 on host here") &&
                                           Contains("cookie of the peer's segment") &&
                                           Contains("through the provider efa"));
  }
}

TEST_CASE("A peer of the node whose memory cannot be read: a notice with the remedy") {
  const pid_t child = fork();
  if (child == 0) {  // the others go on without a filter
    forbid(SYS_process_vm_readv, EPERM);
    Node node;
    const bool told = node.a.reports.size() == 1 && node.b.reports.size() == 1;
    const std::string text = told ? node.a.reports[0] : "";
    const bool good =
        text.find("rank 3 on host here") != text.npos &&
        text.find("process_vm_readv: Operation not permitted") != text.npos &&
        text.find("messages of more than 8192 bytes from it go through the provider efa") != text.npos &&
        text.find("--cap-add SYS_PTRACE") != text.npos && !node.to_b->reads_memory && node.to_b->shm;
    _exit(good ? 0 : told ? 1 : 2);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("Each reason has its remedy") {
  CHECK_THAT(remedy("memfd_create", EPERM), Contains("seccomp profile"));
  CHECK_THAT(remedy("memfd_create", ENOSYS), Contains("seccomp profile"));
  CHECK_THAT(remedy("memfd_create", EMFILE), Contains("ulimit -n"));
  CHECK_THAT(remedy("RLIMIT_FSIZE", EFBIG),
             Contains("ulimit -f") && Contains(std::to_string(efa::shm_segment_size())));
  CHECK_THAT(remedy("mmap", ENOMEM), Contains("ulimit -v"));
  CHECK_THAT(remedy("prctl PR_GET_DUMPABLE", EPERM), Contains("set-user-ID"));
  CHECK_THAT(remedy("readlink /proc/self", ENOENT), Contains("Mount /proc"));
  CHECK_THAT(remedy("readlink /proc/self", EXDEV), Contains("Mount /proc"));
  CHECK_THAT(remedy("stat /proc/self/ns/pid", ENOENT), Contains("Mount /proc"));
  CHECK_THAT(remedy("open /proc/sys/kernel/random/boot_id", ENOENT), Contains("Mount /proc"));
  CHECK_THAT(remedy("open /proc/PID/fd/FD", EACCES), Contains("as one user"));
  CHECK_THAT(remedy("slots of the peer's segment", ENOSPC), Contains("at most 1024 processes"));
  CHECK_THAT(remedy("cookie of the peer's segment", ESTALE), Contains("mtl_efa_shm to false"));
}

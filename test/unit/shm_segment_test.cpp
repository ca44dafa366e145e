// Segments of shared memory: whom they are open to, what is left behind, addresses of others, slots.
#include "channel/shm_segment.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <csignal>
#include <cstddef>
#include <filesystem>

#include "forbid.hpp"
#include "shm_peers.hpp"

using namespace efa;

namespace {

// The errno value with which connecting fails; 0 if it does not.
int refusal(const ShmAddress& peer) {
  ShmFailure failure;
  const Sender sender(ShmChannel::connect(peer, 1, failure));
  CHECK((sender == nullptr) == (failure.call != nullptr));
  return failure.error;
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// Lines of /proc/self/maps with a memfd.
size_t mapped_segments() {
  std::unique_ptr<FILE, int (*)(FILE*)> maps(fopen("/proc/self/maps", "r"), fclose);
  char line[512];
  size_t count = 0;
  while (fgets(line, sizeof line, maps.get()) != nullptr) count += std::strstr(line, "/memfd:") != nullptr;
  return count;
}

// The errno value with which opening a channel fails in a process that does `first`.
int failing(const std::function<void()>& first, bool can_count = true) {
  return WEXITSTATUS(wait_for(start([&] {
    const size_t descriptors = open_descriptors();
    ShmChannel channel;
    ShmFailure failure;
    if (!channel.open(failure)) _exit(249);  // so that the allocator need not call mmap after `first`
    channel.close();
    first();
    const bool open = channel.open(failure);
    if (open || failure.call == nullptr || channel.is_open()) _exit(250);
    if (can_count && open_descriptors() != descriptors) _exit(251);
    _exit(failure.error);
  })));
}

}  // namespace

TEST_CASE("A receiver that is killed leaves nothing, and its sender can go on writing") {
  const auto names = [] {
    std::vector<std::string> found;
    for (const char* folder : {"/dev/shm", "/tmp"})
      for (const auto& entry : std::filesystem::directory_iterator(folder)) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  };
  int to_parent[2];
  REQUIRE(pipe(to_parent) == 0);
  const auto before = names();
  const pid_t receiver = start([&] {
    ShmChannel channel;
    ShmFailure failure;
    if (!channel.open(failure)) _exit(2);
    if (write(to_parent[1], &channel.address(), sizeof(ShmAddress)) != sizeof(ShmAddress)) _exit(3);
    pause();
  });
  ShmAddress address;
  REQUIRE(read(to_parent[0], &address, sizeof address) == sizeof address);
  CHECK(address.pid == static_cast<uint32_t>(receiver));
  Sender sender = connect(address, 9);
  // Nothing has a name while it exists either. Others may make and remove files there, so only new ones that stay count.
  const auto during = names();
  kill(receiver, SIGKILL);
  wait_for(receiver);
  const auto after = names();
  std::vector<std::string> new_names;
  for (const std::string& name : after)
    if (std::binary_search(during.begin(), during.end(), name) &&
        !std::binary_search(before.begin(), before.end(), name))
      new_names.push_back(name);
  for (const std::string& name : new_names) {
    struct stat file;
    // No file of the segment's size.
    if (stat(name.c_str(), &file) == 0) CHECK(file.st_size < off_t{kShmSlots} * off_t{sizeof(ShmRing)});
  }
  // The sender keeps its part of the memory, whose last user it is.
  uint32_t n = 0;
  while (n < 1000 && send(*sender, 9, n)) ++n;
  CHECK(n > 0);
  CHECK(n < 1000);
  CHECK(mapped_segments() == 2);
  sender.reset();
  CHECK(mapped_segments() == 0);
  CHECK(refusal(address) == ENOENT);
  close(to_parent[0]);
  close(to_parent[1]);
}

TEST_CASE("Opening, connecting and closing leaves no descriptor and no mapping behind") {
  const size_t descriptors = open_descriptors();
  {
    Channel it;
    CHECK(open_descriptors() == descriptors + 1);
    const Sender a = connect(it.channel.address(), 1), b = connect(it.channel.address(), 2);
    CHECK(open_descriptors() == descriptors + 1);
    CHECK(mapped_segments() == 5);
    it.channel.close();
    CHECK_FALSE(it.channel.is_open());
    CHECK(mapped_segments() == 4);
    ShmFailure failure;
    REQUIRE(it.channel.open(failure));
    const Sender c = connect(it.channel.address(), 3);
    REQUIRE(send(*c, 3, 0));
    it.receive(1);
  }
  CHECK(open_descriptors() == descriptors);
  CHECK(mapped_segments() == 0);
}

TEST_CASE("A segment takes memory only where it was touched") {
  Channel it;
  const auto kilobytes = [&] {
    struct stat file;
    REQUIRE(fstat(static_cast<int>(it.channel.address().fd), &file) == 0);
    return static_cast<int64_t>(file.st_blocks) / 2;
  };
  const auto alone = kilobytes();
  CHECK(alone <= 8);
  const Sender sender = connect(it.channel.address(), 1);
  for (uint32_t n = 0; n < 1000; ++n) {
    const uint64_t eight = n;
    REQUIRE(sender->send({0, 1, 0, 0, 0, PacketType::control, 0, 0}, &eight, sizeof eight));
    struct {
      void packet(ShmSource&, const PacketHeader&, const uint8_t*) {}
      void broken(ShmSource&) {}
    } ignore;
    REQUIRE(it.channel.poll(ignore) == 1);
  }
  CHECK(kilobytes() - alone <= 16);  // three pages of cells, one of slots
}

TEST_CASE("Addresses that are not a peer's on this node are refused") {
  Channel it;
  const ShmAddress good = it.channel.address();
  CHECK(refusal(good) == 0);

  ShmAddress none{};
  CHECK_FALSE(same_node_possible(none));
  CHECK(refusal(none) == EXDEV);
  ShmAddress foreign = good;
  foreign.boot_id[15] ^= 1;
  CHECK_FALSE(same_node_possible(foreign));
  CHECK(refusal(foreign) == EXDEV);
  ShmAddress elsewhere = good;
  ++elsewhere.pid_namespace;
  CHECK_FALSE(same_node_possible(elsewhere));
  CHECK(refusal(elsewhere) == EXDEV);

  for (size_t i = 0; i < sizeof good.cookie; ++i) {
    ShmAddress wrong = good;
    wrong.cookie[i] ^= 0x80;
    CHECK(same_node_possible(wrong));
    CHECK(refusal(wrong) == ESTALE);
  }
  const pid_t dead = start([] {});
  wait_for(dead);
  ShmAddress gone = good;
  gone.pid = static_cast<uint32_t>(dead);
  CHECK(refusal(gone) == ENOENT);
  ShmAddress closed = good;
  closed.fd = 9999;
  CHECK(refusal(closed) == ENOENT);

  // Another file behind the number: one of another size, none that can be mapped, one that can be made shorter, which have the
  // header of the right one, and one that has not.
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int pipes[2];
  REQUIRE(pipe(pipes) == 0);
  struct stat file;
  REQUIRE(fstat(static_cast<int>(good.fd), &file) == 0);
  std::vector<char> header(64 << 10);
  REQUIRE(pread(static_cast<int>(good.fd), header.data(), header.size(), 0) ==
          static_cast<ssize_t>(header.size()));
  const auto other_file = [&](off_t size, bool has_header, bool is_sealed) {
    const int fd = memfd_create("", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(ftruncate(fd, size) == 0);
    if (has_header)
      REQUIRE(pwrite(fd, header.data(), header.size(), 0) == static_cast<ssize_t>(header.size()));
    if (is_sealed) REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    ShmAddress other = good;
    other.fd = static_cast<uint32_t>(fd);
    const int refused = refusal(other);
    close(fd);
    return refused;
  };
  CHECK(other_file(file.st_size, true, true) == 0);  // what the following ones would be
  CHECK(other_file(static_cast<off_t>(header.size()), true, true) == ESTALE);
  CHECK(other_file(file.st_size, true, false) == ESTALE);
  CHECK(other_file(file.st_size, false, true) == ESTALE);
  for (const int fd : {null, pipes[0], pipes[1]}) {
    ShmAddress other = good;
    other.fd = static_cast<uint32_t>(fd);
    CHECK(refusal(other) == ESTALE);
  }
  for (const int fd : {null, pipes[0], pipes[1]}) close(fd);
  CHECK(mapped_segments() == 1);
}

TEST_CASE("A segment of another layout is refused") {
  Channel it;
  ShmHeader* const header = map_header(it.channel.address());
  const std::function<void()> changes[] = {
      [&] { header->magic ^= 1; }, [&] { header->layout ^= 1; }, [&] { header->slot_count ^= 1; },
      [&] { header->ring_stride ^= 4096; }, [&] { header->size ^= 4096; }};
  for (const auto& change : changes) {
    CHECK(refusal(it.channel.address()) == 0);
    change();
    CHECK(refusal(it.channel.address()) == EINVAL);
    change();
  }
  munmap(header, sizeof(ShmHeader));
}

TEST_CASE("When all slots are taken, a further sender is refused and the others work") {
  Channel it;
  ShmHeader* const header = map_header(it.channel.address());
  header->slots_used = kShmSlots - 1;
  const Sender last = connect(it.channel.address(), 11);
  CHECK(refusal(it.channel.address()) == ENOSPC);
  CHECK(refusal(it.channel.address()) == ENOSPC);
  CHECK(header->slots_used == kShmSlots);
  REQUIRE(send(*last, 11, 0));
  it.receive(1, 2);
  // As if several had come at once, or a peer had written it.
  header->slots_used = UINT32_MAX;
  CHECK(refusal(it.channel.address()) == ENOSPC);
  for (uint32_t i = 0; i < 2 * kShmTickPolls * kShmSlots; ++i) it.channel.poll(it.receiver);
  REQUIRE(send(*last, 11, 1));
  it.receive(2, 2);
  munmap(header, sizeof(ShmHeader));
}

TEST_CASE("A process that cannot have a segment says why, and opens nothing") {
  CHECK(failing([] {
          const rlimit limit{1 << 20, RLIM_INFINITY};  // `ulimit -f`; SIGXFSZ must not come
          setrlimit(RLIMIT_FSIZE, &limit);
        }) == EFBIG);
  CHECK(failing([] { prctl(PR_SET_DUMPABLE, 0); }) == EPERM);
  CHECK(failing([] { forbid(SYS_memfd_create, ENOSYS); }) == ENOSYS);
  CHECK(failing([] { forbid(SYS_ftruncate, EPERM); }) == EPERM);
  CHECK(failing([] { forbid(SYS_fcntl, EINVAL); }, false) == EINVAL);  // seals
  CHECK(failing([] { forbid(SYS_mmap, ENOMEM); }, false) == ENOMEM);
  // glibc 2.41 takes random bytes without a system call where the kernel offers that; then nothing is forbidden.
  const int without_random = failing([] { forbid(SYS_getrandom, EAGAIN); });
  CHECK((without_random == EAGAIN || without_random == 250));
}

TEST_CASE("Connecting fails without harm where a call is forbidden") {
  Channel it;
  const auto failing_to_connect = [&](long call, int error) {
    return WEXITSTATUS(wait_for(start([&] {
      const size_t segments = mapped_segments();
      ShmFailure failure;
      ShmChannel::disconnect(ShmChannel::connect(it.channel.address(), 1, failure));
      forbid(call, error);
      if (ShmChannel::connect(it.channel.address(), 1, failure) != nullptr) _exit(250);
      if (call != SYS_openat && mapped_segments() != segments) _exit(251);
      _exit(failure.error);
    })));
  };
  CHECK(failing_to_connect(SYS_mmap, ENOMEM) == ENOMEM);
  CHECK(failing_to_connect(SYS_fcntl, EPERM) == ESTALE);   // the file's seals cannot be read
  CHECK(failing_to_connect(SYS_openat, EMFILE) == EXDEV);  // where this process itself is cannot be read
}

TEST_CASE("Without a /proc, or with that of another PID namespace, there is no segment") {
  // The child is the first process of a namespace of its own, if `space` is CLONE_NEWPID.
  const auto in_namespace = [](int space, const std::function<void()>& first) {
    return WEXITSTATUS(wait_for(start([&] {
      if (unshare(space) != 0) _exit(249);
      _exit(WEXITSTATUS(wait_for(start([&] {
        first();
        ShmChannel channel;
        ShmFailure failure;
        _exit(channel.open(failure) ? 250 : failure.error);
      }))));
    })));
  };
  const int other = in_namespace(CLONE_NEWPID, [] {});
  const int none = in_namespace(CLONE_NEWNS, [] {
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", "/proc", "tmpfs", 0, nullptr) != 0)
      _exit(249);
  });
  if (other == 249 || none == 249) WARN("this user cannot make namespaces");
  CHECK((other == 249 || other == EXDEV));
  CHECK((none == 249 || none == ENOENT));
}

TEST_CASE("Another user, and a process that is not dumpable, are refused without harm") {
  if (geteuid() != 0) return;  // only root can become another user
  Channel it;
  const auto as = [&](uid_t user, const ShmAddress& address) {
    return WEXITSTATUS(wait_for(start([&] {
      if (setgid(user) != 0 || setuid(user) != 0) _exit(250);
      prctl(PR_SET_DUMPABLE, 1);
      ShmFailure failure;
      _exit(ShmChannel::connect(address, 1, failure) != nullptr ? 0 : failure.error);
    })));
  };
  CHECK(as(65534, it.channel.address()) == EACCES);

  int to_parent[2];
  REQUIRE(pipe(to_parent) == 0);
  const auto receiver = [&](bool dumpable) {
    const pid_t pid = start([&] {
      if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
      prctl(PR_SET_DUMPABLE, 1);
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // cleared by setuid()
      ShmChannel channel;
      ShmFailure failure;
      if (!channel.open(failure)) _exit(3);
      prctl(PR_SET_DUMPABLE, dumpable);
      if (write(to_parent[1], &channel.address(), sizeof(ShmAddress)) < 0) _exit(4);
      pause();
    });
    ShmAddress address;
    REQUIRE(read(to_parent[0], &address, sizeof address) == sizeof address);
    return std::pair{pid, address};
  };
  const auto [pid, address] = receiver(true);
  CHECK(as(65534, address) == 0);
  CHECK(as(65533, address) == EACCES);
  const auto [closed, closed_address] = receiver(false);
  CHECK(as(65534, closed_address) == EACCES);
  for (const pid_t it_is : {pid, closed}) {
    kill(it_is, SIGKILL);
    wait_for(it_is);
  }
  close(to_parent[0]);
  close(to_parent[1]);
}

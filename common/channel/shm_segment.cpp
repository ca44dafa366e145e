// Segments of shared memory without names.
#include "channel/shm_segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace efa {

namespace {

constexpr uint64_t kMagic = 0x4546'4153'484d'5230;
constexpr uint32_t kLayout = 1;  // changes whenever ShmHeader, ShmRing or ShmCell does

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  operator int() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

bool failed(ShmFailure& failure, const char* call, int error = errno) {
  failure = {call, error};
  return false;
}

uint64_t in_pages(uint64_t size) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return (size + page - 1) / page * page;
}

uint64_t ring_stride() {
  return in_pages(sizeof(ShmRing));
}
uint64_t header_size() {
  return in_pages(sizeof(ShmHeader));
}
// Of the running system, as 16 bytes.
bool read_boot_id(uint8_t (&id)[16], ShmFailure& failure) {
  const Fd fd(open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (fd < 0) return failed(failure, "open /proc/sys/kernel/random/boot_id");
  char text[64] = {};
  if (read(fd, text, sizeof text - 1) < 0) return failed(failure, "read /proc/sys/kernel/random/boot_id");
  size_t digits = 0;
  for (const char* c = text; *c != '\0' && *c != '\n'; ++c) {
    const char* const hex = "0123456789abcdef";
    const char* const found = std::strchr(hex, *c);
    if (*c == '-') continue;
    if (found == nullptr || digits == 32)
      return failed(failure, "read /proc/sys/kernel/random/boot_id", EINVAL);
    id[digits / 2] = static_cast<uint8_t>(id[digits / 2] << 4 | (found - hex));
    ++digits;
  }
  return digits == 32 || failed(failure, "read /proc/sys/kernel/random/boot_id", EINVAL);
}

// The parts of an address that say where this process is.
bool find_place(ShmAddress& address, ShmFailure& failure) {
  // A /proc of another PID namespace knows this process by another number, or not at all.
  char self[16] = {};
  if (readlink("/proc/self", self, sizeof self - 1) < 0) return failed(failure, "readlink /proc/self");
  char pid[16];
  std::snprintf(pid, sizeof pid, "%d", static_cast<int>(getpid()));
  if (std::strcmp(self, pid) != 0) return failed(failure, "readlink /proc/self", EXDEV);
  struct stat space;
  if (stat("/proc/self/ns/pid", &space) < 0) return failed(failure, "stat /proc/self/ns/pid");
  address.pid = static_cast<uint32_t>(getpid());
  address.pid_namespace = space.st_ino;
  return read_boot_id(address.boot_id, failure);
}

// The file of the peer's segment. fd -1 on failure.
int open_peer(const ShmAddress& peer, ShmFailure& failure) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/fd/%u", peer.pid, peer.fd);
  // First only the name: the descriptor may be another process's, of a device on which open() has effects.
  const Fd name(open(path, O_PATH | O_CLOEXEC));
  if (name < 0) return failed(failure, "open /proc/PID/fd/FD"), -1;
  struct stat file;
  if (fstat(name, &file) < 0) return failed(failure, "fstat /proc/PID/fd/FD"), -1;
  if (!S_ISREG(file.st_mode) || file.st_size < 0 || static_cast<uint64_t>(file.st_size) != shm_segment_size())
    return failed(failure, "size of the peer's segment", ESTALE), -1;
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", static_cast<int>(name));
  Fd fd(open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (fd < 0) return failed(failure, "open the peer's segment"), -1;
  // A file that can shrink would end this process with SIGBUS.
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
    return failed(failure, "seals of the peer's segment", ESTALE), -1;
  return fd.release();
}

}  // namespace

uint64_t shm_segment_size() {
  return header_size() + kShmSlots * ring_stride();
}

bool same_node_possible(const ShmAddress& peer) {
  if (peer.pid == 0) return false;
  ShmAddress own{};
  ShmFailure failure;
  return find_place(own, failure) && own.pid_namespace == peer.pid_namespace &&
         std::memcmp(own.boot_id, peer.boot_id, sizeof own.boot_id) == 0;
}

ShmMapping::~ShmMapping() {
  unmap();
}

bool ShmMapping::map(int fd, uint64_t offset, uint64_t size, ShmFailure& failure) {
  unmap();
  void* const at =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) return failed(failure, "mmap");
  madvise(at, size, MADV_DONTDUMP);
  madvise(at, size, MADV_NOHUGEPAGE);  // a ring would take 2 MiB where shared memory has huge pages
  data_ = static_cast<char*>(at);
  size_ = size;
  return true;
}

void ShmMapping::unmap() {
  if (data_ != nullptr) munmap(data_, size_);
  data_ = nullptr;
}

bool ShmSegment::open(ShmFailure& failure) {
  close();
  ShmAddress address{};
  if (!find_place(address, failure)) return false;
  // Peers could not open it. They can as root with CAP_SYS_PTRACE, which is not worth a case of its own.
  if (prctl(PR_GET_DUMPABLE) != 1) return failed(failure, "prctl PR_GET_DUMPABLE", EPERM);
  if (getrandom(address.cookie, sizeof address.cookie, GRND_NONBLOCK) != sizeof address.cookie)
    return failed(failure, "getrandom");
  // ftruncate() beyond the limit does not only fail, it raises SIGXFSZ.
  rlimit most;
  if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur != RLIM_INFINITY && most.rlim_cur < shm_segment_size())
    return failed(failure, "RLIMIT_FSIZE", EFBIG);
  Fd fd(memfd_create("", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd < 0) return failed(failure, "memfd_create");
  if (fchmod(fd, 0600) < 0) return failed(failure, "fchmod");
  if (ftruncate(fd, static_cast<off_t>(shm_segment_size())) < 0) return failed(failure, "ftruncate");
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
    return failed(failure, "fcntl F_ADD_SEALS");
  if (!mapping_.map(fd, 0, shm_segment_size(), failure)) return false;
  header_ = reinterpret_cast<ShmHeader*>(mapping_.data());
  header_->magic = kMagic;
  header_->layout = kLayout;
  header_->slot_count = kShmSlots;
  header_->ring_stride = ring_stride();
  header_->size = shm_segment_size();
  std::memcpy(header_->cookie, address.cookie, sizeof address.cookie);
  fd_ = fd.release();
  address_ = address;
  address_.fd = static_cast<uint32_t>(fd_);
  address_.cookie_address = reinterpret_cast<uintptr_t>(address_.cookie);
  return true;
}

void ShmSegment::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  mapping_.unmap();
  header_ = nullptr;
  address_ = {};
}

ShmRing* ShmSegment::ring(uint32_t slot) const {
  return reinterpret_cast<ShmRing*>(mapping_.data() + header_size() + slot * ring_stride());
}

bool ShmClaim::claim(const ShmAddress& peer, uint64_t uid, ShmFailure& failure) {
  if (!same_node_possible(peer)) return failed(failure, "boot id and PID namespace", EXDEV);
  const Fd fd(open_peer(peer, failure));
  if (fd < 0 || !header_.map(fd, 0, header_size(), failure)) return false;
  ShmHeader* const it = header();
  if (std::memcmp(it->cookie, peer.cookie, sizeof peer.cookie) != 0)
    return failed(failure, "cookie of the peer's segment", ESTALE);
  if (it->magic != kMagic || it->layout != kLayout || it->slot_count != kShmSlots ||
      it->ring_stride != ring_stride() || it->size != shm_segment_size())
    return failed(failure, "layout of the peer's segment", EINVAL);
  std::atomic_ref used(it->slots_used);
  slot_ = used.fetch_add(1, std::memory_order_relaxed);
  if (slot_ >= kShmSlots) {
    used.store(kShmSlots, std::memory_order_relaxed);  // so that refused claims do not count up for ever
    return failed(failure, "slots of the peer's segment", ENOSPC);
  }
  if (!ring_.map(fd, header_size() + slot_ * ring_stride(), ring_stride(), failure)) return false;
  it->slots[slot_].uid = uid;
  std::atomic_ref(it->slots[slot_].ready).store(1, std::memory_order_release);
  return true;
}

}  // namespace efa

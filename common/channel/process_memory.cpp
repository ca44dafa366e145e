// Reading the memory of another process.
#include "channel/process_memory.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace efa {

namespace {

constexpr size_t kParts = 256;  // in one call; Linux takes IOV_MAX (1024), here they are on the stack

// A place in a list of parts.
class Parts {
 public:
  Parts(const iovec* parts, size_t count) : next_(parts), end_(parts + count) { skip_empty(); }

  // The next parts, at most kParts, and how many bytes they have.
  size_t fill(iovec (&to)[kParts], size_t& bytes) const {
    size_t count = 0;
    bytes = 0;
    for (const iovec* part = next_; part != end_ && count < kParts; ++part, ++count) {
      const size_t done = part == next_ ? done_ : 0;
      to[count] = {static_cast<char*>(part->iov_base) + done, part->iov_len - done};
      bytes += to[count].iov_len;
    }
    return count;
  }
  void advance(size_t bytes) {
    while (bytes > 0) {
      const size_t some = std::min(bytes, next_->iov_len - done_);
      done_ += some;
      bytes -= some;
      skip_empty();
    }
  }

 private:
  void skip_empty() {
    for (; next_ != end_ && done_ == next_->iov_len; ++next_) done_ = 0;
  }

  const iovec* next_;
  const iovec* const end_;
  size_t done_ = 0;  // bytes of *next_
};

}  // namespace

int read_process_memory(uint32_t pid, const iovec* local, size_t local_parts, const iovec* remote,
                        size_t remote_parts) {
  Parts to(local, local_parts), from(remote, remote_parts);
  for (;;) {
    iovec some_local[kParts], some_remote[kParts];
    size_t room = 0, bytes = 0;
    const size_t n_local = to.fill(some_local, room);
    const size_t n_remote = from.fill(some_remote, bytes);
    if (room == 0 || bytes == 0) return 0;
    const ssize_t read =
        process_vm_readv(static_cast<pid_t>(pid), some_local, n_local, some_remote, n_remote, 0);
    if (read < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    // Linux reads less than was asked for at the first part that cannot be read; the next call says why.
    if (read == 0) return EFAULT;
    to.advance(static_cast<size_t>(read));
    from.advance(static_cast<size_t>(read));
  }
}

int probe_process_memory(uint32_t pid, uint64_t cookie_address, const uint8_t (&expected)[16]) {
  uint8_t found[sizeof expected];
  const iovec local{found, sizeof found};
  const iovec remote{reinterpret_cast<void*>(static_cast<uintptr_t>(cookie_address)), sizeof found};
  // At that address another process may have no memory at all.
  const int error = read_process_memory(pid, &local, 1, &remote, 1);
  if (error == EFAULT) return ESTALE;
  if (error != 0) return error;
  return std::memcmp(found, expected, sizeof expected) == 0 ? 0 : ESTALE;
}

uint64_t cost_of_reading(uint32_t pid, uint64_t cookie_address) {
  constexpr int kTries = 5;
  using Clock = std::chrono::steady_clock;
  uint64_t least = UINT64_MAX;
  uint8_t found[16];
  const iovec local{found, sizeof found};
  const iovec remote{reinterpret_cast<void*>(static_cast<uintptr_t>(cookie_address)), sizeof found};
  for (int i = 0; i < kTries; ++i) {
    const Clock::time_point begin = Clock::now();
    if (read_process_memory(pid, &local, 1, &remote, 1) != 0) return UINT64_MAX;
    least = std::min<uint64_t>(least, static_cast<uint64_t>((Clock::now() - begin) / std::chrono::nanoseconds(1)));
  }
  return least;
}

int ptrace_scope() {
  const int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char scope = '0';
  const bool known = read(fd, &scope, 1) == 1 && scope >= '0' && scope <= '3';
  close(fd);
  return known ? scope - '0' : 0;
}

bool allow_any_reader() {
  return ptrace_scope() == 1 && prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0) == 0;
}

void reset_readers() {
  prctl(PR_SET_PTRACER, 0, 0, 0, 0);
}

}  // namespace efa

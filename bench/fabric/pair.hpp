// Two processes with one endpoint on each NIC, and the operations between them.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace raw {

constexpr size_t kMaxNics = 32;
constexpr size_t kAddressBytes = 128;

struct Options {
  std::string pattern;
  std::string provider = "efa";
  size_t nics = 1;
  size_t min_size = 1, max_size = 4 << 20;
  int iterations = 1000, warmup = 50, window = 64;
  double seconds = 0;  // if set, the time for each size, instead of a number of iterations
  bool validate = false;
};

// Ends the process.
[[noreturn]] void die(const std::string& what);
void check(ssize_t result, const char* call);

// Memory that both processes map: what they exchange, and barriers.
struct Side {
  std::atomic<uint64_t> arrived{0};
  size_t address_bytes[kMaxNics];
  unsigned char address[kMaxNics][kAddressBytes];
  uint64_t base[kMaxNics];
  uint64_t key[kMaxNics];
  double taken;  // by the last run, seconds; that of process 0 is used
};
extern Side* sides;
extern int self;  // 0 or 1

void barrier();

// One NIC: endpoint, address vector, completion queue and the registered buffers.
struct Nic {
  fid_fabric* fabric = nullptr;
  fid_domain* domain = nullptr;
  fid_av* av = nullptr;
  fid_cq* cq = nullptr;
  fid_ep* ep = nullptr;
  fid_mr* out_mr = nullptr;
  fid_mr* in_mr = nullptr;
  fi_addr_t peer = 0;
  size_t inject = 0;
};

class Pair {
 public:
  explicit Pair(const Options& options);
  ~Pair();

  // Posts are retried while the provider has no room, and poll meanwhile.
  void send(size_t n, uint64_t tag) {
    over_parts(n, [&](Nic& nic, size_t offset, size_t length) {
      if (length <= nic.inject) {
        retry([&] { return fi_tinject(nic.ep, out + offset, length, nic.peer, tag); });
        return;
      }
      retry([&] { return fi_tsend(nic.ep, out + offset, length, desc(nic.out_mr), nic.peer, tag, nullptr); });
      posted_++;
    });
  }
  void receive(size_t n, uint64_t tag) {
    over_parts(n, [&](Nic& nic, size_t offset, size_t length) {
      retry(
          [&] { return fi_trecv(nic.ep, in + offset, length, desc(nic.in_mr), nic.peer, tag, 0, nullptr); });
      posted_++;
    });
  }
  void read(size_t n) {
    over_parts(n, [&](Nic& nic, size_t offset, size_t length) {
      const size_t k = static_cast<size_t>(&nic - nics_.data());
      retry([&] {
        return fi_read(nic.ep, in + offset, length, desc(nic.in_mr), nic.peer,
                       sides[1 - self].base[k] + offset, sides[1 - self].key[k], nullptr);
      });
      posted_++;
    });
  }
  void wait_all() {
    while (completed_ < posted_) poll();
  }
  // Waits for all operations, and makes progress for the peer until it is done too.
  void meet() {
    wait_all();
    const uint64_t step = sides[self].arrived.fetch_add(1) + 1;
    while (sides[1 - self].arrived.load() < step) poll();
  }

  unsigned char* out;
  unsigned char* in;

 private:
  template <typename Post>
  void over_parts(size_t n, Post post) {
    const size_t parts = n < nics_.size() * 4096 ? 1 : nics_.size();
    for (size_t k = 0; k < parts; k++) {
      const size_t begin = n * k / parts, end = n * (k + 1) / parts;
      post(nics_[k], begin, end - begin);
    }
  }
  template <typename Call>
  void retry(Call call) {
    for (;;) {
      const ssize_t result = call();
      if (result == 0) return;
      if (result != -FI_EAGAIN) check(result, "post");
      poll();
    }
  }
  void poll();
  static void* desc(fid_mr* mr) { return mr != nullptr ? fi_mr_desc(mr) : nullptr; }

  std::vector<Nic> nics_;
  fi_info* list_ = nullptr;
  size_t posted_ = 0, completed_ = 0;
  size_t bytes_;
};

}  // namespace raw

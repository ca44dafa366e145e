// For the verbs tests: a child process with its own device settings, and an endpoint of raw verbs in it.
//
// The device is created once per process from the environment, so each scenario runs in a forked child. There,
// EXPECT() replaces Catch2's macros: it prints what failed and ends the child; the parent checks the exit status.
#pragma once

#include <infiniband/efadv.h>
#include <infiniband/verbs.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#define EXPECT(condition)                                                                 \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      fprintf(stderr, "%s:%d: expectation failed: %s\n", __FILE__, __LINE__, #condition); \
      fflush(stderr);                                                                     \
      _exit(1);                                                                           \
    }                                                                                     \
  } while (0)

// Also shows both values.
#define EXPECT_EQ(left, right)                                                                              \
  do {                                                                                                      \
    const long long left_value = static_cast<long long>(left);                                              \
    const long long right_value = static_cast<long long>(right);                                            \
    if (left_value != right_value) {                                                                        \
      fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #left, left_value, right_value); \
      fflush(stderr);                                                                                       \
      _exit(1);                                                                                             \
    }                                                                                                       \
  } while (0)

namespace verbs_test {

using Environment = std::map<std::string, std::string>;

// A fabric directory of its own for each test; removed at the end.
class FabricDirectory {
 public:
  FabricDirectory();
  ~FabricDirectory();
  const std::string& path() const { return path_; }
  std::vector<std::string> files() const;           // that processes left, without the registry's own
  uint64_t counter(const std::string& name) const;  // over all NICs
  std::string log() const;                          // violations and faults so far

 private:
  std::string path_;
};

// Starts body() in a child with these EFASIM_* settings; finish() gives its exit status (128 + signal).
class Child {
 public:
  Child(const FabricDirectory& fabric, const Environment& environment, const std::function<void()>& body);
  int finish();
  void kill();

 private:
  pid_t pid_;
};

int run(const FabricDirectory& fabric, const Environment& environment, const std::function<void()>& body);

// One-way channel between processes, for addresses and "go".
class Pipe {
 public:
  Pipe();
  template <class T>
  void put(const T& value) const {
    EXPECT(write(fds_[1], &value, sizeof value) == static_cast<ssize_t>(sizeof value));
  }
  template <class T>
  T get() const {
    T value;
    EXPECT(read(fds_[0], &value, sizeof value) == static_cast<ssize_t>(sizeof value));
    return value;
  }

 private:
  int fds_[2];
};

// The address of an endpoint.
struct Address {
  uint8_t gid[16];
  uint32_t qpn;
  uint32_t qkey;
  uint32_t rkey;
  uint64_t buffer;
};

struct Options {
  unsigned nic = 0;
  ibv_qp_type type = IBV_QPT_DRIVER;
  uint32_t send_depth = 64, receive_depth = 64, cq_depth = 256;
  size_t buffer_size = 1 << 16;
  uint64_t operations = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM;
  int access = IBV_ACCESS_LOCAL_WRITE;
  uint8_t rnr_retry = 7;
  ibv_comp_channel* (*channel)(ibv_context*) = nullptr;
  uint16_t qp_flags = 0;
  bool up = true;  // bring it to RTS
};

inline constexpr uint64_t kAllRdma = uint64_t{IBV_QP_EX_WITH_SEND} | IBV_QP_EX_WITH_SEND_WITH_IMM |
                                     IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_RDMA_WRITE |
                                     IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM;
inline constexpr int kAllAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;

struct Result {
  uint64_t wr_id;
  int status;  // the device's own (vendor_err)
  int verbs_status;
  ibv_wc_opcode opcode;
  uint32_t length;
  uint32_t imm;
  unsigned flags;
  uint32_t slid;
};

class Endpoint {
 public:
  explicit Endpoint(const Options& options = {});
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  Address address() const;
  ibv_ah* reach(const Address& peer);  // an address handle, freed with the endpoint
  int modify(ibv_qp_state state);

  int post_receive(uint64_t wr_id, uint64_t offset, uint32_t length);
  int post_receive(uint64_t wr_id, const ibv_sge& sge);
  ibv_sge piece(uint64_t offset, uint32_t length) const;
  // All post one work request and ring the doorbell; they return wr_complete()'s value.
  int send(uint64_t wr_id, ibv_ah* ah, const Address& peer, const ibv_sge& sge);
  int send(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length);
  int send_imm(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length, uint32_t imm);
  int send_inline(uint64_t wr_id, ibv_ah* ah, const Address& peer, const void* data, size_t length);
  int read(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length, uint64_t remote_offset);
  int write(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length, uint64_t remote_offset);
  int write_imm(uint64_t wr_id, ibv_ah* ah, const Address& peer, uint64_t offset, uint32_t length,
                uint64_t remote_offset, uint32_t imm);

  // Waits for the next completion; ends the test if none comes within 20 s.
  Result wait();
  bool poll(Result* result);  // polls once
  // Polls for `ms` milliseconds and expects no completion.
  void expect_silence(unsigned ms);

  ibv_context* context = nullptr;
  ibv_pd* pd = nullptr;
  ibv_cq_ex* cq = nullptr;
  ibv_comp_channel* channel = nullptr;
  ibv_qp* qp = nullptr;
  ibv_qp_ex* qpx = nullptr;
  ibv_mr* mr = nullptr;
  std::vector<unsigned char> buffer;

 private:
  uint32_t qkey_;
  uint8_t rnr_retry_;
  std::vector<ibv_ah*> handles_;
};

// A pattern that differs from every shifted copy of itself.
void fill(unsigned char* data, size_t size, unsigned seed);
bool matches(const unsigned char* data, size_t size, unsigned seed);

}  // namespace verbs_test

// The objects behind the verbs handles, and the process's device. The verbs_*.cpp files create and destroy them
// (control path); queue_pair.cpp, queue_pair_progress.cpp, receive.cpp and rdma.cpp move data.
//
// Locks, in the order in which they may be taken: Cq::poll_lock, Qp::lock, Cq::lock. Every handle begins with
// the struct that the verbs headers' inline functions see.
#pragma once

#include <infiniband/efadv.h>
#include <infiniband/verbs.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric.hpp"
#include "faults.hpp"
#include "log.hpp"
#include "profile.hpp"
#include "ring.hpp"
#include "settings.hpp"
#include "status.hpp"

namespace efasim {

inline uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Usually held for less than a microsecond; yields, because there may be more threads than cores.
class SpinLock {
 public:
  bool try_lock() { return !held_.exchange(true, std::memory_order_acquire); }
  void lock() {
    for (unsigned spins = 0; !try_lock(); spins++) {
      if (spins % 64 == 63) sched_yield();
    }
  }
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

struct Qp;

// ---- one opened NIC ----

struct Context {
  verbs_context verbs{};
  unsigned nic_index = 0;    // on this node
  uint32_t nic_id = kNoNic;  // in the fabric
  NicEntry* nic = nullptr;
  FaultInjector* faults = nullptr;
  std::mutex mutex;  // of what follows
  unsigned num_cqs = 0;
  std::vector<struct AhSlot*> handles;         // by ahn
  std::atomic<uint16_t> ahn_of_nic[kMaxNics];  // reported as `slid` of a receive; kNoAhn if there is no handle

  static constexpr uint16_t kNoAhn = 0xffff;
  static Context& of(ibv_context* context) {
    return *reinterpret_cast<Context*>(reinterpret_cast<char*>(context) - offsetof(verbs_context, context));
  }
};

struct Pd {
  ibv_pd ibv{};
  uint32_t id = 0;
  std::atomic<unsigned> users{0};  // memory regions, address handles, queue pairs
  static Pd& of(ibv_pd* pd) { return *reinterpret_cast<Pd*>(pd); }
};

// One number per peer GID and context, as in hardware; several ibv_ah share it.
struct AhSlot {
  uint8_t gid[16];
  unsigned users = 0;
  uint32_t nic_id = kNoNic;  // kNoNic: no NIC had that address when the handle was created
};

struct Ah {
  ibv_ah ibv{};
  uint16_t number = 0;
  AhSlot* slot = nullptr;
  static Ah& of(ibv_ah* ah) { return *reinterpret_cast<Ah*>(ah); }
};

struct Mr {
  ibv_mr ibv{};
  uint32_t index = 0;
  static Mr& of(ibv_mr* mr) { return *reinterpret_cast<Mr*>(mr); }
};

// ---- completion queue ----

struct Completion {
  uint64_t wr_id;
  uint32_t qp_num;
  uint32_t source_qp;
  uint32_t length;
  uint32_t imm;
  uint32_t source_nic;
  uint16_t source_ahn;
  Status status;
  bool receive;
  bool rdma_write;
  bool has_imm;
  bool unsolicited;
};

struct Channel {
  ibv_comp_channel ibv{};
  int write_fd = -1;
  static Channel& of(ibv_comp_channel* channel) { return *reinterpret_cast<Channel*>(channel); }
};

struct Cq {
  ibv_cq_ex ex{};  // must be first: also an ibv_cq
  struct {
    efadv_cq table{};  // must be first
    Cq* cq = nullptr;
  } efadv;
  SpinLock poll_lock;  // from start_poll to end_poll, and while `qps` changes
  std::vector<Qp*> qps;
  Completion current{};
  unsigned idle_polls = 0;         // in a row
  std::atomic<uint64_t> polls{0};  // that found nothing ready; shows the engine whether the program polls
  std::atomic<int> users{0};
  std::atomic<bool> armed{false};  // the next completion generates an event
  std::atomic<bool> overrun{false};

  bool push(const Completion& completion);  // false: no room
  bool pop(Completion* completion);
  void forget(uint32_t qp_num);  // drops the completions of a destroyed queue pair
  void allocate(unsigned entries) { ring_.resize(entries); }

  static Cq& of(ibv_cq* cq) { return *reinterpret_cast<Cq*>(cq); }
  static Cq& of(ibv_cq_ex* cq) { return *reinterpret_cast<Cq*>(cq); }

 private:
  SpinLock lock_;
  std::vector<Completion> ring_;
  size_t head_ = 0;
  std::atomic<size_t> count_{0};
};

// ---- queue pair ----

constexpr unsigned kMaxInline = 64;
constexpr unsigned kMaxSge = 2;

enum class SendOp : uint8_t { kSend, kSendImm, kRead, kWrite, kWriteImm };

// A work request of the send queue, from post to completion.
struct SendWr {
  uint64_t wr_id;
  uint32_t sequence;  // distinguishes uses of the slot in acknowledgements; 0 = free
  SendOp op;
  uint8_t num_sge;
  uint8_t retries;  // RNR so far
  bool is_inline;
  bool at_peer;    // packets of it are in a peer's ring
  Status forced;   // the answer, if a fault decides it
  uint32_t epoch;  // number of the housekeeping when it was sent: its age, without reading a clock
  uint32_t length;
  uint32_t imm;
  uint32_t nic_id;
  uint32_t qpn;
  uint32_t qkey;
  uint32_t rkey;
  uint64_t remote_address;
  uint64_t ack_due;    // link model: when the acknowledgement arrives; 0 without one
  uint64_t moved;      // RDMA: bytes copied (by cross-memory attach) or sent (in packets)
  uint64_t confirmed;  // RDMA in packets: bytes acknowledged or received
  Status failed;       // RDMA in packets: first error, reported when no packet is in flight any more
  uint32_t in_flight;  // RDMA in packets
  RemoteQp* remote;
  ibv_sge sge[kMaxSge];
  unsigned char inline_data[kMaxInline];
};

struct ReceiveWr {
  uint64_t wr_id;
  uint32_t num_sge;
  ibv_sge sge[kMaxSge];
};

struct Qp {
  ibv_qp_ex ex{};  // must be first: also an ibv_qp
  Context* context = nullptr;
  Pd* pd = nullptr;
  OwnQp own;
  bool is_ud = false;
  bool unsolicited_write_recv = false;
  uint64_t send_ops = 0;  // enum ibv_qp_create_send_ops_flags; what the creator asked for
  uint32_t max_inline = 0, max_send_sge = 0, max_recv_sge = 0;
  uint32_t rnr_retry = 7;   // 7: unlimited
  uint64_t polls_seen = 0;  // polls of both completion queues when the engine last checked
  SpinLock lock;            // protects all that follows, except work_visible()

  // verbs_qp.cpp: state
  void allocate(uint32_t send_depth, uint32_t receive_depth);
  bool usable_for_send() const { return ex.qp_base.state == IBV_QPS_RTS; }

  // queue_pair.cpp: posting and sending; the lock is held
  void wr_begin();
  SendWr* wr_next(SendOp op);
  void wr_fail(int error) { batch_error_ = batch_error_ ? batch_error_ : error; }
  SendWr* wr_current() { return batch_current_; }
  int wr_end();
  void wr_discard();
  int post_receive(const ibv_recv_wr& wr);
  uint32_t outstanding() const { return outstanding_.load(std::memory_order_relaxed); }
  void violation(const char* what, uint64_t a = 0, uint64_t b = 0);

  // queue_pair_progress.cpp
  // Any thread may call it; does nothing if another thread is in it. `by_engine`: the program does not poll.
  void progress(bool by_engine);
  // When the engine must check again without being woken; ~0: never. The lock is held.
  uint64_t next_due() const;
  uint64_t cut_off_since(const SendWr& wr) const;  // when its own or its peer's link went down; 0: both are up
  void housekeeping();  // every kHousekeepingNs: looks for dead peers; the lock is held
  void flush();         // all outstanding work requests complete with kFlushed; the lock is held

  // receive.cpp
  void receive();
  void reject_all(Status status);  // answers the packets in the ring when the queue pair is destroyed

  static Qp& of(ibv_qp* qp) { return *reinterpret_cast<Qp*>(qp); }
  static Qp& of(ibv_qp_ex* qp) { return *reinterpret_cast<Qp*>(qp); }

 private:
  enum class TimerAction : uint8_t { kResend, kComplete };
  struct Timer {
    uint64_t due;
    uint32_t index;
    uint32_t sequence;
    TimerAction action;
    Status status;
    bool operator<(const Timer& other) const { return due > other.due; }  // for a min-heap
  };
  struct Delayed {
    uint64_t due;
    uint64_t position;
    bool operator<(const Delayed& other) const {
      return due != other.due ? due > other.due : position > other.position;
    }
  };
  struct PendingRead {  // a peer's RDMA read in packets that waits for room in the peer's ring
    RemoteQp* remote;
    PacketHeader request;
  };

  // queue_pair.cpp
  void start(uint32_t index);
  bool send_packet(uint32_t index);  // false: the peer's ring is full, try again
  Status resolve(SendWr& wr);
  RemoteQp* remote_of(uint32_t nic_id, uint32_t qpn);
  bool inject_fault(uint32_t index);
  void fill_header(const SendWr& wr, uint32_t index, PacketHeader* header);
  uint64_t arrival(NicEntry& destination, uint64_t bytes);
  void complete(uint32_t index, Status status);
  void push_completion(Cq& cq, const Completion& completion);
  void make_runnable(uint32_t index) { runnable_.push_back({index, send_[index].sequence}); }
  void release_lock();  // stores in `local_work_` whether there is work; progress() reads it without the lock
  bool gather(SendWr& wr, unsigned char* to, uint64_t offset, uint64_t length);
  const MrEntry* check_local(const ibv_sge& sge, unsigned access);

  // queue_pair_progress.cpp
  bool work_visible() const;
  void take_acks();
  void acknowledged(uint32_t index, uint32_t sequence, Status status);
  void run_timers();
  void run_pending();
  void add_timer(uint64_t due, uint32_t index, TimerAction action, Status status);

  // receive.cpp
  void deliver(PacketSlot& slot);
  Status deliver_message(const PacketSlot& slot);
  void acknowledge(const PacketHeader& header, Status status);
  void count_order(const PacketHeader& header);

  // rdma.cpp
  bool rdma_step(uint32_t index);  // false: needs another step
  bool rdma_copy(SendWr& wr, uint64_t length, Status* status);
  bool rdma_packets(uint32_t index);
  void rdma_finish(uint32_t index, Status status);
  void rdma_acknowledged(uint32_t index, uint64_t bytes, Status status);
  Status store_write(const PacketSlot& slot);
  Status serve_read(RemoteQp* remote, const PacketHeader& request, bool* blocked);
  void take_read_response(const PacketSlot& slot);

  Ring ring_;
  uint64_t scan_ = 0;  // next position of the ring to read
  std::vector<SendWr> send_;
  std::vector<uint32_t> free_;
  std::atomic<uint32_t> outstanding_{0};
  std::atomic<bool> local_work_{false};  // something below waits for time or room
  uint32_t next_sequence_ = 1;
  uint32_t packet_sequence_ = 0;
  std::vector<ReceiveWr> receives_;  // a ring
  uint32_t receive_head_ = 0, receive_count_ = 0;
  std::vector<uint32_t> batch_;
  SendWr* batch_current_ = nullptr;
  int batch_error_ = 0;
  struct Runnable {
    uint32_t index, sequence;
  };
  std::deque<Runnable> runnable_;  // send work requests that wait for room in a ring, or RDMA under way
  std::vector<Timer> timers_;      // heap
  std::vector<Delayed> delayed_;   // heap: packets read from the ring whose time of arrival has not come yet
  std::deque<PendingRead> pending_reads_;
  struct AuxAck {
    uint32_t index, sequence, wr_sequence, length;
  };
  AuxAck aux_[kAuxAcks] = {};
  uint64_t aux_free_ = ~uint64_t{0};
  static constexpr unsigned kRemoteCache = 256;
  RemoteQp* remotes_[kRemoteCache] = {};
  uint32_t last_sequence_[kRemoteCache] = {};  // by sender, to count reordering
  uint32_t last_sender_[kRemoteCache] = {};
  uint32_t epoch_ = 0;
  bool reported_full_ = false;
};

constexpr uint64_t kHousekeepingNs = 20'000'000;

// ---- the process ----

struct Process {
  Settings settings;
  Profile profile;
  std::unique_ptr<Fabric> fabric;
  std::vector<ibv_device> devices;
  std::mutex qps_mutex;  // of qps
  std::vector<Qp*> qps;
  std::atomic<uint32_t> next_pd{1};
  pid_t pid = 0;
  // exit() has begun, and the process has left the fabric. Destructors that run after that, such as libfabric's, may free
  // what a program that did not close its endpoints still uses: refused as by the kernel, but no error of the program.
  std::atomic<bool> exiting{false};

  // Created at the first use of any verb. Null: no device; the reason is in errno and in the log.
  static Process* get() {
    Process* process = current_.load(std::memory_order_acquire);
    return process != nullptr ? process : create();
  }

 private:
  static Process* create();
  static inline std::atomic<Process*> current_{nullptr};
};

// Registered memory (verbs_memory.cpp). A key is valid for [address, address + length) of the process, with these
// access rights, on this NIC and protection domain.
const MrEntry* find_mr(const ProcShared& proc, uint32_t key, uint64_t address, uint64_t length, unsigned access,
                       uint32_t nic, uint32_t pd);

// engine.cpp: the device's own thread, started with the first queue pair.
void engine_start();
void engine_stop();
// Wakes the engine of a queue pair that the program does not poll.
void wake_slow(RemoteQp& remote);
inline void wake(RemoteQp& remote) {
  if (remote.shared->want_wake.load(std::memory_order_relaxed)) wake_slow(remote);
}

}  // namespace efasim

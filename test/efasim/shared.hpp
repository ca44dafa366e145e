// What processes share: the layouts of the files in the fabric's directory. They contain plain data and atomics
// without pointers, because each process maps the files at its own address. Nothing here owns anything.
//
//   fabric                 the registry: processes, NICs of all nodes, their queue pairs and counters
//   lock                   flock()ed while the registry changes
//   proc.SLOT              one per process: doorbell and table of memory regions; its owner holds a record lock
//   qp.NIC.QPN.GENERATION  one per queue pair: acknowledgements, and the ring that its peers put packets into
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "counters.hpp"

namespace efasim {

constexpr uint64_t kMagic = 0x3330306d73616665;  // "efasm003": changes with any layout below
constexpr unsigned kMaxProcs = 2048;
constexpr unsigned kMaxNics = 512;   // of all nodes together
constexpr unsigned kMaxQps = 1024;   // per NIC; a power of two, as the provider indexes a table with the QPN
constexpr unsigned kMaxMrs = 65536;  // per process
constexpr unsigned kNoNic = 0xffffffff;

// ---- fabric ----

enum class SlotState : uint32_t { kFree = 0, kLive = 1, kDead = 2 };

struct ProcEntry {
  std::atomic<SlotState> state;
  uint32_t pid;            // in the process's own PID namespace
  uint64_t pid_namespace;  // inode of that namespace: `pid` is valid only in the same namespace
  uint64_t generation;     // grows with each use of the slot
};

// A queue pair in its NIC's table; the index is the QPN. Its counters outlive it until the QPN is used again.
struct alignas(64) QpEntry {
  std::atomic<SlotState> state;
  std::atomic<uint32_t> generation;
  std::atomic<uint32_t> receiving;  // 1 in states RTR and RTS: packets are accepted
  std::atomic<uint32_t> qkey;
  uint32_t proc;
  uint32_t is_ud;
  uint32_t pd;
  alignas(64) Counters counters;
};

struct NicEntry {
  std::atomic<SlotState> state;
  uint32_t index;  // on its node
  char node[64];
  char name[32];
  char profile[32];
  uint8_t gid[16];
  std::atomic<uint32_t> dead;       // a fault killed it
  std::atomic<uint32_t> not_ready;  // on request: it answers every message with receiver not ready
  std::atomic<uint64_t> link_down_since;  // CLOCK_MONOTONIC ns; 0: the link is up. Nothing enters or leaves meanwhile
  uint32_t next_qpn;
  // Link model: when the line is free again in each direction, CLOCK_MONOTONIC ns; and packets so far, for rules.
  alignas(64) std::atomic<uint64_t> tx_free;
  alignas(64) std::atomic<uint64_t> rx_free;
  alignas(64) std::atomic<uint64_t> packets;
  Counters retired;  // of queue pairs whose QPN was reused; written under the registry's lock
  QpEntry qps[kMaxQps];
};

struct FabricShared {
  std::atomic<uint64_t> magic;
  uint64_t next_generation;
  ProcEntry procs[kMaxProcs];
  NicEntry nics[kMaxNics];
};

// ---- proc.SLOT ----

// A memory region. Valid while key != 0. `users` counts transfers by peers that are in progress: deregistration waits
// for them, as that of the hardware does.
struct MrEntry {
  std::atomic<uint32_t> key;  // lkey and rkey: generation << 16 | index
  std::atomic<uint32_t> users;
  uint64_t address;
  uint64_t length;
  uint32_t access;  // ibv_access_flags
  uint32_t pd;
  uint32_t nic;
  uint32_t unused;
};

struct ProcShared {
  std::atomic<uint64_t> magic;
  uint64_t generation;
  uint64_t probe_address;  // where in its memory the process keeps `generation`: peers test cross-memory attach
  // The engine sleeps on doorbell, a futex. A peer rings it after it has put something into a queue pair with
  // want_wake.
  alignas(64) std::atomic<uint32_t> doorbell;
  std::atomic<uint32_t> wake_on_ack;
  // Address handles that this process has for a NIC, per NIC of its own node (by index modulo 32).
  alignas(64) std::atomic<uint16_t> handles[32][kMaxNics];
  alignas(64) MrEntry mrs[kMaxMrs];
};

// ---- qp.NIC.QPN.GENERATION ----

enum class PacketOp : uint16_t { kSend, kSendImm, kWriteImm, kReadRequest, kReadResponse, kWriteData };

// What precedes the payload in a slot of the ring: 64 bytes, so that the payload starts at a cache line.
struct PacketHeader {
  uint64_t due;     // CLOCK_MONOTONIC ns of arrival by the link model; 0 without one
  uint32_t length;  // bytes of payload
  uint32_t imm;     // immediate data, as the program gave it
  uint32_t qkey;
  uint32_t source_generation;
  uint16_t source_nic;
  uint16_t source_qpn;
  PacketOp op;
  uint16_t ack_index;  // where the sender expects the acknowledgement
  uint32_t ack_sequence;
  uint32_t sequence;        // of the sender's queue pair, to count reordering
  uint64_t remote_address;  // RDMA only; for kReadResponse the offset within the work request
  uint32_t rkey;
  uint32_t remote_length;
};

constexpr unsigned kMaxMtu = 8960;
constexpr unsigned kUdPrefix = 40;  // bytes before a received datagram, as InfiniBand's GRH

struct alignas(64) PacketSlot {
  std::atomic<uint64_t> state;  // see ring.hpp
  PacketHeader header;
  alignas(64) unsigned char payload[kMaxMtu];
};
static_assert(sizeof(PacketHeader) == 56 && offsetof(PacketSlot, payload) == 64, "state and header fill a cache line");

constexpr unsigned kMaxSendDepth = 4096;
constexpr unsigned kAuxAcks = 64;  // for RDMA in packets, beside one per send work request
constexpr unsigned kAckWords = (kMaxSendDepth + kAuxAcks) / 64;

struct alignas(64) QpShared {
  std::atomic<uint64_t> magic;
  uint32_t ring_slots;  // a power of two
  // Set by the engine before it sleeps if the program does not poll; cleared by the peer that rings.
  std::atomic<uint32_t> want_wake;
  alignas(64) std::atomic<uint64_t> tail;
  // An acknowledgement writes its word in `acks`, then sets its bit in `ack_bits`. A process killed between the two has
  // not acknowledged.
  alignas(64) std::atomic<uint64_t> ack_bits[kAckWords];
  alignas(64) std::atomic<uint64_t> acks[kAckWords * 64];  // sequence << 8 | status
  // ring_slots of PacketSlot follow.
  PacketSlot* slots() { return reinterpret_cast<PacketSlot*>(this + 1); }
};

inline size_t qp_file_size(unsigned ring_slots) { return sizeof(QpShared) + size_t{ring_slots} * sizeof(PacketSlot); }

}  // namespace efasim

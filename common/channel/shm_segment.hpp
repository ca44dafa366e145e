// The memory of the shm channel: each process has one segment, in which it receives.
//
//   page(s)   ShmHeader: what the segment is, doorbells, slots
//   rings     kShmSlots of them, each at a multiple of the page size; slot i has ring i
//
// The segment is a memfd: it has no name, and the system frees it when the last process that has it open or mapped
// ends, however it ends. It is sparse: only pages that were touched take memory. Its mode is 0600. A peer opens it as
// /proc/PID/fd/FD, for which Linux demands the same user, as for a debugger that reads (a dumpable process; Yama does not
// matter). The segment's size is sealed, so no peer can shrink it under another's feet.
//
// The address is published in the process's card. It contains a random cookie, so that a process with the same number in
// another PID namespace, or a later process with the same number, is not mistaken for the peer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "channel/shm_ring.hpp"

namespace efa {

constexpr uint32_t kShmSlots =
    1024;  // processes that can ever send to one process; at most 64 * 64: ShmDoorbells

// Which process, and its segment. A part of the card, so of the wire format. All zero: none.
struct ShmAddress {
  uint32_t pid;
  uint32_t fd;
  uint64_t pid_namespace;   // inode
  uint64_t cookie_address;  // where the process has its cookie: process_memory.hpp
  uint8_t boot_id[16];      // /proc/sys/kernel/random/boot_id
  uint8_t cookie[16];
};
static_assert(sizeof(ShmAddress) == 56 && std::is_trivially_copyable_v<ShmAddress>);
static_assert(offsetof(ShmAddress, boot_id) == 24 && offsetof(ShmAddress, cookie) == 40);

// What failed: a call or a check, and an errno value.
//   EXDEV    another node, or another PID namespace       ESTALE  another process than the address says
//   EINVAL   not such a segment, or of another version    ENOSPC  all slots are taken
struct ShmFailure {
  const char* call = nullptr;  // static text
  int error = 0;
};

// Bytes of address space of a segment; most are never touched.
uint64_t shm_segment_size();

// Whether the peer's process can be on this node, in this PID namespace; connecting tells whether it is.
bool same_node_possible(const ShmAddress& peer);

// How a sender says that there is a packet in a ring that is not hot. Bit i % 64 of word i / 64 is ring i's; the
// receiver looks at `words` only, bit w of which says that rung[w] may be nonzero.
struct ShmDoorbells {
  uint64_t words;
  uint64_t rung[kShmSlots / 64];
};
static_assert(kShmSlots % 64 == 0 && kShmSlots <= 64 * 64);

struct ShmSlot {
  uint64_t uid;    // the sender's, as it says
  uint32_t ready;  // 1: uid is set
  uint32_t unused;
};

struct ShmHeader {
  uint64_t magic;
  uint32_t layout;
  uint32_t slot_count;
  uint64_t ring_stride;  // bytes from one ring to the next
  uint64_t size;         // bytes
  uint8_t cookie[16];
  alignas(128) uint32_t slots_used;  // may be more than kShmSlots
  alignas(128) ShmDoorbells doorbells;
  alignas(128) ShmSlot slots[kShmSlots];
};

// A mapping of a file.
class ShmMapping {
 public:
  ShmMapping() = default;
  ~ShmMapping();
  ShmMapping(const ShmMapping&) = delete;
  ShmMapping& operator=(const ShmMapping&) = delete;
  bool map(int fd, uint64_t offset, uint64_t size, ShmFailure& failure);
  void unmap();
  char* data() const { return data_; }

 private:
  char* data_ = nullptr;
  uint64_t size_ = 0;
};

// This process's segment.
class ShmSegment {
 public:
  ShmSegment() = default;
  ~ShmSegment() { close(); }
  ShmSegment(const ShmSegment&) = delete;
  ShmSegment& operator=(const ShmSegment&) = delete;

  bool open(ShmFailure& failure);
  void close();
  bool is_open() const { return fd_ >= 0; }
  const ShmAddress& address() const { return address_; }  // all zero unless open
  ShmHeader* header() const { return header_; }
  ShmRing* ring(uint32_t slot) const;  // slot < kShmSlots

 private:
  int fd_ = -1;
  ShmMapping mapping_;
  ShmHeader* header_ = nullptr;
  ShmAddress address_{};
};

// A slot in the segment of a peer, and its ring: mapped are the header and this ring.
class ShmClaim {
 public:
  // `uid`: this process's. Takes a slot for ever, even if it fails after that.
  bool claim(const ShmAddress& peer, uint64_t uid, ShmFailure& failure);
  ShmHeader* header() const { return reinterpret_cast<ShmHeader*>(header_.data()); }
  ShmRing* ring() const { return reinterpret_cast<ShmRing*>(ring_.data()); }
  uint32_t slot() const { return slot_; }

 private:
  ShmMapping header_, ring_;
  uint32_t slot_ = 0;
};

}  // namespace efa

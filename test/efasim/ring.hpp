// The packet ring of a queue pair: many senders in many processes, one receiver, in shared memory. A sender that is
// killed at any instruction neither blocks the others for long nor corrupts the ring.
//
// Contract
// - claim() may be called by any process and thread; it returns a position, or kFull.
// - publish() makes the claimed packet visible; only the claimer may call it, once.
// - The receiver reads positions in order (ready(), claimed_by()) and may free them in any order (release()).
// - A claimed position whose owner died is freed by the receiver with release() like any other.
//
// Each slot holds the position it serves: (position << 32 | owner << 8 | phase). A claim is one compare-and-swap on
// the slot, which records the owner at the same time. The tail is only a hint; any sender that finds it behind
// advances it. So the owner of every claimed slot is known, also if it died.
#pragma once

#include <cstdint>

#include "shared.hpp"

namespace efasim {

class Ring {
 public:
  static constexpr uint64_t kFull = ~uint64_t{0};

  Ring() = default;
  explicit Ring(QpShared* shared) : shared_(shared), slots_(shared->slots()), mask_(shared->ring_slots - 1) {}

  // Initializes a zeroed segment before any peer can see it.
  static void initialize(QpShared* shared, unsigned slots) {
    shared->ring_slots = slots;
    for (unsigned i = 0; i < slots; i++) {
      shared->slots()[i].state.store(word(i, 0, kFree), std::memory_order_relaxed);
    }
  }

  PacketSlot& slot(uint64_t position) const { return slots_[position & mask_]; }

  uint64_t claim(unsigned owner) {
    uint64_t position = shared_->tail.load(std::memory_order_relaxed);
    for (;;) {
      std::atomic<uint64_t>& state = slot(position).state;
      uint64_t expected = word(position, 0, kFree);
      if (state.compare_exchange_strong(expected, word(position, owner, kClaimed), std::memory_order_acquire)) {
        advance_tail(position);
        return position;
      }
      const uint32_t found = static_cast<uint32_t>(expected >> 32);
      const int32_t ahead = static_cast<int32_t>(found - static_cast<uint32_t>(position));
      if (ahead < 0) return kFull;  // still holds the packet of the previous lap
      advance_tail(position);
      const uint64_t tail = shared_->tail.load(std::memory_order_relaxed);
      position = tail > position ? tail : position + 1;
    }
  }

  // A full barrier: the caller checks next whether the receiver sleeps.
  void publish(uint64_t position) {
    slot(position).state.exchange(word(position, 0, kReady), std::memory_order_seq_cst);
  }

  bool ready(uint64_t position) const {
    return slot(position).state.load(std::memory_order_acquire) == word(position, 0, kReady);
  }

  // The process that claimed a position and has not published it; -1 if there is none.
  int claimed_by(uint64_t position) const {
    const uint64_t state = slot(position).state.load(std::memory_order_acquire);
    if (static_cast<uint32_t>(state >> 32) != static_cast<uint32_t>(position) || (state & 0xff) != kClaimed) return -1;
    return static_cast<int>(state >> 8 & 0xffffff);
  }

  void release(uint64_t position) {
    slot(position).state.store(word(position + mask_ + 1, 0, kFree), std::memory_order_release);
  }

 private:
  enum Phase : uint64_t { kFree = 0, kClaimed = 1, kReady = 2 };

  static uint64_t word(uint64_t position, uint64_t owner, Phase phase) { return position << 32 | owner << 8 | phase; }

  void advance_tail(uint64_t position) {
    shared_->tail.compare_exchange_strong(position, position + 1, std::memory_order_relaxed);
  }

  QpShared* shared_ = nullptr;
  PacketSlot* slots_ = nullptr;
  uint64_t mask_ = 0;
};

}  // namespace efasim

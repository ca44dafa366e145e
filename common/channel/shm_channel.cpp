// The shm channel: connecting, doorbells, and which rings are hot.
#include "channel/shm_channel.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>
#include <utility>

namespace efa {

ShmSender::ShmSender(std::unique_ptr<ShmClaim> claim)
    : producer_(claim->ring()), hot_(&claim->ring()->hot), claim_(std::move(claim)) {}

// The bit is looked at first: while the receiver does not poll, further packets need not write that line.
void ShmSender::ring_doorbell() {
  ShmDoorbells& doorbells = claim_->header()->doorbells;
  const uint32_t word = claim_->slot() / 64;
  const uint64_t bit = uint64_t{1} << claim_->slot() % 64;
  std::atomic_ref rung(doorbells.rung[word]);
  if (rung.load(std::memory_order_relaxed) & bit) return;
  rung.fetch_or(bit, std::memory_order_release);
  std::atomic_ref(doorbells.words).fetch_or(uint64_t{1} << word, std::memory_order_release);
}

bool ShmChannel::open(ShmFailure& failure) {
  close();
  sources_.reset(new (std::nothrow) std::unique_ptr<ShmSource>[kShmSlots]);
  if (sources_ == nullptr) {
    failure = {"malloc", ENOMEM};
    return false;
  }
  if (!segment_.open(failure)) return false;
  doorbells_ = &segment_.header()->doorbells;
  return true;
}

void ShmChannel::close() {
  segment_.close();
  sources_.reset();
  doorbells_ = nullptr;
  hot_count_ = waiting_count_ = 0;
  std::fill(std::begin(waiting_), std::end(waiting_), 0);
  std::fill(std::begin(dropped_), std::end(dropped_), 0);
  waiting_from_ = swept_ = ticks_ = 0;
  countdown_ = kShmTickPolls;
}

ShmSender* ShmChannel::connect(const ShmAddress& peer, uint64_t own_uid, ShmFailure& failure) {
  std::unique_ptr<ShmClaim> claim(new (std::nothrow) ShmClaim);
  if (claim == nullptr) {
    failure = {"malloc", ENOMEM};
    return nullptr;
  }
  if (!claim->claim(peer, own_uid, failure)) return nullptr;
  auto* const sender = new (std::nothrow) ShmSender(std::move(claim));
  if (sender == nullptr) failure = {"malloc", ENOMEM};
  return sender;
}

void ShmChannel::disconnect(ShmSender* sender) {
  delete sender;
}

// Runs no handler, so nothing that is taken out of the doorbells is known here only while one runs.
void ShmChannel::answer_doorbells() {
  uint64_t words = std::atomic_ref(doorbells_->words).exchange(0, std::memory_order_acquire);
  if constexpr (kShmSlots < 64 * 64) words &= (uint64_t{1} << kShmSlots / 64) - 1;
  for (; words != 0; words &= words - 1) {
    const auto word = static_cast<uint32_t>(std::countr_zero(words));
    uint64_t rings = std::atomic_ref(doorbells_->rung[word]).exchange(0, std::memory_order_acquire);
    for (; rings != 0; rings &= rings - 1) {
      ShmSource* const source = source_of(word * 64 + static_cast<uint32_t>(std::countr_zero(rings)));
      if (source != nullptr && !source->hot) admit(*source);
    }
  }
}

// nullptr: nobody has claimed the slot, its ring is broken, or there is no memory; then the sweep tries again.
ShmSource* ShmChannel::source_of(uint32_t slot) {
  if (is_dropped(slot)) return nullptr;
  if (sources_[slot] == nullptr) {
    ShmSlot& its = segment_.header()->slots[slot];
    if (std::atomic_ref(its.ready).load(std::memory_order_acquire) != 1) return nullptr;
    const uint64_t uid = std::atomic_ref(its.uid).load(std::memory_order_relaxed);
    sources_[slot].reset(new (std::nothrow) ShmSource(slot, uid, segment_.ring(slot)));
  }
  return sources_[slot].get();
}

// There may be packets in a ring that is not hot.
void ShmChannel::admit(ShmSource& source) {
  if (hot_count_ == kMostHotRings) {
    const auto idle = std::find_if(hot_, hot_ + hot_count_, [](const ShmSource* it) { return !it->active; });
    if (idle == hot_ + hot_count_) {
      begin_waiting(source);
      return;
    }
    make_cold(static_cast<uint32_t>(idle - hot_));
  }
  make_hot(source);
}

void ShmChannel::make_hot(ShmSource& source) {
  source.hot = source.active = true;
  source.consumer.make_hot();
  hot_[hot_count_++] = &source;
}

void ShmChannel::make_cold(uint32_t position) {
  ShmSource& source = *hot_[position];
  hot_[position] = hot_[--hot_count_];
  source.hot = false;
  source.consumer.make_cold();
  // A packet that the sender put while it still saw a hot ring.
  if (source.consumer.has_something() && !is_dropped(source.slot)) begin_waiting(source);
}

// The ring is polled in the next poll, and in each one after that until it was found empty.
void ShmChannel::begin_waiting(ShmSource& source) {
  uint64_t& word = waiting_[source.slot / 64];
  const uint64_t bit = uint64_t{1} << source.slot % 64;
  if ((word & bit) == 0) ++waiting_count_;
  word |= bit;
  countdown_ = 1;
}

void ShmChannel::end_waiting(ShmSource& source) {
  uint64_t& word = waiting_[source.slot / 64];
  const uint64_t bit = uint64_t{1} << source.slot % 64;
  if ((word & bit) != 0) --waiting_count_;
  word &= ~bit;
}

// The next one in a circle. waiting_count_ > 0.
uint32_t ShmChannel::next_waiting() {
  uint32_t word = waiting_from_ / 64;
  uint64_t bits = waiting_[word] & ~uint64_t{0} << waiting_from_ % 64;
  while (bits == 0) bits = waiting_[word = (word + 1) % (kShmSlots / 64)];
  const uint32_t slot = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
  waiting_from_ = (slot + 1) % kShmSlots;
  return slot;
}

// Looks at one cold ring, for a packet whose doorbell was missed. The doorbell of a sender's first packet cannot be
// missed, but a sender may have been ended before it, or its source found no memory.
void ShmChannel::sweep() {
  const uint32_t used =
      std::min(std::atomic_ref(segment_.header()->slots_used).load(std::memory_order_relaxed), kShmSlots);
  if (used == 0) return;
  if (swept_ >= used) swept_ = 0;
  ShmSource* const source = source_of(swept_++);
  if (source != nullptr && !source->hot && source->consumer.has_something()) admit(*source);
}

}  // namespace efa

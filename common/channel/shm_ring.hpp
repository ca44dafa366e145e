// A ring of packets in shared memory, from one producer to one consumer.
//
//   line     128 bytes, written by the consumer only, and rarely: whether it polls this ring (`hot`)
//   line     128 bytes, written by the consumer only: how much it has consumed
//   cells    64 bytes each: a header (24) and up to 40 bytes of payload, so a short packet is one cache line
//   data     payloads that are longer, each contiguous; the cell contains its position
//
// The producer publishes a packet with one release store of the last 8 bytes of its header; the consumer reads them with
// acquire. Nothing else is written for a short packet, on either side. The consumer publishes what it has consumed after a
// quarter of the cells or of the data, and, if there was data, when it finds the ring empty; the producer reads that only
// when it believes that the ring is full, and after every eighth of the data.
//
// The memory is zero at first. The peer is not trusted: whatever it writes, nothing outside the ring is accessed. A process
// reads each word that it checks once, as an atomic, so that the value it checks is the value it uses.
//
// Each object belongs to one process and is used by one thread at a time.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/wire_version.hpp"
#include "channel/packet.hpp"

namespace efa {

constexpr uint32_t kShmCells = 128;            // a power of two
constexpr uint32_t kShmCellPayload = 40;       // bytes
constexpr uint32_t kShmDataSize = 64 << 10;    // bytes; a power of two
constexpr uint32_t kMostShmPayload = 8 << 10;  // bytes of payload in one packet
constexpr uint32_t kShmDataUnit = 64;          // payloads in the data area begin at multiples of it
constexpr uint32_t kShmDataRecheck =
    kShmDataSize / 8;  // the producer looks whether the ring is empty after so much data
// Even if a payload does not fit before the end of the data area and the consumer has a quarter of it that it has not
// given back yet, there is room for another.
static_assert(kMostShmPayload <= kShmDataSize / 4 && kMostShmPayload % kShmDataUnit == 0);
static_assert((kShmCells & (kShmCells - 1)) == 0 && (kShmDataSize & (kShmDataSize - 1)) == 0);

struct ShmCell {
  uint32_t context;  // as in PacketHeader
  int32_t source;
  int32_t tag;
  uint32_t length;
  uint64_t mark;  // sender, type, credits and sequence: publishes the cell
  union {
    uint8_t payload[kShmCellPayload];
    uint64_t data_position;  // of a payload that is longer than that
  };
};
static_assert(sizeof(ShmCell) == 64 && offsetof(ShmCell, payload) == sizeof(PacketHeader));
static_assert(offsetof(ShmCell, mark) == offsetof(PacketHeader, sender));

// 128 bytes, as processors fetch lines in pairs.
struct ShmRing {
  alignas(
      128) uint32_t hot;  // the consumer polls this ring, so its producer need not say that there is a packet
  alignas(
      128) uint64_t consumed;  // cells (low half) and position in the data area (high half), each modulo 2^32
  alignas(128) ShmCell cells[kShmCells];
  uint8_t data[kShmDataSize];
};
static_assert(offsetof(ShmRing, data) % kShmDataUnit == 0);

// Where a ring begins to count. Not 0 in tests only, which look at what happens when a count begins again.
struct ShmStart {
  uint32_t cells = 0;  // a multiple of kShmCells
  uint32_t data = 0;   // a multiple of kShmDataUnit
};

// What `sequence` is in the cells of a lap. A cell contains the mark of this lap or of the lap before, since the
// producer is never more than a lap ahead; or 0, if nobody has written it. The marks of neighbouring laps differ, and
// none is 0. They begin again after 2^15 laps, and `cells` after 2^32 / kShmCells laps, a multiple of that: so this
// holds for ever.
constexpr uint16_t shm_mark(uint32_t cells) {
  return static_cast<uint16_t>(0x8000 | (cells / kShmCells));
}
static_assert((uint64_t{1} << 32) / kShmCells % 0x8000 == 0);

constexpr uint32_t in_data_units(uint32_t length) {
  return (length + kShmDataUnit - 1) / kShmDataUnit * kShmDataUnit;
}

// memcpy of up to kShmCellPayload bytes, without a call.
[[gnu::always_inline]] inline void copy_short(uint8_t* to, const uint8_t* from, size_t length) {
  if (length >= 16) {
    __builtin_memcpy(to, from, 16);
    if (length > 32) __builtin_memcpy(to + 16, from + 16, 16);
    __builtin_memcpy(to + length - 16, from + length - 16, 16);
  } else if (length >= 8) {
    __builtin_memcpy(to, from, 8);
    __builtin_memcpy(to + length - 8, from + length - 8, 8);
  } else if (length >= 4) {
    __builtin_memcpy(to, from, 4);
    __builtin_memcpy(to + length - 4, from + length - 4, 4);
  } else if (length > 0) {
    to[0] = from[0];
    to[length / 2] = from[length / 2];
    to[length - 1] = from[length - 1];
  }
}

class ShmProducer {
 public:
  // `ring` outlives this.
  explicit ShmProducer(ShmRing* ring, ShmStart start = {})
      : next_(ring->cells),
        mark_(uint64_t{shm_mark(start.cells)} << 48),
        ring_(ring),
        put_(start.cells + kShmCells),
        consumed_(start.cells),
        data_next_(start.data),
        data_freed_(start.data),
        data_checked_(start.data) {}
  ShmProducer(const ShmProducer&) = delete;
  ShmProducer& operator=(const ShmProducer&) = delete;

  // Whether there was room. Sets the header's length and sequence. length <= kMostShmPayload.
  [[gnu::always_inline]] bool put(const PacketHeader& header, const void* payload, size_t length) {
    if (length > kShmCellPayload) [[unlikely]]
      return put_long(header, payload, length, nullptr, 0);
    if (run_ == 0 && !find_run()) [[unlikely]]
      return false;
    ShmCell* const cell = next_;
    copy_short(cell->payload, static_cast<const uint8_t*>(payload), length);
    publish(cell, header, length);
    return true;
  }

  // The same with a payload in two parts; length_a + length_b <= kMostShmPayload.
  [[gnu::always_inline]] bool put2(const PacketHeader& header, const void* a, size_t length_a, const void* b,
                                   size_t length_b) {
    if (length_a + length_b > kShmCellPayload) [[unlikely]]
      return put_long(header, a, length_a, b, length_b);
    if (run_ == 0 && !find_run()) [[unlikely]]
      return false;
    ShmCell* const cell = next_;
    copy_short(cell->payload, static_cast<const uint8_t*>(a), length_a);
    copy_short(cell->payload + length_a, static_cast<const uint8_t*>(b), length_b);
    publish(cell, header, length_a + length_b);
    return true;
  }

 private:
  [[gnu::always_inline]] void publish(ShmCell* cell, const PacketHeader& header, size_t length) {
    const uint64_t mark = mark_ | header.sender | uint64_t{static_cast<uint8_t>(header.type)} << 32 |
                          uint64_t{header.credits} << 40;
    next_ = cell + 1;
    --run_;
    cell->context = header.context;
    cell->source = header.source;
    cell->tag = header.tag;
    cell->length = static_cast<uint32_t>(length);
    std::atomic_ref(cell->mark).store(mark, std::memory_order_release);
  }

  // The header by value, so that put() need not have it in memory.
  [[gnu::noinline]] bool put_long(PacketHeader header, const void* a, size_t length_a, const void* b,
                                  size_t length_b) {
    const auto length = static_cast<uint32_t>(length_a + length_b);
    const uint32_t taken = in_data_units(length);
    assert(length_a + length_b <= kMostShmPayload);
    if (run_ == 0 && !find_run()) return false;
    uint32_t position = place_for(length);
    if (position + taken - data_freed_ > kShmDataSize || data_next_ - data_checked_ >= kShmDataRecheck) {
      look_for_room();
      position = place_for(length);
      if (position + taken - data_freed_ > kShmDataSize) return false;
    }
    uint8_t* const to = ring_->data + position % kShmDataSize;
    if (length_a > 0) std::memcpy(to, a, length_a);
    if (length_b > 0) std::memcpy(to + length_a, b, length_b);
    ShmCell* const cell = next_;
    cell->data_position = position;
    data_next_ = position + taken;
    publish(cell, header, length);
    return true;
  }

  // The next position, or the next start of the data area if the payload does not fit before its end.
  uint32_t place_for(uint32_t length) const {
    const uint32_t offset = data_next_ % kShmDataSize;
    return offset + length <= kShmDataSize ? data_next_ : data_next_ - offset + kShmDataSize;
  }

  // Finds the next run of free cells, at the end of the last one.
  [[gnu::noinline]] bool find_run() {
    if (put_ - consumed_ == kShmCells) look_for_room();
    const uint32_t room = kShmCells - (put_ - consumed_);
    if (room == 0) return false;
    if (next_ == ring_->cells + kShmCells) {
      next_ = ring_->cells;
      mark_ = uint64_t{shm_mark(put_)} << 48;
    }
    const uint32_t in_lap = kShmCells - put_ % kShmCells;
    run_ = room < in_lap ? room : in_lap;
    put_ += run_;
    return true;
  }

  // Reads what the consumer has consumed. An impossible number changes nothing.
  [[gnu::noinline]] void look_for_room() {
    const uint64_t seen = std::atomic_ref(ring_->consumed).load(std::memory_order_acquire);
    const uint32_t put = put_ - run_;
    if (static_cast<uint32_t>(seen) - consumed_ <= put - consumed_) consumed_ = static_cast<uint32_t>(seen);
    if (put == consumed_) {
      // Empty, so the data area is free: begin at its start, which stays in the caches.
      data_next_ = (data_next_ + kShmDataSize - 1) / kShmDataSize * kShmDataSize;
      data_freed_ = data_next_;
    } else if (const auto freed = static_cast<uint32_t>(seen >> 32);
               static_cast<int32_t>(freed - data_freed_) > 0) {
      data_freed_ = freed;
    }
    data_checked_ = data_next_;
  }

  ShmCell* next_;
  uint64_t mark_;             // of this lap, where the sequence is in ShmCell::mark
  uint32_t run_ = kShmCells;  // free cells from next_ on, as far as this knows; of this lap only
  ShmRing* const ring_;
  uint32_t put_;        // cells that are put, and the run; modulo 2^32, as all of these
  uint32_t consumed_;   // cells
  uint32_t data_next_;  // positions in the data area
  uint32_t data_freed_;
  uint32_t data_checked_;
};

enum class ShmPolled { empty, packet, broken };

class ShmConsumer {
 public:
  // `ring` outlives this.
  explicit ShmConsumer(ShmRing* ring, ShmStart start = {})
      : next_(ring->cells),
        quarter_end_(ring->cells + kShmCells / 4),
        expected_(shm_mark(start.cells)),
        ring_(ring),
        laps_(start.cells),
        data_taken_(start.data),
        data_published_(start.data) {
    if (start.cells != 0 || start.data != 0) publish();
  }
  ShmConsumer(const ShmConsumer&) = delete;
  ShmConsumer& operator=(const ShmConsumer&) = delete;

  // Takes the next packet, if there is one: handler(const PacketHeader&, const uint8_t* payload). The header is a copy that
  // has been checked: a known type, a possible length. The payload is in shared memory, where the producer may still
  // change it, and is valid until the handler returns; its first byte is at a multiple of 8.
  // The handler may put packets, poll other rings, and poll this one, which takes the packet after. The space of packets is
  // given back when the outermost handler returns, so a handler that waits may take no more than a ring of them.
  // `broken`: the producer has written what it cannot write. Nothing is taken from then on. A mark that the next cell
  // cannot have looks like an empty ring here: check().
  template <class Handler>
  [[gnu::always_inline]] ShmPolled poll(Handler&& handler) {
    return has_packet() ? take(handler) : found_none();
  }

  // The parts of poll(): take() if has_packet(), which looks at one cache line; found_none() if not.
  [[gnu::always_inline]] bool has_packet() const { return mark_of_next() == expected_; }
  [[gnu::always_inline]] ShmPolled found_none() {
    return data_taken_ != data_published_ ? found_empty() : ShmPolled::empty;
  }
  template <class Handler>
  [[gnu::always_inline]] ShmPolled take(Handler&& handler) {
    ShmCell* const cell = next_;
    const uint64_t mark = std::atomic_ref(cell->mark).load(std::memory_order_acquire);
    const PacketHeader header{once(cell->context),
                              once(cell->source),
                              once(cell->tag),
                              once(cell->length),
                              static_cast<uint32_t>(mark),
                              static_cast<PacketType>(mark >> 32 & 0xff),
                              static_cast<uint8_t>(mark >> 40),
                              static_cast<uint16_t>(mark >> 48)};
    const uint8_t* payload = cell->payload;
    if ((mark >> 32 & 0xff) - 1 >= kMostPacketTypes - 1) [[unlikely]]
      return found_broken();
    if (header.length > kShmCellPayload) [[unlikely]] {
      payload = find_long(header.length);
      if (payload == nullptr) return found_broken();
    }
    next_ = cell + 1;
    if (cell + 1 == quarter_end_) [[unlikely]]
      end_quarter();
    state_ += kInHandler;
    handler(header, payload);
    if ((state_ -= kInHandler) == kPublishDue) [[unlikely]]
      publish();
    return ShmPolled::packet;
  }

  // Whether check() would not return `empty`.
  bool has_something() const {
    const uint64_t found = mark_of_next();
    return broken_ || found == expected_ || !may_be_old(found);
  }

  // Finds marks that the next cell cannot have, which look like an empty ring to poll().
  ShmPolled check() {
    const uint64_t found = mark_of_next();
    if (broken_ || (found != expected_ && !may_be_old(found))) return found_broken();
    return found == expected_ ? ShmPolled::packet : ShmPolled::empty;
  }

  bool broken() const { return broken_; }
  void make_hot() { std::atomic_ref(ring_->hot).store(1, std::memory_order_relaxed); }
  // What this reads after is not older; that the producer reads `hot` late is not prevented.
  void make_cold() { std::atomic_ref(ring_->hot).exchange(0, std::memory_order_seq_cst); }

 private:
  static constexpr uint32_t kPublishDue = 1, kInHandler = 2;

  template <class T>
  static T once(T& word) {
    return std::atomic_ref(word).load(std::memory_order_relaxed);
  }
  uint64_t mark_of_next() const { return std::atomic_ref(next_->mark).load(std::memory_order_acquire) >> 48; }
  bool may_be_old(uint64_t mark) const { return mark == 0 || mark == shm_mark(laps_ - kShmCells); }

  // Where the payload of a long packet is; nullptr: it cannot be there.
  [[gnu::noinline]] const uint8_t* find_long(uint32_t length) {
    const uint64_t position = once(next_->data_position);
    if (length > kMostShmPayload || position > UINT32_MAX || position % kShmDataUnit != 0) return nullptr;
    const auto offset = static_cast<uint32_t>(position % kShmDataSize);
    if (offset + length > kShmDataSize) return nullptr;
    data_taken_ = static_cast<uint32_t>(position) + in_data_units(length);
    if (data_taken_ - data_published_ >= kShmDataSize / 4) state_ |= kPublishDue;
    return ring_->data + offset;
  }

  // next_ has reached the end of a quarter of the cells.
  [[gnu::noinline]] void end_quarter() {
    state_ |= kPublishDue;
    if (next_ == ring_->cells + kShmCells) {
      next_ = ring_->cells;
      laps_ += kShmCells;
      expected_ = shm_mark(laps_);
    }
    quarter_end_ = next_ + kShmCells / 4;
  }

  // There were long packets since the last publication, or the ring is broken.
  [[gnu::noinline]] ShmPolled found_empty() {
    if (broken_) return ShmPolled::broken;
    if (state_ < kInHandler) publish();
    return ShmPolled::empty;
  }

  [[gnu::noinline]] ShmPolled found_broken() {
    broken_ = true;
    expected_ = 0x10000;             // no mark, so poll() finds no packet,
    data_published_ = ~data_taken_;  // but calls found_empty() each time
    return ShmPolled::broken;
  }

  [[gnu::noinline]] void publish() {
    state_ &= ~kPublishDue;
    if (broken_) return;
    data_published_ = data_taken_;
    const uint32_t taken = laps_ + static_cast<uint32_t>(next_ - ring_->cells);
    std::atomic_ref(ring_->consumed).store(uint64_t{data_taken_} << 32 | taken, std::memory_order_release);
  }

  ShmCell* next_;
  ShmCell*
      published_;  // next_ when `consumed` was published, so that poll() sees that there is something new
  ShmCell* quarter_end_;
  uint32_t expected_;   // the mark of a packet
  uint32_t state_ = 0;  // kPublishDue, and kInHandler for each handler that runs
  ShmRing* const ring_;
  uint32_t laps_;        // cells in the laps before this one, modulo 2^32
  uint32_t data_taken_;  // position in the data area
  uint32_t data_published_;
  bool broken_ = false;
};

}  // namespace efa

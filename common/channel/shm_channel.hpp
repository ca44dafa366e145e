// The shm channel: packets between the processes of a node, over a ring in shared memory for each pair and direction.
//
// A receiver looks at few cache lines, however many senders it has. It polls its hot rings, at most kMostHotRings, each
// time. A sender that finds its ring not hot rings a doorbell in the receiver's segment, and the receiver makes the ring
// hot: an idle one makes way, or, if there is none, the ring is polled once for each doorbell. A ring that has been
// silent for long is hot no more, unless it is the only one.
//
// Neither side uses fences, so a doorbell can be missed: the sender reads `hot` before its packet is visible, and the
// receiver takes `hot` away before it sees the packet. A slow sweep over the cold rings finds such packets.
//
// One thread at a time uses a channel and its senders. Independent of libfabric.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "channel/shm_ring.hpp"
#include "channel/shm_segment.hpp"

namespace efa {

constexpr uint32_t kMostHotRings = 8;
constexpr int kShmBatch = 16;            // packets of one ring in one poll
constexpr uint32_t kShmTickPolls = 16;   // polls of the channel from one step of the sweep to the next
constexpr uint32_t kShmCoolTicks = 512;  // a ring without a packet in so many steps is hot no more

// This process's end of a ring to a peer. Made by ShmChannel::connect().
class ShmSender {
 public:
  ShmSender(const ShmSender&) = delete;
  ShmSender& operator=(const ShmSender&) = delete;

  // Whether there was room; if not, again later: there is no notice. Sets the header's length and sequence.
  // length <= kMostShmPayload.
  [[gnu::always_inline]] bool send(const PacketHeader& header, const void* payload, size_t length) {
    if (!producer_.put(header, payload, length)) [[unlikely]]
      return false;
    if (!is_hot()) [[unlikely]]
      ring_doorbell();
    return true;
  }
  // With a payload in two parts.
  [[gnu::always_inline]] bool send2(const PacketHeader& header, const void* a, size_t length_a, const void* b,
                                    size_t length_b) {
    if (!producer_.put2(header, a, length_a, b, length_b)) [[unlikely]]
      return false;
    if (!is_hot()) [[unlikely]]
      ring_doorbell();
    return true;
  }

 private:
  friend class ShmChannel;
  explicit ShmSender(std::unique_ptr<ShmClaim> claim);
  bool is_hot() const { return std::atomic_ref(*hot_).load(std::memory_order_relaxed) != 0; }
  [[gnu::noinline]] void ring_doorbell();

  ShmProducer producer_;
  uint32_t* hot_;
  std::unique_ptr<ShmClaim> claim_;
};

// A process that sends to this one. It lives as long as the channel is open.
class ShmSource {
 public:
  const uint32_t slot;   // < kShmSlots; each sender has another
  const uint64_t uid;    // as the sender says
  void* user = nullptr;  // the caller's, from the first packet on

 private:
  friend class ShmChannel;
  ShmSource(uint32_t its_slot, uint64_t its_uid, ShmRing* ring)
      : slot(its_slot), uid(its_uid), consumer(ring) {}
  ShmConsumer consumer;
  bool hot = false;
  bool active = false;  // a packet since the last look at what is silent
};

class ShmChannel {
 public:
  ShmChannel() = default;
  ~ShmChannel() { close(); }
  ShmChannel(const ShmChannel&) = delete;
  ShmChannel& operator=(const ShmChannel&) = delete;

  // Makes the segment in which this process receives.
  bool open(ShmFailure& failure);
  // Not from within a handler. Senders stay until they are disconnected.
  void close();
  bool is_open() const { return segment_.is_open(); }
  // Valid while open; all zero otherwise.
  const ShmAddress& address() const { return segment_.address(); }

  // Opens a peer's segment and takes a slot in it; needs no open channel of this process. nullptr on failure. Each call
  // takes one of the peer's kShmSlots slots for ever.
  static ShmSender* connect(const ShmAddress& peer, uint64_t own_uid, ShmFailure& failure);
  // Packets that it has sent are still received.
  static void disconnect(ShmSender* sender);

  // Takes packets of all senders, up to kShmBatch of each, and returns their number. The channel is open.
  //   handler.packet(ShmSource&, const PacketHeader&, const uint8_t* payload): see ShmConsumer::poll(). May send and poll.
  //   handler.broken(ShmSource&): the sender has written what it cannot write. Once; it is not polled any more.
  template <class Handler>
  [[gnu::always_inline]] int poll(Handler& handler) {
    int taken = 0;
    if (std::atomic_ref(doorbells_->words).load(std::memory_order_relaxed) != 0) [[unlikely]]
      answer_doorbells();
    for (uint32_t i = 0; i < hot_count_; ++i)
      if (hot_[i]->consumer.has_packet()) taken += take_batch(*hot_[i], handler);
    if (--countdown_ == 0) [[unlikely]]
      taken += tick(handler);
    return taken;
  }

  uint32_t hot_rings() const { return hot_count_; }

 private:
  // Takes packets of one ring that has one, up to a batch.
  template <class Handler>
  [[gnu::always_inline]] int take_batch(ShmSource& source, Handler& handler) {
    const auto packet = [&](const PacketHeader& header, const uint8_t* payload) {
      handler.packet(source, header, payload);
    };
    source.active = true;
    int taken = 0;
    do {
      if (source.consumer.take(packet) == ShmPolled::broken) [[unlikely]] {
        drop(source, handler);
        return taken;
      }
      if (++taken == kShmBatch) return taken;
    } while (source.consumer.has_packet());
    source.consumer.found_none();
    return taken;
  }

  // The same for a ring that may have none; finds marks that the next cell cannot have.
  template <class Handler>
  [[gnu::noinline]] int look_closely(ShmSource& source, Handler& handler) {
    if (source.consumer.has_packet()) return take_batch(source, handler);
    if (source.consumer.check() == ShmPolled::broken) drop(source, handler);
    return 0;
  }

  // What is done rarely, and what hot rings have no room for.
  template <class Handler>
  [[gnu::noinline]] int tick(Handler& handler) {
    countdown_ = waiting_count_ > 0 ? 1 : kShmTickPolls;
    int taken = 0;
    // A ring waits until it was found empty, so that a handler that polls takes its packets too.
    const uint32_t waiting = waiting_count_;
    for (uint32_t i = 0; i < waiting && waiting_count_ > 0; ++i) {
      ShmSource& source = *sources_[next_waiting()];
      const int some = look_closely(source, handler);
      if (some < kShmBatch) end_waiting(source);
      taken += some;
    }
    sweep();
    if (++ticks_ % kShmCoolTicks == 0) {
      for (uint32_t i = hot_count_; i-- > 0;) {
        // A handler that polls may have made the list shorter.
        if (i >= hot_count_ || hot_[i]->active || look_closely(*hot_[i], handler) > 0) continue;
        if (i < hot_count_ && hot_count_ > 1) make_cold(i);
      }
      for (uint32_t i = 0; i < hot_count_; ++i) hot_[i]->active = false;
    }
    return taken;
  }

  template <class Handler>
  [[gnu::noinline]] void drop(ShmSource& source, Handler& handler) {
    if (is_dropped(source.slot)) return;
    set_dropped(source.slot);
    for (uint32_t i = 0; i < hot_count_; ++i)
      if (hot_[i] == &source) {
        make_cold(i);
        break;
      }
    handler.broken(source);
  }

  [[gnu::noinline]] void answer_doorbells();
  ShmSource* source_of(uint32_t slot);
  void admit(ShmSource& source);
  void make_hot(ShmSource& source);
  void make_cold(uint32_t position);
  void begin_waiting(ShmSource& source);
  void end_waiting(ShmSource& source);
  uint32_t next_waiting();
  void sweep();
  bool is_dropped(uint32_t slot) const { return dropped_[slot / 64] >> slot % 64 & 1; }
  void set_dropped(uint32_t slot) { dropped_[slot / 64] |= uint64_t{1} << slot % 64; }

  ShmDoorbells* doorbells_ = nullptr;
  uint32_t hot_count_ = 0;
  uint32_t countdown_ = kShmTickPolls;
  ShmSource* hot_[kMostHotRings] = {};

  uint32_t waiting_count_ = 0;
  uint32_t waiting_from_ = 0;              // the slot after which the next one is looked for
  uint64_t waiting_[kShmSlots / 64] = {};  // rings that have rung and are not hot
  uint64_t dropped_[kShmSlots / 64] = {};
  uint32_t ticks_ = 0;
  uint32_t swept_ = 0;  // the slot that the sweep looks at next
  ShmSegment segment_;
  std::unique_ptr<std::unique_ptr<ShmSource>[]> sources_;  // by slot
};

}  // namespace efa

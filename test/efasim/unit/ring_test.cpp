// The packet ring: order, lap, fullness, dead senders, and many senders at once.
#include "ring.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "test/unit/catch.hpp"

using namespace efasim;

namespace {

struct Free {
  void operator()(void* memory) const { free(memory); }
};

// A ring in ordinary memory.
struct TestRing {
  explicit TestRing(unsigned slots) {
    const size_t size = qp_file_size(slots);
    memory.reset(aligned_alloc(64, size));
    memset(memory.get(), 0, size);
    shared = static_cast<QpShared*>(memory.get());
    Ring::initialize(shared, slots);
    ring = Ring(shared);
  }
  std::unique_ptr<void, Free> memory;
  QpShared* shared;
  Ring ring;
};

}  // namespace

TEST_CASE("packets come out in the order of their claims", "[ring]") {
  TestRing t(4);
  for (uint64_t lap = 0; lap < 3; lap++) {
    for (uint64_t i = 0; i < 4; i++) {
      const uint64_t position = t.ring.claim(1);
      REQUIRE(position == lap * 4 + i);
      t.ring.slot(position).header.length = static_cast<uint32_t>(100 * lap + i);
      t.ring.publish(position);
    }
    for (uint64_t i = 0; i < 4; i++) {
      REQUIRE(t.ring.ready(lap * 4 + i));
      REQUIRE(t.ring.slot(lap * 4 + i).header.length == 100 * lap + i);
      t.ring.release(lap * 4 + i);
      REQUIRE_FALSE(t.ring.ready(lap * 4 + i));
    }
  }
}

TEST_CASE("a full ring says so until the oldest slot is free", "[ring]") {
  TestRing t(2);
  t.ring.publish(t.ring.claim(1));
  t.ring.publish(t.ring.claim(1));
  CHECK(t.ring.claim(1) == Ring::kFull);
  t.ring.release(1);  // not the oldest: position 2 needs the slot of position 0
  CHECK(t.ring.claim(1) == Ring::kFull);
  t.ring.release(0);
  CHECK(t.ring.claim(1) == 2);
  CHECK(t.ring.claim(1) == 3);
  CHECK(t.ring.claim(1) == Ring::kFull);
}

TEST_CASE("a claim without a packet has an owner and can be skipped", "[ring]") {
  TestRing t(4);
  CHECK(t.ring.claimed_by(0) == -1);
  const uint64_t dead = t.ring.claim(77);
  t.ring.publish(t.ring.claim(5));
  CHECK(dead == 0);
  CHECK_FALSE(t.ring.ready(0));
  CHECK(t.ring.claimed_by(0) == 77);
  CHECK(t.ring.ready(1));
  CHECK(t.ring.claimed_by(1) == -1);
  t.ring.release(0);
  t.ring.release(1);
  CHECK(t.ring.claim(5) == 2);
}

TEST_CASE("a tail that was left behind is moved on by the next sender", "[ring]") {
  TestRing t(4);
  t.ring.publish(t.ring.claim(1));
  t.shared->tail.store(0);  // as if the claimer had been killed before it moved the tail
  CHECK(t.ring.claim(2) == 1);
  CHECK(t.shared->tail.load() == 2);
}

TEST_CASE("many senders lose and double nothing", "[ring]") {
  constexpr unsigned kSenders = 4, kPackets = 5000;
  TestRing t(8);
  std::vector<std::thread> senders;
  for (unsigned s = 0; s < kSenders; s++) {
    senders.emplace_back([&t, s] {
      Ring ring(t.shared);
      for (uint32_t i = 0; i < kPackets; i++) {
        uint64_t position;
        while ((position = ring.claim(s)) == Ring::kFull) std::this_thread::yield();
        ring.slot(position).header.source_qpn = static_cast<uint16_t>(s);
        ring.slot(position).header.sequence = i;
        ring.publish(position);
      }
    });
  }
  uint32_t next[kSenders] = {};
  bool in_order = true;
  for (uint64_t position = 0; position < kSenders * kPackets; position++) {
    while (!t.ring.ready(position)) std::this_thread::yield();
    const PacketHeader& header = t.ring.slot(position).header;
    in_order &= header.sequence == next[header.source_qpn]++;
    t.ring.release(position);
  }
  for (std::thread& sender : senders) sender.join();
  CHECK(in_order);
  for (const uint32_t count : next) CHECK(count == kPackets);
}

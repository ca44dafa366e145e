// The ring in shared memory: full, empty, where it begins again, crafted cells, two threads.
#include "channel/shm_ring.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "catch.hpp"

using namespace efa;

namespace {

// A ring of zeroed memory with inaccessible pages before and behind it.
class Memory {
 public:
  Memory() {
    size_ = (sizeof(ShmRing) + kPage - 1) / kPage * kPage;
    all_ =
        static_cast<char*>(mmap(nullptr, size_ + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(mprotect(all_ + kPage, size_, PROT_READ | PROT_WRITE) == 0);
    ring = reinterpret_cast<ShmRing*>(all_ + kPage);
  }
  ~Memory() { munmap(all_, size_ + 2 * kPage); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ShmRing* ring;

 private:
  static constexpr size_t kPage = 64 << 10;
  char* all_;
  size_t size_;
};

struct Pair {
  explicit Pair(ShmStart start = {}) : producer(memory.ring, start), consumer(memory.ring, start) {}
  Memory memory;
  ShmProducer producer;
  ShmConsumer consumer;
};

PacketHeader header_of(int32_t tag) {
  return {0xabcd1234, 7, tag, 0, 0xfedcba98, PacketType::eager, 3, 0};
}

// What the payload of packet n is.
std::vector<uint8_t> bytes_of(uint32_t n, size_t length) {
  std::vector<uint8_t> bytes(length);
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<uint8_t>(n * 131 + i * 7 + (i >> 8) * 13 + 1);
  return bytes;
}

bool put(ShmProducer& producer, uint32_t n, size_t length) {
  const auto bytes = bytes_of(n, length);
  return producer.put(header_of(static_cast<int32_t>(n)), bytes.data(), length);
}

// Takes packet n and checks all of it.
void take(ShmConsumer& consumer, uint32_t n, size_t length) {
  int called = 0;
  const auto polled = consumer.poll([&](const PacketHeader& header, const uint8_t* payload) {
    ++called;
    REQUIRE(header.context == 0xabcd1234);
    REQUIRE(header.source == 7);
    REQUIRE(header.tag == static_cast<int32_t>(n));
    REQUIRE(header.sender == 0xfedcba98);
    REQUIRE(header.type == PacketType::eager);
    REQUIRE(header.credits == 3);
    REQUIRE(header.length == length);
    const auto expected = bytes_of(n, length);
    REQUIRE(std::equal(expected.begin(), expected.end(), payload));
    REQUIRE(reinterpret_cast<uintptr_t>(payload) % 8 == 0);
  });
  REQUIRE(polled == ShmPolled::packet);
  REQUIRE(called == 1);
}

constexpr auto kIgnore = [](const PacketHeader&, const uint8_t*) {};

bool is_empty(ShmConsumer& consumer) {
  return consumer.poll([](const PacketHeader&, const uint8_t*) { FAIL("a packet in an empty ring"); }) ==
         ShmPolled::empty;
}

}  // namespace

TEST_CASE("A packet of each length arrives as it was sent") {
  Pair pair;
  CHECK(is_empty(pair.consumer));
  uint32_t n = 0;
  for (size_t length = 0; length <= kMostShmPayload;
       length += length < 300 || length + 70 > kMostShmPayload ? 1 : 61) {
    INFO(length);
    REQUIRE(put(pair.producer, n, length));
    CHECK(pair.consumer.has_something());
    take(pair.consumer, n++, length);
    REQUIRE(is_empty(pair.consumer));
    CHECK_FALSE(pair.consumer.has_something());
  }
  CHECK(n > 400);
}

TEST_CASE("A payload in two parts arrives as one") {
  Pair pair;
  uint32_t n = 0;
  for (const size_t length : {0, 1, 2, 15, 16, 17, 31, 32, 33, 39, 40, 41, 64, 65, 1000})
    for (size_t first = 0; first <= length; first += first < 50 ? 1 : 97) {
      const auto bytes = bytes_of(n, length);
      REQUIRE(pair.producer.put2(header_of(static_cast<int32_t>(n)), bytes.data(), first,
                                 bytes.data() + first, length - first));
      take(pair.consumer, n++, length);
    }
  const auto bytes = bytes_of(n, kMostShmPayload);
  REQUIRE(pair.producer.put2(header_of(static_cast<int32_t>(n)), bytes.data(), kMostShmPayload - 8,
                             bytes.data() + kMostShmPayload - 8, 8));
  take(pair.consumer, n, kMostShmPayload);
  REQUIRE(pair.producer.put2(header_of(1), nullptr, 0, nullptr, 0));
}

TEST_CASE("A full ring takes nothing, and takes packets again when a quarter has been consumed") {
  Pair pair;
  for (uint32_t n = 0; n < kShmCells; ++n) REQUIRE(put(pair.producer, n, 8));
  CHECK_FALSE(put(pair.producer, 999, 8));
  CHECK_FALSE(put(pair.producer, 999, 41));
  for (uint32_t n = 0; n < kShmCells / 4; ++n) {
    CHECK_FALSE(put(pair.producer, 999, 8));
    take(pair.consumer, n, 8);
  }
  for (uint32_t n = 0; n < kShmCells / 4; ++n) REQUIRE(put(pair.producer, kShmCells + n, 8));
  CHECK_FALSE(put(pair.producer, 999, 8));
  for (uint32_t n = 0; n < kShmCells; ++n) take(pair.consumer, kShmCells / 4 + n, 8);
  CHECK(is_empty(pair.consumer));
}

TEST_CASE("A quarter of the data is given back at once, though the ring is not empty") {
  Pair pair;
  uint32_t n = 0, taken = 0;
  while (put(pair.producer, n, kMostShmPayload)) ++n;
  CHECK(n == kShmDataSize / kMostShmPayload);
  for (; taken < kShmDataSize / 4 / kMostShmPayload; ++taken) {
    CHECK_FALSE(put(pair.producer, 999, kMostShmPayload));
    take(pair.consumer, taken, kMostShmPayload);
  }
  for (uint32_t i = 0; i < taken; ++i) REQUIRE(put(pair.producer, n++, kMostShmPayload));
  CHECK_FALSE(put(pair.producer, 999, kMostShmPayload));
  for (; taken < n; ++taken) take(pair.consumer, taken, kMostShmPayload);
}

TEST_CASE("A consumer that finds the ring empty gives data back, once") {
  Pair pair;
  for (uint32_t n = 0; n < 3; ++n) REQUIRE(put(pair.producer, n, 100));
  for (uint32_t n = 0; n < 3; ++n) take(pair.consumer, n, 100);
  CHECK(pair.memory.ring->consumed == 0);
  CHECK(is_empty(pair.consumer));
  CHECK(pair.memory.ring->consumed == (uint64_t{3 * in_data_units(100)} << 32 | 3));
  // Nothing more is written while it stays empty, nor for short packets.
  pair.memory.ring->consumed = 0;
  REQUIRE(put(pair.producer, 3, 40));
  take(pair.consumer, 3, 40);
  CHECK(is_empty(pair.consumer));
  CHECK(pair.memory.ring->consumed == 0);
}

TEST_CASE("Packets fill and empty the ring from each position, in each length") {
  for (uint32_t before = 0; before < kShmCells; before += 1) {
    Pair pair;
    for (uint32_t n = 0; n < before; ++n) {
      REQUIRE(put(pair.producer, n, n % 41));
      take(pair.consumer, n, n % 41);
    }
    is_empty(pair.consumer);
    uint32_t n = 0;
    while (put(pair.producer, n, 8)) ++n;
    REQUIRE(n == kShmCells - before % (kShmCells / 4));  // published after each quarter
    for (uint32_t i = 0; i < n; ++i) take(pair.consumer, i, 8);
    REQUIRE(is_empty(pair.consumer));
  }
}

TEST_CASE("The data area is used to its end, and then from its start") {
  for (const uint32_t length : {41u, 63u, 64u, 65u, 1000u, 4096u, 5000u, 8128u, 8129u, kMostShmPayload}) {
    INFO(length);
    const uint32_t fit = std::min(kShmCells, kShmDataSize / in_data_units(length));
    // With the data area empty, but its next position anywhere.
    for (uint32_t shift = 0; shift < kShmDataSize; shift += 4160) {
      Pair pair(ShmStart{0, shift});
      uint32_t n = 0;
      while (put(pair.producer, n, length)) ++n;
      CHECK(n <= fit);
      CHECK(n + 2 >= fit);
      // A short packet needs no data.
      const bool cells_left = n < kShmCells;
      CHECK(put(pair.producer, n, 8) == cells_left);
      for (uint32_t i = 0; i < n; ++i) take(pair.consumer, i, length);
      if (cells_left) take(pair.consumer, n, 8);
      CHECK(is_empty(pair.consumer));
      // Empty: all of it is there again.
      uint32_t again = 0;
      while (put(pair.producer, again, length)) ++again;
      CHECK(again == fit);
      for (uint32_t i = 0; i < again; ++i) take(pair.consumer, i, length);
      CHECK(is_empty(pair.consumer));
    }
  }
}

TEST_CASE("Long packets one at a time stay in the first part of the data area") {
  Pair pair;
  for (uint32_t n = 0; n < 1000; ++n) {
    REQUIRE(put(pair.producer, n, 1024));
    take(pair.consumer, n, 1024);
    REQUIRE(is_empty(pair.consumer));
  }
  // Untouched behind an eighth and one payload.
  uint8_t* const rest = pair.memory.ring->data + kShmDataRecheck + 1024;
  CHECK(std::all_of(rest, pair.memory.ring->data + kShmDataSize, [](uint8_t byte) { return byte == 0; }));
}

TEST_CASE("Random traffic, also where the counts begin again") {
  // A few cells before 2^32, and before the lap at which the marks begin again.
  const ShmStart starts[] = {{0, 0},
                             {0u - kShmCells, 0u - 4096},
                             {0u - 2 * kShmCells, 0u - kShmDataSize},
                             {(0x8000 - 1) * kShmCells, 0x80000000u - 4096},
                             {0x7fff'ff80u, 0x7fff'0000u}};
  for (const ShmStart start : starts) {
    Pair pair(start);
    std::mt19937 random(1);
    std::deque<std::pair<uint32_t, size_t>> sent;
    uint32_t next = 0, refused = 0, longest = 0;
    for (int step = 0; step < 40'000; ++step) {
      // Phases in which one side is faster, so the ring gets full and empty.
      const bool fills = step / 700 % 2 == 0;
      if (random() % 10 < (fills ? 8u : 2u)) {
        const uint32_t kind = random() % 4;
        const size_t length = kind == 0   ? random() % (kMostShmPayload + 1)
                              : kind == 1 ? random() % 400
                                          : random() % 48;
        if (put(pair.producer, next, length)) {
          sent.emplace_back(next++, length);
        } else {
          ++refused;
          REQUIRE_FALSE(sent.empty());
        }
        longest = std::max(longest, static_cast<uint32_t>(sent.size()));
      } else if (sent.empty()) {
        REQUIRE(is_empty(pair.consumer));
      } else {
        take(pair.consumer, sent.front().first, sent.front().second);
        sent.pop_front();
      }
    }
    CHECK(refused > 100);
    CHECK(longest > 20);
    CHECK(next > 10 * kShmCells);
  }
}

TEST_CASE(
    "A handler that polls takes the packets after, and their space is not given back before it returns") {
  Pair pair;
  for (uint32_t n = 0; n < kShmCells; ++n) REQUIRE(put(pair.producer, n, n % 2 == 0 ? 8 : 300));
  const auto first = bytes_of(0, 8);
  const auto polled = pair.consumer.poll([&](const PacketHeader& header, const uint8_t* payload) {
    REQUIRE(header.tag == 0);
    for (uint32_t n = 1; n < kShmCells; ++n) take(pair.consumer, n, n % 2 == 0 ? 8 : 300);
    REQUIRE(is_empty(pair.consumer));
    CHECK_FALSE(put(pair.producer, 999, 8));
    CHECK(pair.memory.ring->consumed == 0);
    CHECK(std::memcmp(payload, first.data(), 8) == 0);
  });
  CHECK(polled == ShmPolled::packet);
  CHECK(put(pair.producer, kShmCells, 8));
  take(pair.consumer, kShmCells, 8);
  CHECK(is_empty(pair.consumer));
}

TEST_CASE("A handler may put packets into the ring that it is called from") {
  Pair pair;
  REQUIRE(put(pair.producer, 0, 8));
  CHECK(pair.consumer.poll([&](const PacketHeader&, const uint8_t*) {
    REQUIRE(put(pair.producer, 1, 500));
  }) == ShmPolled::packet);
  take(pair.consumer, 1, 500);
}

TEST_CASE("Crafted cells break the ring, and nothing outside it is read") {
  struct Craft {
    const char* name;
    uint32_t length;
    uint8_t type;
    uint64_t position;
    uint16_t mark;
    bool good;
  };
  constexpr uint16_t kMark = shm_mark(kShmCells);
  const Craft crafts[] = {
      {"short", 40, 1, 0, kMark, true},
      {"long at the start", kMostShmPayload, 5, 0, kMark, true},
      {"long at the very end", kMostShmPayload, 5, kShmDataSize - kMostShmPayload, kMark, true},
      {"type 0", 8, 0, 0, kMark, false},
      {"type behind the last", 8, kMostPacketTypes, 0, kMark, false},
      {"type 255", 8, 255, 0, kMark, false},
      {"too long", kMostShmPayload + 1, 1, 0, kMark, false},
      {"longest", UINT32_MAX, 1, 0, kMark, false},
      {"over the end", kMostShmPayload, 1, kShmDataSize - kMostShmPayload + 64, kMark, false},
      {"over the end by one", 65, 1, kShmDataSize - 64, kMark, false},
      {"position of 64 bits", 64, 1, uint64_t{1} << 32, kMark, false},
      {"position at the end of 64 bits", 64, 1, UINT64_MAX - 63, kMark, false},
      {"position between units", 64, 1, 1, kMark, false},
      {"mark of a lap ahead", 8, 1, 0, shm_mark(2 * kShmCells), false},
      {"mark of two laps ago", 8, 1, 0, shm_mark(0u - kShmCells), false},
      {"mark that is none", 8, 1, 0, 1, false},
  };
  for (const Craft& craft : crafts) {
    INFO(craft.name);
    Pair pair;
    for (uint32_t n = 0; n < kShmCells; ++n) {
      REQUIRE(put(pair.producer, n, 8));
      take(pair.consumer, n, 8);
    }
    ShmCell& cell = pair.memory.ring->cells[0];
    cell.length = craft.length;
    cell.data_position = craft.position;
    cell.mark = uint64_t{craft.mark} << 48 | uint64_t{craft.type} << 32;
    CHECK(pair.consumer.has_something());
    int called = 0;
    unsigned sum = 0;
    const auto read = [&](const PacketHeader& header, const uint8_t* payload) {
      ++called;
      for (uint32_t i = 0; i < header.length; ++i) sum += payload[i];
    };
    pair.consumer.check();
    CHECK(pair.consumer.poll(read) == (craft.good ? ShmPolled::packet : ShmPolled::broken));
    CHECK(called == craft.good);
    CHECK(pair.consumer.broken() == !craft.good);
    // It stays broken, whatever follows.
    if (!craft.good) {
      cell.mark = uint64_t{kMark} << 48 | uint64_t{1} << 32;
      cell.length = 8;
      CHECK(pair.consumer.poll(read) == ShmPolled::broken);
      CHECK(pair.consumer.poll(read) == ShmPolled::broken);
      CHECK(called == 0);
    }
  }
}

TEST_CASE("A ring that breaks within a handler stays broken") {
  Pair pair;
  REQUIRE(put(pair.producer, 0, 8));
  pair.memory.ring->cells[1].mark = uint64_t{shm_mark(0)} << 48;  // type 0
  CHECK(pair.consumer.poll([&](const PacketHeader&, const uint8_t*) {
    CHECK(pair.consumer.poll(kIgnore) == ShmPolled::broken);
  }) == ShmPolled::packet);
  CHECK(pair.consumer.poll(kIgnore) == ShmPolled::broken);
}

TEST_CASE("Whatever a producer writes, only the ring is read") {
  std::mt19937_64 random(3);
  uint32_t taken = 0, broken = 0;
  for (int round = 0; round < 2000; ++round) {
    Pair pair;
    ShmRing& ring = *pair.memory.ring;
    const auto inside = [&](const PacketHeader& header, const uint8_t* payload) {
      ++taken;
      const auto* const begin = reinterpret_cast<const uint8_t*>(&ring);
      REQUIRE(payload >= begin);
      REQUIRE(payload + header.length <= begin + sizeof ring);
      REQUIRE(header.length <= kMostShmPayload);
      REQUIRE(static_cast<uint8_t>(header.type) >= 1);
      REQUIRE(static_cast<uint8_t>(header.type) < kMostPacketTypes);
    };
    for (uint32_t n = 0; n < 300; ++n) {
      ShmCell& cell = ring.cells[n % kShmCells];
      // Near the limits, mostly.
      cell.length = random() % 50 == 0 ? static_cast<uint32_t>(random())
                                       : kMostShmPayload - random() % 300 + random() % 3;
      cell.data_position =
          random() % 50 == 0 ? random() : random() % (2 * kShmDataSize / kShmDataUnit) * kShmDataUnit;
      cell.mark = (random() & 0xffff) | (1 + random() % 5 + (random() % 50 == 0 ? 5 : 0)) << 32 |
                  uint64_t{shm_mark(n)} << 48;
      const ShmPolled polled = pair.consumer.poll(inside);
      REQUIRE(polled != ShmPolled::empty);
      if (polled == ShmPolled::broken) {
        ++broken;
        break;
      }
    }
  }
  CHECK(taken > 2000);
  CHECK(broken > 1000);
}

TEST_CASE("Whatever the consumer says that it has consumed, the producer stays within the ring") {
  std::mt19937_64 random(2);
  for (int round = 0; round < 200; ++round) {
    Pair pair;
    for (int step = 0; step < 300; ++step) {
      pair.memory.ring->consumed = round % 2 == 0 ? random() : random() % 1000 | random() % (1 << 20) << 32;
      put(pair.producer, static_cast<uint32_t>(step),
          random() % 3 == 0 ? random() % (kMostShmPayload + 1) : 8);
    }
  }
  SUCCEED();
}

TEST_CASE("A consumer that says that it has consumed what it cannot have gets no more packets") {
  for (const uint32_t said : {kShmCells + 1, 2 * kShmCells, 0u - 1, 0x8000'0000u}) {
    Pair pair;
    for (uint32_t n = 0; n < kShmCells; ++n) REQUIRE(put(pair.producer, n, 8));
    pair.memory.ring->consumed = said;
    CHECK_FALSE(put(pair.producer, 999, 8));
    pair.memory.ring->consumed = 1;
    CHECK(put(pair.producer, kShmCells, 8));
    CHECK_FALSE(put(pair.producer, 999, 8));
  }
}

TEST_CASE("Two threads: everything arrives once, in order, unharmed") {
  Pair pair(ShmStart{0u - 4 * kShmCells, 0u - kShmDataSize});
#ifdef __SANITIZE_THREAD__
  constexpr uint32_t kPackets = 20'000;
#else
  constexpr uint32_t kPackets = 200'000;
#endif
  const auto length_of = [](uint32_t n) -> size_t {
    const uint32_t mixed = n * 2654435761u >> 8;
    return mixed % 16 == 0 ? mixed % (kMostShmPayload + 1) : mixed % 4 == 0 ? mixed % 500 : mixed % 48;
  };
  std::thread sender([&] {
    for (uint32_t n = 0; n < kPackets;) {
      if (put(pair.producer, n, length_of(n)))
        ++n;
      else
        std::this_thread::yield();
    }
  });
  uint32_t next = 0, wrong = 0;
  while (next < kPackets) {
    const auto polled = pair.consumer.poll([&](const PacketHeader& header, const uint8_t* payload) {
      const auto expected = bytes_of(next, length_of(next));
      if (header.tag != static_cast<int32_t>(next) || header.length != expected.size() ||
          !std::equal(expected.begin(), expected.end(), payload))
        ++wrong;
      ++next;
    });
    if (polled == ShmPolled::broken) break;
    if (polled == ShmPolled::empty) std::this_thread::yield();
  }
  CHECK(next == kPackets);
  sender.join();
  CHECK(wrong == 0);
}

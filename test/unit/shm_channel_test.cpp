// The shm channel: several senders, hot and cold rings, doorbells, handlers that poll, senders that are killed.
#include "channel/shm_channel.hpp"

#include <csignal>
#include <cstddef>
#include <random>
#include <utility>

#include "shm_peers.hpp"

using namespace efa;

TEST_CASE("A process sends to itself") {
  Channel it;
  CHECK(same_node_possible(it.channel.address()));
  const Sender sender = connect(it.channel.address(), 77);
  CHECK(it.channel.poll(it.receiver) == 0);
  for (uint32_t n = 0; n < 1000; ++n) {
    REQUIRE(send(*sender, 77, n));
    it.receive(n + 1, 2);
  }
  CHECK(it.receiver.peers.at(77).next == 1000);
}

TEST_CASE("A payload in two parts") {
  Channel it;
  const Sender sender = connect(it.channel.address(), 3);
  for (uint32_t n = 0; n < 100; ++n) {
    const auto bytes = bytes_of(3, n);
    const size_t first = bytes.size() / 3;
    REQUIRE(sender->send2({0, 3, static_cast<int32_t>(n), 0, 0, PacketType::eager, 0, 0}, bytes.data(), first,
                          bytes.data() + first, bytes.size() - first));
    it.receive(n + 1, 2);
  }
}

TEST_CASE("A full ring refuses, and nothing is lost") {
  Channel it;
  const Sender sender = connect(it.channel.address(), 5);
  uint32_t n = 0;
  while (send(*sender, 5, n)) ++n;
  CHECK(n > 20);
  it.receive(n);
  REQUIRE(send(*sender, 5, n++));
  it.receive(n);
}

TEST_CASE("Several processes send at once: everything arrives, in order for each") {
  Channel it;
  constexpr uint32_t kSenders = 12, kPackets = 3000;
  std::vector<pid_t> pids;
  for (uint32_t i = 0; i < kSenders; ++i)
    pids.push_back(start([&] { send_in_child(it.channel.address(), 100 + i, kPackets); }));
  for (int idle = 0; it.receiver.total < kSenders * kPackets && idle < 100'000;) {
    if (it.channel.poll(it.receiver) > 0)
      idle = 0;
    else
      ++idle, usleep(10);
  }
  for (const pid_t pid : pids) CHECK(wait_for(pid) == 0);
  CHECK(it.receiver.total == kSenders * kPackets);
  CHECK(it.receiver.wrong == 0);
  CHECK(it.receiver.peers.size() == kSenders);
  for (const auto& [uid, peer] : it.receiver.peers) CHECK(peer.next == kPackets);
}

TEST_CASE("A sender that is killed: whole packets arrive in order, then none; others are not affected") {
  Channel it;
  const pid_t victim = start([&] { send_in_child(it.channel.address(), 1, UINT32_MAX); });
  const pid_t other = start([&] { send_in_child(it.channel.address(), 2, 20'000); });
  while (it.receiver.peers.count(1) == 0 || it.receiver.peers.at(1).next < 5000) it.channel.poll(it.receiver);
  kill(victim, SIGKILL);
  CHECK(WIFSIGNALED(wait_for(victim)));
  for (int idle = 0;
       idle < 20'000 || it.receiver.peers.count(2) == 0 || it.receiver.peers.at(2).next < 20'000;)
    idle = it.channel.poll(it.receiver) > 0 ? 0 : idle + 1;
  CHECK(wait_for(other) == 0);
  CHECK(it.receiver.wrong == 0);
  CHECK(it.receiver.broken_uids.empty());
  const uint32_t before = it.receiver.total;
  for (int i = 0; i < 10'000; ++i) it.channel.poll(it.receiver);
  CHECK(it.receiver.total == before);
}

TEST_CASE("Doorbells and slots that nobody has claimed do no harm") {
  Channel it;
  ShmHeader* const header = map_header(it.channel.address());
  std::fill(std::begin(header->doorbells.rung), std::end(header->doorbells.rung), ~uint64_t{0});
  header->doorbells.words = ~uint64_t{0};
  CHECK(it.channel.poll(it.receiver) == 0);
  CHECK(it.channel.hot_rings() == 0);
  const Sender sender = connect(it.channel.address(), 4);
  REQUIRE(send(*sender, 4, 0));
  it.receive(1, 2);
  munmap(header, sizeof(ShmHeader));
}

TEST_CASE("More senders than hot rings: each packet arrives at the next poll or the one after") {
  Channel it;
  constexpr uint32_t kSenders = 3 * kMostHotRings;
  std::vector<Sender> senders;
  for (uint32_t i = 0; i < kSenders; ++i) senders.push_back(connect(it.channel.address(), 200 + i));
  std::vector<uint32_t> sent(kSenders);
  uint32_t total = 0;
  for (int round = 0; round < 50; ++round) {
    for (uint32_t i = 0; i < kSenders; ++i)
      for (uint32_t n = 0; n < 1 + i % 3; ++n) {
        REQUIRE(send(*senders[i], 200 + i, sent[i]++));
        ++total;
      }
    it.receive(total, 2);
    CHECK(it.channel.hot_rings() <= kMostHotRings);
  }
  CHECK(it.channel.hot_rings() == kMostHotRings);
  // All at once, more than a batch.
  for (uint32_t i = 0; i < kSenders; ++i)
    while (send(*senders[i], 200 + i, sent[i])) ++sent[i], ++total;
  it.receive(total, 2);
}

TEST_CASE("Silent rings get cold, but for one; a packet makes its ring hot again") {
  Channel it;
  constexpr uint32_t kSenders = 25;
  std::vector<Sender> senders;
  for (uint32_t i = 0; i < kSenders; ++i) senders.push_back(connect(it.channel.address(), 300 + i));
  uint32_t total = 0;
  for (uint32_t round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < kSenders; ++i) REQUIRE(send(*senders[i], 300 + i, round));
    it.receive(total += kSenders, 2);
    CHECK(it.channel.hot_rings() == kMostHotRings);
    it.let_cool();
    CHECK(it.channel.hot_rings() == 1);
  }
  // In turn, each alone: room is made for each.
  for (uint32_t i = 0; i < kSenders; ++i) {
    REQUIRE(send(*senders[i], 300 + i, 3));
    it.receive(++total, 1);
    it.let_cool();
    CHECK(it.channel.hot_rings() == 1);
  }
}

TEST_CASE("A ring that is used stays hot while others get cold, and rings no doorbell") {
  Channel it;
  std::vector<Sender> senders;
  ShmHeader* const header = map_header(it.channel.address());
  for (uint32_t i = 0; i < 3; ++i) {
    senders.push_back(connect(it.channel.address(), i));
    REQUIRE(send(*senders[i], i, 0));
  }
  CHECK(header->doorbells.words == 1);
  CHECK(header->doorbells.rung[0] == 7);
  it.receive(3, 1);
  // Neither the first nor the last one of the hot rings.
  uint32_t n = 1;
  for (uint32_t i = 0; i < 3 * kShmTickPolls * kShmCoolTicks; ++i) {
    if (i % 1000 == 0) REQUIRE(send(*senders[1], 1, n++));
    REQUIRE(header->doorbells.words == 0);
    it.channel.poll(it.receiver);
  }
  it.receive(2 + n);
  CHECK(it.channel.hot_rings() == 1);
  for (const uint32_t silent : {0, 2}) {
    REQUIRE(send(*senders[silent], silent, 1));
    CHECK(header->doorbells.words == 1);
    it.receive(3 + n + silent / 2, 1);
  }
  munmap(header, sizeof(ShmHeader));
}

TEST_CASE("A missed doorbell delays packets, and loses none") {
  Channel it;
  constexpr uint32_t kSenders = 20;
  std::vector<Sender> senders;
  for (uint32_t i = 0; i < kSenders; ++i) {
    senders.push_back(connect(it.channel.address(), i));
    REQUIRE(send(*senders[i], i, 0));
  }
  it.receive(kSenders);
  it.let_cool();
  ShmHeader* const header = map_header(it.channel.address());
  for (uint32_t i = 0; i < kSenders; ++i) REQUIRE(send(*senders[i], i, 1));
  // As if the senders had still seen hot rings.
  header->doorbells = {};
  it.receive(2 * kSenders, static_cast<int>(kShmTickPolls * kSenders));
  munmap(header, sizeof(ShmHeader));
}

TEST_CASE("A handler that polls: nothing is lost, twice, or out of order") {
  Channel it;
  constexpr uint32_t kSenders = 20;
  std::vector<Sender> senders;
  for (uint32_t i = 0; i < kSenders; ++i) senders.push_back(connect(it.channel.address(), i));
  int depth = 0, deepest = 0;
  it.receiver.then = [&](ShmSource&) {
    deepest = std::max(deepest, ++depth);
    if (depth < 30) it.channel.poll(it.receiver);
    --depth;
  };
  std::vector<uint32_t> sent(kSenders);
  uint32_t total = 0;
  for (int round = 0; round < 200; ++round) {
    for (uint32_t i = 0; i < kSenders; ++i)
      for (uint32_t n = 0; n < (round + i) % 40 && send(*senders[i], i, sent[i]); ++n) ++sent[i], ++total;
    if (round % 3 == 0) it.channel.poll(it.receiver);
    if (round % 50 == 49) it.receive(total), it.let_cool();
  }
  it.receive(total);
  CHECK(deepest == 30);
}

TEST_CASE("A handler finds the later packets of any sender, also of one whose ring waits") {
  Channel it;
  constexpr uint32_t kSenders = 2 * kMostHotRings;
  std::vector<Sender> senders;
  for (uint32_t i = 0; i < kSenders; ++i) senders.push_back(connect(it.channel.address(), i));
  for (uint32_t i = 0; i < kSenders; ++i)
    for (uint32_t n = 0; n < 20; ++n) REQUIRE(send(*senders[i], i, n));
  bool first = true;
  it.receiver.then = [&](ShmSource&) {
    if (!std::exchange(first, false)) return;
    it.receive(20 * kSenders, 1);
  };
  it.channel.poll(it.receiver);
  CHECK(it.receiver.total == 20 * kSenders);
}

TEST_CASE("A sender that writes nonsense is reported once, and dropped; others go on") {
  Channel it;
  const bool was_hot = GENERATE(false, true);
  const Sender good = connect(it.channel.address(), 1);
  ShmClaim bad;
  ShmFailure failure;
  REQUIRE(bad.claim(it.channel.address(), 2, failure));
  ShmCell* const cells = bad.ring()->cells;
  if (was_hot) {
    ShmProducer producer(bad.ring());
    REQUIRE(producer.put({0, 2, 0, 0, 0, PacketType::eager, 0, 0}, nullptr, 0));
    bad.header()->doorbells.rung[0] = 2;
    bad.header()->doorbells.words = 1;
    it.receive(1, 2);
    cells[1].mark = uint64_t{shm_mark(0)} << 48 | uint64_t{77} << 32;
  } else {
    cells[0].mark = uint64_t{0x4321} << 48;
    bad.header()->doorbells.rung[0] = 2;
    bad.header()->doorbells.words = 1;
  }
  // A mark that cannot be is found when the hot ring is looked at closely.
  for (uint32_t i = 0; i < 3 * kShmTickPolls * kShmCoolTicks; ++i) it.channel.poll(it.receiver);
  CHECK(it.receiver.broken_uids == std::vector<uint64_t>{2});
  CHECK(it.channel.hot_rings() == 0);
  bad.header()->doorbells.rung[0] = 2;
  bad.header()->doorbells.words = 1;
  REQUIRE(send(*good, 1, 0));
  it.receive(was_hot + 1, 2);
  CHECK(it.channel.hot_rings() == 1);
  CHECK(it.receiver.broken_uids.size() == 1);
}

TEST_CASE("A segment full of random bytes does no harm") {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20; ++round) {
    Channel it;
    ShmHeader* const header = map_header(it.channel.address());
    std::vector<std::unique_ptr<ShmClaim>> claims;
    for (uint32_t i = 0; i < 2 * kMostHotRings; ++i) {
      ShmFailure failure;
      claims.push_back(std::make_unique<ShmClaim>());
      REQUIRE(claims.back()->claim(it.channel.address(), i, failure));
    }
    const auto scribble = [&](void* at, size_t bytes) {
      for (size_t i = 0; i + 8 <= bytes; i += 8) {
        const uint64_t word = random();
        std::memcpy(static_cast<char*>(at) + i, &word, 8);
      }
    };
    struct {
      void packet(ShmSource& source, const PacketHeader& packet, const uint8_t* payload) {
        REQUIRE(source.slot < kShmSlots);
        REQUIRE(packet.length <= kMostShmPayload);
        for (uint32_t i = 0; i < packet.length; ++i) sum += payload[i];
      }
      void broken(ShmSource& source) { broken_slots.push_back(source.slot); }
      uint64_t sum = 0;
      std::vector<uint32_t> broken_slots;
    } handler;
    for (int step = 0; step < 30; ++step) {
      // Everything behind what identifies the segment.
      scribble(&header->slots_used, sizeof(ShmHeader) - offsetof(ShmHeader, slots_used));
      if (step >= 5)
        for (uint32_t i = 0; i < claims.size() + 5; ++i) header->slots[i].ready = 1;
      if (step == 10)
        for (const auto& claim : claims) scribble(claim->ring()->cells, sizeof claim->ring()->cells);
      for (uint32_t i = 0; i < kShmTickPolls * 50; ++i) it.channel.poll(handler);
      REQUIRE(it.channel.hot_rings() <= kMostHotRings);
    }
    for (uint32_t i = 0; i < kShmTickPolls * (kShmSlots + kShmCoolTicks); ++i) it.channel.poll(handler);
    CHECK(handler.broken_slots.size() == claims.size());
    munmap(header, sizeof(ShmHeader));
  }
}

// Messages that no correct peer sends. None may crash, write outside a buffer, or complete anything twice;
// each is an error in words, which name the peer where it is known.
#include <random>

#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;
using efa::ControlType;

namespace {

// A send that waits for its receiver.
struct Waiting {
  explicit Waiting(Transport& x) : data(pattern(10000)) {
    x.send(r, x.one, 5, data.data(), data.size());
    x.fabric.complete(x.fabric.take(Call::tagged_send));
    x.progress();
  }
  std::vector<char> data;
  Request r;
};

}  // namespace

TEST_CASE("Control messages that are none are fatal, in words") {
  Transport x;
  Waiting send(x);
  const auto good = x.control(ControlType::clear_to_send, x.one, send.r.ready_id, 10000);
  const auto refuses = [&](const void* bytes, size_t size) {
    const size_t before = x.fatals.size();
    x.fabric.arrive_control(bytes, size);
    x.progress();
    return x.fatals.size() == before + 1 && send.r.times == 0 && x.fabric.count(Call::tagged_send) == 0;
  };
  for (size_t size = 0; size < sizeof good; ++size) CHECK(refuses(&good, size));
  uint8_t longer[64] = {};
  std::memcpy(longer, &good, sizeof good);
  CHECK(refuses(longer, sizeof longer));
  auto bad = good;
  bad.magic = 1;
  CHECK(refuses(&bad, sizeof bad));
  bad = good, bad.version = efa::kWireVersion + 1;
  CHECK(refuses(&bad, sizeof bad));
  CHECK_THAT(x.fatals.back(), Contains("from rank 1 on host there"));
  bad = good, bad.type = static_cast<ControlType>(99);
  CHECK(refuses(&bad, sizeof bad));
  bad = good, bad.piece = 0;
  CHECK(refuses(&bad, sizeof bad));

  // And after all of that the right one still works.
  x.arrive(good);
  CHECK(x.fabric.count(Call::tagged_send) == 2);
}

TEST_CASE("Answers to a send that does not exist, or not as they say, are fatal and name the peer") {
  Transport x;
  x.t->protocols.pulls = true;
  Waiting send(x);
  const auto refuses = [&](const efa::Control& message, const char* words) {
    x.fatals.clear();
    x.arrive(message);
    CAPTURE(efa::to_string(message));
    REQUIRE(x.fatals.size() == 1);
    CHECK_THAT(x.fatals[0], Contains("An impossible message arrived") && Contains(words));
    CHECK(send.r.times == 0);
    CHECK(x.fabric.count(Call::tagged_send) == 0);
    CHECK(x.fabric.registrations == 1);
  };
  const uint64_t id = send.r.ready_id;
  for (const auto type : {ControlType::clear_to_send, ControlType::finished}) {
    refuses(x.control(type, x.one, id + 1, 10), "from rank 1 on host there");
    refuses(x.control(type, x.one, id + (uint64_t{1} << 32), 10),
            "from rank 1 on host there");                                  // a later generation
    refuses(x.control(type, x.two, id, 10), "from rank 2 on host there");  // not the one it was sent to
    refuses(x.control(type, x.two, id, 10), "to rank 1 on host there");
    refuses(x.control(type, x.one, id, 10001), "from rank 1 on host there");  // more than there is
    auto stranger = x.control(type, x.one, id, 10);
    stranger.sender = 4711;
    refuses(stranger, "no peer of this one");
  }
  refuses(x.control(ControlType::acknowledge, x.one, 12345), "from rank 1 on host there (NIC fake9): ACK");

  x.arrive(x.control(ControlType::finished, x.one, id, 10000));
  CHECK(send.r.times == 1);
  // Twice.
  x.fatals.clear();
  x.arrive(x.control(ControlType::finished, x.one, id, 10000));
  CHECK(x.fatals.size() == 1);
  CHECK(send.r.times == 1);
}

TEST_CASE("Finished for a send that offered nothing is impossible") {
  Transport x;
  Waiting send(x);
  x.arrive(x.control(ControlType::finished, x.one, send.r.ready_id, 10000));
  CHECK(x.fatals.size() == 1);
  CHECK(send.r.times == 0);
}

TEST_CASE("Pieces too many to be numbered are impossible") {
  Transport x;
  Request r;
  char byte = 0;
  x.send(r, x.one, 5, &byte, uint64_t{1} << 40);  // nothing of it is touched
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.arrive(x.control(ControlType::clear_to_send, x.one, r.ready_id, uint64_t{1} << 40, 1));
  CHECK(x.fatals.size() == 1);
  CHECK(x.fabric.count(Call::tagged_send) == 0);
}

TEST_CASE("A second clear-to-send is impossible") {
  Transport x;
  Waiting send(x);
  const auto clear = x.control(ControlType::clear_to_send, x.one, send.r.ready_id, 10000);
  x.arrive(clear);
  x.arrive(clear);
  CHECK(x.fatals.size() == 1);
  CHECK(x.fabric.count(Call::tagged_send) == 2);  // of the first
}

TEST_CASE("Ready-to-send messages that are none end their receive with an error that names the sender") {
  Transport x;
  const auto good = x.ready(1, 10000);
  const auto refuses = [&](const void* bytes, size_t size) {
    x.fatals.clear();
    std::vector<char> buffer(2064, 0x5a);
    Request r;
    x.receive(r, &x.one, 5, buffer.data(), 2000);
    x.fabric.arrive(x.bits(efa::kKindRts, 1, 5), 1, bytes, size);
    x.progress();
    REQUIRE(x.fatals.size() == 1);
    CHECK_THAT(x.fatals[0], Contains("rank 1 on host there"));
    CHECK(r.times == 1);
    CHECK(r.status.result == EFA_FAILED);
    CHECK(x.fabric.count(Call::send) == 0);
    for (size_t i = 2000; i < buffer.size(); ++i) REQUIRE(buffer[i] == 0x5a);
  };
  for (size_t size = 0; size < good.size(); ++size) refuses(&good, size);
  const std::vector<char> long_one(1024, 'x');
  refuses(long_one.data(), long_one.size());
  auto bad = good;
  bad.piece = 0;
  refuses(&bad, bad.size());
  bad = good, bad.version = 1;
  refuses(&bad, bad.size());
  bad = good, bad.rails = 200;
  refuses(&bad, sizeof bad);
}

TEST_CASE("An absurd length is cut to the receive's") {
  Transport x;
  std::vector<char> buffer(3000);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), buffer.size());
  x.arrive(x.ready(1, UINT64_MAX, UINT64_MAX), 1, 5);
  CHECK(r.status.length == 3000);
  const Posted piece = x.fabric.take(Call::tagged_receive);
  CHECK(piece.into[0].iov_base == buffer.data());
  CHECK(piece.into[0].iov_len == 3000);
}

TEST_CASE("A piece of another length than announced is fatal and names the sender") {
  Transport x;
  std::vector<char> buffer(3000);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), buffer.size());
  x.arrive(x.ready(1, 3000), 1, 5);
  const Posted piece = x.fabric.take(Call::tagged_receive);
  x.fabric.complete(piece, 2999, piece.tag);
  x.progress();
  REQUIRE(x.fatals.size() == 1);
  CHECK_THAT(x.fatals[0], Contains("2999 bytes") && Contains("rank 1 on host there") && Contains("3000"));
  CHECK(r.times == 1);
}

TEST_CASE("An eager message that is longer than any may be is fatal where its data has no place") {
  Transport x;
  std::vector<char> memory(10000, 0x5a);
  Layout layout{memory.data(), 50, 50};
  Request r;
  x.receive(r, nullptr, 5, nullptr, 5000, &layout);  // it takes 1024 bytes at once, the eager limit
  const Posted p = x.fabric.take(Call::tagged_receive);
  x.fabric.fail(p.context, FI_ETRUNC, 0, x.bits(efa::kKindEager, 2, 5), 2);
  x.progress();
  REQUIRE(x.fatals.size() == 1);
  CHECK_THAT(x.fatals[0], Contains("1024 bytes") && Contains("rank 2 on host there"));
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_FAILED);
}

TEST_CASE("Random bytes as control and ready-to-send messages never complete what they do not belong to") {
  Transport x;
  x.t->protocols.pulls = true;
  Waiting send(x);
  std::mt19937_64 random(20240607);
  for (int i = 0; i < 20000; ++i) {
    auto message = x.control(static_cast<ControlType>(1 + random() % 4), random() % 2 ? x.one : x.two,
                             random() % 4 ? send.r.ready_id + 1 + random() % 3 : random(), random() % 20000,
                             random() % 5);
    if (random() % 3 == 0)
      reinterpret_cast<uint8_t*>(&message)[random() % sizeof message] ^= 1 << random() % 8;
    if (message.request == send.r.ready_id) continue;  // that would be a real answer
    x.fabric.arrive_control(&message, random() % 8 ? sizeof message : random() % sizeof message);
    x.progress();
  }
  CHECK(send.r.times == 0);
  CHECK(x.fabric.count(Call::tagged_send) == 0);
  for (int i = 0; i < 5000; ++i) {
    std::vector<char> buffer(600);
    Request r;
    x.receive(r, &x.one, 5, buffer.data(), buffer.size());
    auto ready = x.ready(random(), random(), random());
    ready.rails = static_cast<uint8_t>(random() % 12);
    ready.address = random();
    reinterpret_cast<uint8_t*>(&ready)[random() % 24] ^= 1 << random() % 8;
    x.fabric.arrive(x.bits(efa::kKindRts, 1, 5), 1, &ready, std::min(ready.size(), sizeof ready));
    x.progress();
    // Either refused, or waiting for data that may only go into the buffer.
    if (r.times == 0) {
      const Call kind = x.fabric.count(Call::read) ? Call::read : Call::tagged_receive;
      while (x.fabric.count(kind)) {
        const Posted p = x.fabric.take(kind);
        const auto* at = static_cast<char*>(p.into[0].iov_base);
        REQUIRE(at >= buffer.data());
        REQUIRE(at + p.into[0].iov_len <= buffer.data() + buffer.size());
        x.fabric.complete(p, p.into[0].iov_len, p.tag);
        x.progress();
      }
    }
    REQUIRE(r.times == 1);
    while (x.fabric.count(Call::send)) x.fabric.complete(x.fabric.take(Call::send));
    x.progress();
  }
}

// Malformed control and ready-to-send messages. They must not crash, write outside a buffer, or complete a request twice.
// Each is an error whose text names the peer if it is known.
#include <random>

#include "catch.hpp"
#include "fake_transport.hpp"
#include "protocol/control.hpp"
#include "protocol/wire.hpp"

using namespace fake;
using efa::ControlType;

namespace {

// A rendezvous send that waits for the receiver's answer.
struct WaitingSend {
  explicit WaitingSend(Transport& fixture) : data(pattern(10000)) {
    fixture.send(request, fixture.one, 5, data.data(), data.size());
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.progress();
  }
  std::vector<char> data;
  Request request;
};

}  // namespace

TEST_CASE("Malformed control messages are fatal, with a message") {
  Transport fixture;
  WaitingSend send(fixture);
  const auto good = fixture.control(ControlType::clear_to_send, fixture.one, send.request.ready_id, 10000);
  const auto is_fatal = [&](const void* bytes, size_t size) {
    const size_t before = fixture.fatals.size();
    fixture.fabric.arrive_control(bytes, size);
    fixture.progress();
    return fixture.fatals.size() == before + 1 && send.request.times == 0 &&
           fixture.fabric.count(Call::tagged_send) == 0;
  };
  for (size_t size = 0; size < sizeof good; ++size) CHECK(is_fatal(&good, size));
  uint8_t longer[64] = {};
  std::memcpy(longer, &good, sizeof good);
  CHECK(is_fatal(longer, sizeof longer));
  auto bad = good;
  bad.magic = 1;
  CHECK(is_fatal(&bad, sizeof bad));
  bad = good, bad.version = efa::kWireVersion + 1;
  CHECK(is_fatal(&bad, sizeof bad));
  CHECK_THAT(fixture.fatals.back(), Contains("from rank 1 on host there"));
  bad = good, bad.type = static_cast<ControlType>(99);
  CHECK(is_fatal(&bad, sizeof bad));
  bad = good, bad.piece = 0;
  CHECK(is_fatal(&bad, sizeof bad));

  // Afterwards a valid message still works.
  fixture.arrive(good);
  CHECK(fixture.fabric.count(Call::tagged_send) == 2);
}

TEST_CASE(
    "An answer that matches no send, or another peer's or another length, is fatal and names the peer") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  WaitingSend send(fixture);
  const auto expect_fatal = [&](const efa::Control& message, const char* words) {
    fixture.fatals.clear();
    fixture.arrive(message);
    CAPTURE(efa::to_string(message));
    REQUIRE(fixture.fatals.size() == 1);
    CHECK_THAT(fixture.fatals[0], Contains("An impossible message arrived") && Contains(words));
    CHECK(send.request.times == 0);
    CHECK(fixture.fabric.count(Call::tagged_send) == 0);
    CHECK(fixture.fabric.registrations == 1);
  };
  const uint64_t id = send.request.ready_id;
  for (const auto type : {ControlType::clear_to_send, ControlType::finished}) {
    expect_fatal(fixture.control(type, fixture.one, id + 1, 10), "from rank 1 on host there");
    expect_fatal(fixture.control(type, fixture.one, id + (uint64_t{1} << 32), 10),
                 "from rank 1 on host there");  // a later generation
    expect_fatal(fixture.control(type, fixture.two, id, 10),
                 "from rank 2 on host there");  // not the peer that the message was sent to
    expect_fatal(fixture.control(type, fixture.two, id, 10), "to rank 1 on host there");
    expect_fatal(fixture.control(type, fixture.one, id, 10001),
                 "from rank 1 on host there");  // more bytes than the message has
    auto stranger = fixture.control(type, fixture.one, id, 10);
    stranger.sender = 4711;
    expect_fatal(stranger, "an unknown process");
  }
  expect_fatal(fixture.control(ControlType::acknowledge, fixture.one, 12345),
               "from rank 1 on host there (NIC fake9): ACK");

  fixture.arrive(fixture.control(ControlType::finished, fixture.one, id, 10000));
  CHECK(send.request.times == 1);
  // A second time.
  fixture.fatals.clear();
  fixture.arrive(fixture.control(ControlType::finished, fixture.one, id, 10000));
  CHECK(fixture.fatals.size() == 1);
  CHECK(send.request.times == 1);
}

TEST_CASE("`finished` for a send without memory keys is fatal") {
  Transport fixture;
  WaitingSend send(fixture);
  fixture.arrive(fixture.control(ControlType::finished, fixture.one, send.request.ready_id, 10000));
  CHECK(fixture.fatals.size() == 1);
  CHECK(send.request.times == 0);
}

TEST_CASE("A clear-to-send with more pieces than can be numbered is fatal") {
  Transport fixture;
  Request request;
  char byte = 0;
  fixture.send(request, fixture.one, 5, &byte, uint64_t{1} << 40);  // the data is not read
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.arrive(
      fixture.control(ControlType::clear_to_send, fixture.one, request.ready_id, uint64_t{1} << 40, 1));
  CHECK(fixture.fatals.size() == 1);
  CHECK(fixture.fabric.count(Call::tagged_send) == 0);
}

TEST_CASE("A second clear-to-send is fatal") {
  Transport fixture;
  WaitingSend send(fixture);
  const auto clear = fixture.control(ControlType::clear_to_send, fixture.one, send.request.ready_id, 10000);
  fixture.arrive(clear);
  fixture.arrive(clear);
  CHECK(fixture.fatals.size() == 1);
  CHECK(fixture.fabric.count(Call::tagged_send) == 2);  // of the first clear-to-send
}

TEST_CASE("A malformed ready-to-send message ends its receive with an error that names the sender") {
  Transport fixture;
  const auto good = fixture.ready(1, 10000);
  const auto expect_error = [&](const void* bytes, size_t size) {
    fixture.fatals.clear();
    std::vector<char> buffer(2064, 0x5a);
    Request request;
    fixture.receive(request, &fixture.one, 5, buffer.data(), 2000);
    fixture.fabric.arrive(fixture.bits(efa::kKindRts, 1, 5), 1, bytes, size);
    fixture.progress();
    REQUIRE(fixture.fatals.size() == 1);
    CHECK_THAT(fixture.fatals[0], Contains("rank 1 on host there"));
    CHECK(request.times == 1);
    CHECK(request.status.result == EFA_FAILED);
    CHECK(fixture.fabric.count(Call::send) == 0);
    for (size_t i = 2000; i < buffer.size(); ++i) REQUIRE(buffer[i] == 0x5a);
  };
  for (size_t size = 0; size < good.size(); ++size) expect_error(&good, size);
  const std::vector<char> long_one(1024, 'x');
  expect_error(long_one.data(), long_one.size());
  auto bad = good;
  bad.piece = 0;
  expect_error(&bad, bad.size());
  bad = good, bad.version = 1;
  expect_error(&bad, bad.size());
  bad = good, bad.rails = 200;
  expect_error(&bad, sizeof bad);
}

TEST_CASE("A ready-to-send message with a huge length is truncated to the receive") {
  Transport fixture;
  std::vector<char> buffer(3000);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
  fixture.arrive(fixture.ready(1, UINT64_MAX, UINT64_MAX), 1, 5);
  CHECK(request.status.length == 3000);
  const Posted piece = fixture.fabric.take(Call::tagged_receive);
  CHECK(piece.into[0].iov_base == buffer.data());
  CHECK(piece.into[0].iov_len == 3000);
}

TEST_CASE("A piece of another length than announced is fatal and names the sender") {
  Transport fixture;
  std::vector<char> buffer(3000);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
  fixture.arrive(fixture.ready(1, 3000), 1, 5);
  const Posted piece = fixture.fabric.take(Call::tagged_receive);
  fixture.fabric.complete(piece, 2999, piece.tag);
  fixture.progress();
  REQUIRE(fixture.fatals.size() == 1);
  CHECK_THAT(fixture.fatals[0],
             Contains("2999 bytes") && Contains("rank 1 on host there") && Contains("3000"));
  CHECK(request.times == 1);
}

TEST_CASE("An eager message beyond the eager limit is fatal if there is no buffer for its data") {
  Transport fixture;
  std::vector<char> memory(10000, 0x5a);
  Layout layout{memory.data(), 50, 50};
  Request request;
  fixture.receive(request, nullptr, 5, nullptr, 5000, &layout);  // its buffer has 1024 bytes, the eager limit
  const Posted posted = fixture.fabric.take(Call::tagged_receive);
  fixture.fabric.fail(posted.context, FI_ETRUNC, 0, fixture.bits(efa::kKindEager, 2, 5), 2);
  fixture.progress();
  REQUIRE(fixture.fatals.size() == 1);
  CHECK_THAT(fixture.fatals[0], Contains("1024 bytes") && Contains("rank 2 on host there"));
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_FAILED);
}

TEST_CASE("Random bytes as control and ready-to-send messages never complete another request") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  WaitingSend send(fixture);
  std::mt19937_64 random(20240607);
  for (int i = 0; i < 20000; ++i) {
    auto message = fixture.control(
        static_cast<ControlType>(1 + random() % 4), random() % 2 ? fixture.one : fixture.two,
        random() % 4 ? send.request.ready_id + 1 + random() % 3 : random(), random() % 20000, random() % 5);
    if (random() % 3 == 0)
      reinterpret_cast<uint8_t*>(&message)[random() % sizeof message] ^= 1 << random() % 8;
    if (message.request == send.request.ready_id) continue;  // that would be a valid answer
    fixture.fabric.arrive_control(&message, random() % 8 ? sizeof message : random() % sizeof message);
    fixture.progress();
  }
  CHECK(send.request.times == 0);
  CHECK(fixture.fabric.count(Call::tagged_send) == 0);
  for (int i = 0; i < 5000; ++i) {
    std::vector<char> buffer(600);
    Request request;
    fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
    auto ready = fixture.ready(random(), random(), random());
    ready.rails = static_cast<uint8_t>(random() % 12);
    ready.address = random();
    reinterpret_cast<uint8_t*>(&ready)[random() % 24] ^= 1 << random() % 8;
    fixture.fabric.arrive(fixture.bits(efa::kKindRts, 1, 5), 1, &ready, std::min(ready.size(), sizeof ready));
    fixture.progress();
    // The receive was refused, or it waits for data that may only go into its buffer.
    if (request.times == 0) {
      const Call kind = fixture.fabric.count(Call::read) ? Call::read : Call::tagged_receive;
      while (fixture.fabric.count(kind)) {
        const Posted posted = fixture.fabric.take(kind);
        const auto* at = static_cast<char*>(posted.into[0].iov_base);
        REQUIRE(at >= buffer.data());
        REQUIRE(at + posted.into[0].iov_len <= buffer.data() + buffer.size());
        fixture.fabric.complete(posted, posted.into[0].iov_len, posted.tag);
        fixture.progress();
      }
    }
    REQUIRE(request.times == 1);
    while (fixture.fabric.count(Call::send)) fixture.fabric.complete(fixture.fabric.take(Call::send));
    fixture.progress();
  }
}

// What no process of this version sends, and what this one does when memory is short: one report, and no access outside.
#include <cstdlib>

#include "catch.hpp"
#include "no_memory.hpp"
#include "packet_transport.hpp"
#include "packets/arrival.hpp"
#include "packets/incoming.hpp"

using namespace fake;
using efa::PacketType;

namespace {

constexpr PacketType kMessages[] = {PacketType::eager, PacketType::synchronous, PacketType::ready_to_send};

// A packet in memory that ends with its payload, so that AddressSanitizer finds what is read behind it.
void arrive_exactly(PacketTransport& fixture, PacketType type, int32_t rank, int32_t tag, const void* bytes,
                    size_t size, uint32_t context = kContext) {
  std::unique_ptr<uint8_t, decltype(&std::free)> payload(static_cast<uint8_t*>(std::malloc(size ? size : 1)),
                                                         std::free);
  if (size) std::memcpy(payload.get(), bytes, size);
  efa::packet_arrived(fixture.t, nullptr, {context, rank, tag, static_cast<uint32_t>(size), 0, type, 0, 0},
                      payload.get());
}

// A message of rank 1 still arrives, and is the only one that is received or kept.
void check_goes_on(PacketTransport& fixture) {
  fixture.fatals.clear();
  TextReceive receive(fixture, &fixture.one, 1234);
  fixture.arrive(1, 1234, "alive");
  CHECK(receive.text() == "alive");
  CHECK(fixture.fatals.empty());
  CHECK(fixture.t->packets->kept == 0);
  CHECK(fixture.t->packets->kept_bytes == 0);
  CHECK(fixture.fabric.count(Call::receive) == 64);  // of the channel
  CHECK(fixture.fabric.count(Call::send) == 0);
}

}  // namespace

TEST_CASE("A packet of a type that is not known is fatal") {
  PacketTransport fixture;
  const auto data = pattern(100);
  for (int type = 0; type < 256; ++type) {
    if (type >= 1 && type <= 4) continue;
    CAPTURE(type);
    TextReceive receive(fixture, nullptr, EFA_ANY_TAG);
    fixture.fatals.clear();
    fixture.arrive(static_cast<PacketType>(type), 1, 7, data.data(), data.size());
    REQUIRE(fixture.fatals.size() == 1);
    CHECK_THAT(fixture.fatals[0], Contains("type " + std::to_string(type) + ", 100 bytes, communicator 5"));
    CHECK(receive.times == 0);
    efa_cancel(fixture.t, &receive);
  }
  check_goes_on(fixture);
}

TEST_CASE("A packet whose length is not that of its header is fatal") {
  PacketTransport fixture;
  const auto data = pattern(100);
  const auto refused = [&](uint32_t length, size_t size) {
    CAPTURE(length, size);
    TextReceive receive(fixture, nullptr, EFA_ANY_TAG);
    fixture.fatals.clear();
    fixture.queue({kContext, 1, 7, length, 0, PacketType::eager, 0, 0}, data.data(), size);
    fixture.progress();
    CHECK(fixture.fatals.size() == 1);
    CHECK(receive.times == 0);
    efa_cancel(fixture.t, &receive);
  };
  for (const uint32_t length : {0u, 49u, 51u, 100u, 16384u, 0x7fffffffu, 0xffffffffu, 0xffffffe8u + 50u})
    refused(length, 50);
  refused(1, 0);
  refused(0, 1);
  for (size_t size = 0; size < sizeof(efa::PacketHeader); ++size) {
    CAPTURE(size);
    fixture.fatals.clear();
    fixture.fabric.arrive_control(data.data(), size);
    fixture.progress();
    CHECK(fixture.fatals.size() == 1);
  }
  check_goes_on(fixture);
}

TEST_CASE("An envelope that no message has is fatal") {
  PacketTransport fixture;
  const auto data = pattern(48);
  const uint32_t most = fixture.t->tags.max_context();
  struct {
    int32_t source, tag;
    uint32_t context;
  } envelopes[] = {{-1, 7, kContext},        {-2, 7, kContext},         {INT32_MIN, 7, kContext},
                   {1, INT32_MIN, kContext}, {-1, INT32_MIN, kContext}, {1, 7, most + 1},
                   {1, 7, UINT32_MAX}};
  for (const auto& each : envelopes)
    for (const PacketType type : kMessages) {
      CAPTURE(each.source, each.tag, each.context);
      TextReceive receive(fixture, nullptr, EFA_ANY_TAG);
      fixture.fatals.clear();
      fixture.arrive(type, each.source, each.tag, data.data(), data.size(), each.context);
      CHECK(fixture.fatals.size() == 1);
      CHECK(receive.times == 0);
      efa_cancel(fixture.t, &receive);
    }
  size_t communicators = 0;
  fixture.t->packets->communicators.for_each([&](const efa::MatchQueues&) { ++communicators; });
  CHECK(communicators == 1);
  check_goes_on(fixture);
}

TEST_CASE("A control message that is truncated or damaged is fatal") {
  PacketTransport fixture;
  const auto message = fixture.control(efa::ControlType::acknowledge, fixture.one, 5);
  uint8_t bytes[64] = {};
  std::memcpy(bytes, &message, sizeof message);
  for (size_t size = 0; size <= sizeof bytes; ++size) {
    if (size == sizeof message) continue;
    CAPTURE(size);
    fixture.fatals.clear();
    arrive_exactly(fixture, PacketType::control, 0, 0, bytes, size);
    CHECK(fixture.fatals.size() == 1);
  }
  bytes[0] ^= 1;
  fixture.fatals.clear();
  arrive_exactly(fixture, PacketType::control, 0, 0, bytes, sizeof message);
  CHECK(fixture.fatals.size() == 1);
  check_goes_on(fixture);
}

TEST_CASE(
    "A ready-to-send message that is truncated or damaged is fatal, whether a receive is posted or not") {
  const bool posted = GENERATE(false, true);
  PacketTransport fixture;
  efa::ReadyToSend ready = fixture.ready(5, 10000);
  ready.rails = 2;
  ready.segments = 2;
  ready.parts[0] = {0, 6000};
  ready.parts[1] = {8000, 4000};
  uint8_t bytes[300] = {};
  ready.write(bytes);
  const auto refused = [&](size_t size) {
    CAPTURE(size);
    TextReceive receive;
    if (posted) fixture.receive(receive, &fixture.one, 7, receive.room.data(), 64);
    fixture.fatals.clear();
    arrive_exactly(fixture, PacketType::ready_to_send, 1, 7, bytes, size);
    CHECK(fixture.fatals.size() == 1);
    CHECK(receive.times == posted);
    if (posted) CHECK(receive.status.result == EFA_FAILED);
  };
  for (size_t size = 0; size <= sizeof bytes; ++size)
    if (size != ready.size()) refused(size);
  bytes[0] ^= 1;
  refused(ready.size());
  check_goes_on(fixture);
}

TEST_CASE("A synchronous message without its trailer, or too long for one, is fatal") {
  const bool posted = GENERATE(false, true);
  PacketTransport fixture;
  const auto data = pattern(2000);
  for (const size_t size : {0, 1, 7, EFA_BOUNCE_SIZE + 1, 2000}) {
    CAPTURE(size);
    std::vector<char> buffer(4000);
    Request receive;
    if (posted) fixture.receive(receive, &fixture.one, 7, buffer.data(), buffer.size());
    fixture.fatals.clear();
    arrive_exactly(fixture, PacketType::synchronous, 1, 7, data.data(), size);
    CHECK(fixture.fatals.size() == 1);
    CHECK(receive.times == posted);
  }
  check_goes_on(fixture);
}

TEST_CASE("A message that a stranger wants answered is fatal") {
  const bool rendezvous = GENERATE(false, true), posted = GENERATE(false, true);
  PacketTransport fixture;
  TextReceive receive;
  const auto post = [&] { fixture.receive(receive, nullptr, 7, receive.room.data(), 64); };
  if (posted) post();
  if (rendezvous)
    fixture.arrive(fixture.ready(5, 10000), 99, 7);  // no such rank
  else
    fixture.arrive_synchronous(99, 7, "hello", 5);
  if (!posted) post();
  CHECK(fixture.fatals.size() == 1);
  CHECK(receive.times == 1);
  CHECK(receive.status.result == EFA_UNREACHABLE);
  check_goes_on(fixture);
}

TEST_CASE("Control messages of a stranger, or about nothing, are fatal") {
  PacketTransport fixture;
  efa_peer stranger;
  stranger.uid = 424242;
  for (const auto type : {efa::ControlType::clear_to_send, efa::ControlType::acknowledge,
                          efa::ControlType::finished, efa::ControlType::withdraw}) {
    CAPTURE(static_cast<int>(type));
    fixture.fatals.clear();
    auto message = fixture.control(type, stranger, 5, 100);
    message.piece = 100;
    fixture.arrive(message);
    CHECK(fixture.fatals.size() == 1);
  }
  for (const auto type :
       {efa::ControlType::clear_to_send, efa::ControlType::acknowledge, efa::ControlType::finished}) {
    CAPTURE(static_cast<int>(type));
    fixture.fatals.clear();
    fixture.arrive(fixture.control(type, fixture.one, 5, 100));
    CHECK(fixture.fatals.size() == 1);
  }
  check_goes_on(fixture);
}

TEST_CASE("Random packets access nothing outside, and the transport goes on") {
  PacketTransport fixture;
  uint32_t state = 1;
  const auto random = [&](uint32_t bound) {
    return (state = state * 1664525u + 1013904223u) >> 8 & 0xffffff ? (state >> 8) % bound : 0;
  };
  std::vector<std::unique_ptr<TextReceive>> receives;
  for (int i = 0; i < 3000; ++i) {
    if (random(4) == 0)
      receives.push_back(std::make_unique<TextReceive>(fixture, random(2) ? &fixture.one : nullptr,
                                                       random(2) ? EFA_ANY_TAG : 3));
    auto bytes = pattern(random(300), static_cast<unsigned>(i));
    auto ready = fixture.ready(i, 100000);
    ready.flags = static_cast<uint8_t>(random(4));
    ready.address = 0x1000;
    ready.segments = random(3);
    for (auto& part : ready.parts) part = {random(100000), random(100000)};
    auto control =
        fixture.control(static_cast<efa::ControlType>(random(10)), fixture.one, random(5), random(100));
    switch (random(3)) {
      case 0:
        bytes.resize(sizeof ready);
        ready.write(bytes.data());
        bytes.resize(random(4) ? ready.size() : random(sizeof ready));
        break;
      case 1:
        bytes.resize(sizeof control);
        std::memcpy(bytes.data(), &control, sizeof control);
        break;
      default:
        break;
    }
    arrive_exactly(fixture, static_cast<PacketType>(random(7)), static_cast<int32_t>(random(5)) - 1,
                   static_cast<int32_t>(random(5)), bytes.data(), bytes.size(),
                   random(3) ? kContext : random(7000));
    fixture.progress();
    while (fixture.fabric.count(Call::send)) fixture.sent();
  }
  for (auto& receive : receives) efa_cancel(fixture.t, receive.get());
  efa::empty_queues(fixture.t);
  CHECK(fixture.t->packets->kept == 0);
  CHECK(fixture.t->packets->kept_bytes == 0);
  CHECK_FALSE(fixture.fatals.empty());
  check_goes_on(fixture);
}

TEST_CASE(
    "Without memory for an unexpected message the job ends, and the message names what could not be kept") {
  PacketTransport fixture;
  fixture.arrive(2, 1, "kept");
  const auto data = pattern(1000);
  efa_progress(fixture.t);
  fixture.queue({kContext, 1, 7, 1000, 0, PacketType::eager, 0, 0}, data.data(), data.size());
  {
    NoMemory none;
    efa_progress(fixture.t);
  }
  CHECK(NoMemory::failed() > 0);
  REQUIRE(fixture.fatals.size() == 1);
  CHECK_THAT(fixture.fatals[0],
             Contains("no memory to keep a message of 1000 bytes from rank 1 of a communicator"));
  CHECK(fixture.t->packets->kept == 1);
  TextReceive receive(fixture, &fixture.two, 1);
  CHECK(receive.text() == "kept");
  check_goes_on(fixture);
}

TEST_CASE(
    "Without memory for the queues of a communicator a receive fails, a probe finds nothing, a message is "
    "fatal") {
  const uint32_t context = GENERATE(as<uint32_t>(), 4000, 6000);
  for (long nth = 0;; ++nth) {
    CAPTURE(nth, context);
    PacketTransport fixture;
    fixture.arrive(1, 1, "known");
    TextReceive request;
    request.op.peer = &fixture.one;
    request.data = {request.room.data(), 64, nullptr};
    const efa_envelope envelope{context, 0, 1, 7, false};
    bool found = true;
    efa_status status{};
    efa_result received, probed;
    long failures;
    {
      NoMemory none(nth, true);
      received = efa_recv(fixture.t, &request, &envelope);
      failures = NoMemory::failed();
    }
    if (failures == 0) {
      CHECK(received == EFA_SUCCESS);
      CHECK(nth > 1);
      efa_cancel(fixture.t, &request);
      break;
    }
    CHECK(received == EFA_OUT_OF_MEMORY);
    CHECK(fixture.fatals.empty());
    CHECK(fixture.t->path->open_receives(fixture.t).empty());  // visits all queues
    {
      NoMemory none;
      probed = efa_probe(fixture.t, &fixture.one, nullptr, &envelope, &found, &status);
    }
    CHECK(probed == EFA_SUCCESS);
    CHECK_FALSE(found);
    CHECK(fixture.fatals.empty());
    fixture.queue({context, 1, 7, 4, 0, PacketType::eager, 0, 0}, "text", 4);
    {
      NoMemory none(0);
      efa_progress(fixture.t);
    }
    CHECK(fixture.fatals.size() == 1);
    CHECK(fixture.t->path->open_receives(fixture.t).empty());
    TextReceive known(fixture, &fixture.one, 1);
    CHECK(known.text() == "known");
  }
}

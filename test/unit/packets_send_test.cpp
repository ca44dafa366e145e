#include <algorithm>
// The packet path over the provider's messages: what is sent, in which order, and the fast path.
#include "catch.hpp"
#include "health/peer_failure.hpp"
#include "packet_transport.hpp"

using namespace fake;

namespace {

efa_envelope to(int32_t rank, int32_t tag) {
  return {kContext, 9, rank, tag, false};
}
efa_result send(PacketTransport& fixture, Request& request, efa_peer& peer, int32_t tag, const void* data,
                size_t size, efa_send_mode mode = EFA_SEND_STANDARD, Layout* layout = nullptr) {
  request.op.peer = &peer;
  request.data = {const_cast<void*>(data), size, layout};
  const efa_envelope envelope = to(peer.world_rank, tag);
  return efa_send(fixture.t, &request, &envelope, mode);
}

}  // namespace

TEST_CASE("A packet has the envelope, the type and the data of its message") {
  PacketTransport fixture;
  const auto data = pattern(3000);
  struct {
    size_t size;
    efa_send_mode mode;
    efa::PacketType type;
    size_t payload;
  } cases[] = {
      {0, EFA_SEND_STANDARD, efa::PacketType::eager, 0},
      {1, EFA_SEND_STANDARD, efa::PacketType::eager, 1},
      {1024, EFA_SEND_STANDARD, efa::PacketType::eager, 1024},
      {100, EFA_SEND_SYNCHRONOUS, efa::PacketType::synchronous, 108},
      {1025, EFA_SEND_STANDARD, efa::PacketType::ready_to_send, 48},
      {249, EFA_SEND_SYNCHRONOUS, efa::PacketType::ready_to_send, 48},
  };
  for (const int32_t tag : {5, -5}) {
    for (const auto& each : cases) {
      CAPTURE(each.size, tag);
      Request request;
      REQUIRE(send(fixture, request, fixture.two, tag, data.data(), each.size, each.mode) == EFA_SUCCESS);
      REQUIRE(fixture.fabric.count(Call::send) == 1);
      CHECK(request.times == 0);
      const Packet packet = fixture.sent();
      CHECK(fixture.sent_to == fixture.two.address);
      CHECK(packet.header.context == kContext);
      CHECK(packet.header.source == 9);
      CHECK(packet.header.tag == tag);
      CHECK(packet.header.type == each.type);
      CHECK(packet.header.length == each.payload);
      CHECK(packet.header.sender == 0);
      REQUIRE(packet.payload.size() == each.payload);
      if (each.type != efa::PacketType::ready_to_send)
        CHECK(std::equal(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(each.size),
                         packet.payload.begin(),
                         [](char sent, uint8_t got) { return static_cast<uint8_t>(sent) == got; }));
      if (each.type == efa::PacketType::eager) {
        CHECK(request.times == 1);
        continue;
      }
      CHECK(request.times == 0);  // its answer
      const bool rendezvous = each.type == efa::PacketType::ready_to_send;
      fixture.arrive(
          fixture.control(rendezvous ? efa::ControlType::clear_to_send : efa::ControlType::acknowledge,
                          fixture.two, request.ready_id));
      CHECK(request.times == 1);
      CHECK(request.status.result == EFA_SUCCESS);
    }
  }
  CHECK(fixture.t->sends_posted == 0);
  CHECK(fixture.t->ready_to_send.size() == 0);
  CHECK(fixture.fatals.empty());
}

TEST_CASE("A layout is packed before its packet is posted") {
  PacketTransport fixture;
  auto memory = pattern(600);
  Layout layout{memory.data(), 10, 5};
  Request request;
  send(fixture, request, fixture.one, 1, nullptr, 400, EFA_SEND_STANDARD, &layout);
  const Packet packet = fixture.sent();
  REQUIRE(packet.payload.size() == 400);
  for (size_t i = 0; i < 400; ++i)
    REQUIRE(static_cast<char>(packet.payload[i]) == memory[i / 10 * 15 + i % 10]);
  CHECK(request.times == 1);
  CHECK(fixture.t->buffers.bytes_used() == 0);
}

TEST_CASE("Packets that the provider refuses are posted later, in order, control messages included") {
  PacketTransport fixture;
  const auto data = pattern(100);
  Request requests[3];
  fixture.fabric.refuse.assign(100, FI_EAGAIN);
  send(fixture, requests[0], fixture.one, 1, data.data(), 100);
  send(fixture, requests[1], fixture.one, 2, data.data(), 100, EFA_SEND_SYNCHRONOUS);
  efa::send_control(fixture.t, &fixture.one, efa::control(fixture.t, efa::ControlType::finished, 8));
  send(fixture, requests[2], fixture.one, 3, data.data(), 100);
  const efa_envelope envelope = to(1, 4);
  CHECK_FALSE(efa_try_inject(fixture.t, &fixture.one, &envelope, "x", 1));
  CHECK(efa_inject_packet(fixture.t, &fixture.one, &envelope, "x", 1) == EFA_NOT_INJECTED);
  fixture.fabric.refuse.clear();
  CHECK_FALSE(efa_try_inject(fixture.t, &fixture.one, &envelope, "x", 1));  // it would overtake
  CHECK(efa_inject_packet(fixture.t, &fixture.one, &envelope, "x", 1) == EFA_NOT_INJECTED);
  CHECK(fixture.fabric.count(Call::send) + fixture.fabric.count(Call::inject) == 0);
  fixture.fabric.refuse = {FI_EAGAIN};
  efa_progress(fixture.t);
  efa_progress(fixture.t);
  REQUIRE(fixture.fabric.count(Call::send) == 4);
  CHECK(fixture.sent().header.tag == 1);
  CHECK(fixture.sent().header.tag == 2);
  CHECK(fixture.sent_control().request == 8);
  CHECK(fixture.sent().header.tag == 3);
  CHECK(requests[0].times + requests[2].times == 2);
  CHECK(requests[1].times == 0);
  CHECK(efa_try_inject(fixture.t, &fixture.one, &envelope, "x", 1));
  CHECK(fixture.t->pending.empty());
}

TEST_CASE("A packet that fails ends its request only, with a report") {
  PacketTransport fixture;
  Request failed, fine;
  send(fixture, failed, fixture.one, 1, "abc", 3);
  send(fixture, fine, fixture.one, 2, "abc", 3);
  fixture.fabric.fail(fixture.fabric.take(Call::send).context, FI_EIO, 13);
  fixture.sent();
  CHECK(failed.times == 1);
  CHECK(failed.status.result == EFA_FAILED);
  CHECK(fine.status.result == EFA_SUCCESS);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("rank 1 on host there") && Contains("Unresponsive receiver"));
  CHECK(fixture.t->sends_posted == 0);
}

TEST_CASE("Short messages are injected with their header; longer ones are not") {
  const bool fast = GENERATE(false, true);
  PacketTransport fixture;
  const auto data = pattern(65);
  const efa_envelope envelope = to(1, -4);
  const auto inject = [&](size_t size) {
    if (!fast) return efa_try_inject(fixture.t, &fixture.one, &envelope, data.data(), size);
    return efa_inject_packet(fixture.t, &fixture.one, &envelope, data.data(), size) == EFA_INJECTED;
  };
  const size_t longest = 64 - sizeof(efa::PacketHeader);  // the fake provider's limit is 64
  for (const size_t size : {size_t{0}, size_t{1}, longest}) {
    CAPTURE(size);
    REQUIRE(inject(size));
    const Posted posted = fixture.fabric.take(Call::inject);
    CHECK(posted.peer == fixture.one.address);
    const Packet packet = packet_of(posted);
    CHECK(packet.header.context == kContext);
    CHECK(packet.header.source == 9);
    CHECK(packet.header.tag == -4);
    CHECK(packet.header.type == efa::PacketType::eager);
    CHECK(packet.header.length == size);
    REQUIRE(packet.payload.size() == size);
    CHECK((size == 0 || std::memcmp(packet.payload.data(), data.data(), size) == 0));
  }
  CHECK_FALSE(inject(longest + 1));
  CHECK_FALSE(inject(65));
  fixture.fabric.refuse = {FI_EAGAIN};
  CHECK_FALSE(inject(1));
  CHECK(fixture.fabric.count(Call::inject) == 0);
  CHECK(fixture.t->counters.sent_inject == 3);
  CHECK(fixture.t->counters.sent_inject_bytes == 1 + longest);
}

TEST_CASE("The fast receive does what the general one does") {
  PacketTransport fixture;
  const efa_envelope pattern = {kContext, 0, 1, 7, false};
  const auto fast = [&](TextReceive& receive) {
    receive.data = {receive.room.data(), 64, nullptr};
    return efa_try_recv_packet(fixture.t, &receive, &fixture.one, &pattern);
  };
  TextReceive early;
  CHECK_FALSE(fast(early));  // the communicator is not known: efa_recv makes its queues
  fixture.arrive(1, 7, "unexpected");
  fixture.arrive_synchronous(1, 7, "told", 5);
  TextReceive first, second, third, fourth, cancelled;
  CHECK(fast(first));
  CHECK(first.text() == "unexpected");
  CHECK(fast(second));
  CHECK(second.text() == "told");
  CHECK(fixture.sent_control().request == 5);
  CHECK(fast(third));
  CHECK(fast(fourth));
  CHECK(fast(cancelled));
  fixture.arrive(1, 7, "posted");
  CHECK(third.text() == "posted");
  CHECK(third.status.source == 1);
  CHECK(third.status.tag == 7);
  efa_cancel(fixture.t, &cancelled);
  CHECK(cancelled.status.result == EFA_CANCELED);
  efa::fail_peer(fixture.t, &fixture.one, efa::msg::peer_undeliverable("this", "that"));
  CHECK(fourth.status.result == EFA_UNREACHABLE);
}

TEST_CASE("With threads the fast receive leaves the call to the general one, which locks") {
  PacketTransport fixture;
  fixture.arrive(1, 7, "unexpected");
  efa_begin_threads(fixture.t);
  const efa_envelope pattern = {kContext, 0, 1, 7, false};
  TextReceive receive;
  receive.data = {receive.room.data(), 64, nullptr};
  CHECK_FALSE(efa_try_recv_packet(fixture.t, &receive, &fixture.one, &pattern));
  CHECK(efa_recv(fixture.t, &receive, &pattern) == EFA_SUCCESS);
  CHECK(receive.text() == "unexpected");
}

TEST_CASE("The fast progress does what the general one does while the provider is needed") {
  PacketTransport fixture;
  Request request;
  TextReceive receive(fixture, &fixture.one, 7);
  send(fixture, request, fixture.one, 1, "abc", 3);
  fixture.fabric.complete(fixture.fabric.take(Call::send));
  fixture.queue({kContext, 1, 7, 4, 0, efa::PacketType::eager, 0, 0}, "text", 4);
  CHECK(efa_progress_packets(fixture.t) == 2);
  CHECK(efa_progress_packets(fixture.t) == 0);
  CHECK(request.times == 1);
  CHECK(receive.text() == "text");
}

// What is counted, on both sides of a message, for each protocol and for each way in which it can fail.
#include "catch.hpp"
#include "packet_transport.hpp"
#include "pair.hpp"

using namespace fake;

namespace {

efa_counters counters_of(const Transport& side) {
  efa_counters counters;
  efa_counters_get(side.t, &counters);
  return counters;
}

// Messages of all protocols that were sent or received.
uint64_t messages_sent(const efa_counters& of) {
  return of.sent_inject + of.sent_eager + of.sent_synchronous + of.sent_pull + of.sent_copy + of.sent_push;
}
uint64_t messages_received(const efa_counters& of) {
  return of.received_eager + of.received_synchronous + of.received_pull + of.received_copy +
         of.received_push;
}

struct Exchange {
  Pair pair;
  Request sent, received;
  // Sends `size` bytes from rank 0 to rank 1, into a receive of `room` bytes.
  void run(size_t size, size_t room, efa_send_mode mode = EFA_SEND_STANDARD) {
    const auto data = pattern(size + 1);
    std::vector<char> buffer(room + 1);
    pair.receiver.make_current();
    pair.receiver.receive(received, &pair.receiver.one, 3, buffer.data(), room);
    pair.sender.make_current();
    pair.sender.send(sent, pair.sender.one, 3, data.data(), size, mode);
    pair.run();
    REQUIRE(sent.times == 1);
    REQUIRE(received.times == 1);
  }
};

}  // namespace

TEST_CASE("Counters: an injected message, and one that the provider refuses") {
  const bool threads = GENERATE(false, true);
  Transport fixture;
  if (threads) efa_begin_threads(fixture.t);
  const auto envelope = fixture.to(1, 3);
  char data[20] = "";
  REQUIRE(efa_try_inject(fixture.t, &fixture.one, &envelope, data, 20));
  fixture.fabric.refuse = {FI_EAGAIN};
  REQUIRE_FALSE(efa_try_inject(fixture.t, &fixture.one, &envelope, data, 7));
  const efa_counters counters = counters_of(fixture);
  CHECK(counters.sent_inject == 1);
  CHECK(counters.sent_inject_bytes == 20);
  CHECK(counters.retries == 1);
  CHECK(counters.rail_0_bytes == 20);
}

TEST_CASE("Counters: the fast path of a receive counts as the other one") {
  Transport fixture;
  char buffer[100];
  Request exact, any;
  exact.data = {buffer, sizeof buffer, nullptr};
  const auto envelope = fixture.to(1, 3);
  REQUIRE(efa_try_recv(fixture.t, &exact, &fixture.one, &envelope));
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 3), 1, "12345678", 8);
  fixture.progress();
  fixture.receive(any, nullptr, EFA_ANY_TAG, buffer, 3);
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 3), 1, "12345678", 8);
  fixture.progress();
  REQUIRE(any.times == 1);
  const efa_counters counters = counters_of(fixture);
  CHECK(counters.received_eager == 2);
  CHECK(counters.received_eager_bytes == 8 + 3);  // the second was truncated
}

TEST_CASE("Counters: eager messages") {
  Exchange exchange;
  exchange.run(500, 600);
  const efa_counters sender = counters_of(exchange.pair.sender),
                     receiver = counters_of(exchange.pair.receiver);
  CHECK(sender.sent_eager == 1);
  CHECK(sender.sent_eager_bytes == 500);
  CHECK(sender.rail_0_bytes == 500);
  CHECK(messages_sent(sender) == 1);
  CHECK(receiver.received_eager == 1);
  CHECK(receiver.received_eager_bytes == 500);
  CHECK(messages_received(receiver) == 1);
  CHECK(sender.sends_in_flight == 0);
}

TEST_CASE("Counters: synchronous messages count when they are matched") {
  Exchange exchange;
  exchange.run(100, 100, EFA_SEND_SYNCHRONOUS);
  const efa_counters sender = counters_of(exchange.pair.sender),
                     receiver = counters_of(exchange.pair.receiver);
  CHECK(sender.sent_synchronous == 1);
  CHECK(sender.sent_synchronous_bytes == 100);
  CHECK(messages_sent(sender) == 1);
  CHECK(receiver.received_synchronous == 1);
  CHECK(receiver.received_synchronous_bytes == 100);  // without the id behind the data
  CHECK(messages_received(receiver) == 1);
}

TEST_CASE("Counters: pushed messages, whole, truncated and of 0 bytes") {
  const size_t room = GENERATE(10000, 9000, 5000, 0);
  Exchange exchange;
  exchange.run(9000, room);
  const size_t moved = std::min<size_t>(room, 9000);
  const efa_counters sender = counters_of(exchange.pair.sender),
                     receiver = counters_of(exchange.pair.receiver);
  CHECK(sender.sent_push == 1);
  CHECK(sender.sent_push_bytes == moved);
  CHECK(messages_sent(sender) == 1);
  CHECK(receiver.received_push == 1);
  CHECK(receiver.received_push_bytes == moved);
  CHECK(receiver.rail_0_bytes == moved);
  CHECK(messages_received(receiver) == 1);
}

TEST_CASE("Counters: pulled messages, their registrations, and the bytes of the rails") {
  Exchange exchange;
  SecondRail sender_rail(exchange.pair.sender), receiver_rail(exchange.pair.receiver);
  for (Transport* side : {&exchange.pair.sender, &exchange.pair.receiver}) {
    side->t->protocols.pulls = true;
    side->t->protocols.read = 4096;
  }
  // The second rail's reads are served when they are posted.
  receiver_rail.fabric.on_post = [&](const Posted& posted) {
    if (posted.call != Call::read) return;
    scatter(posted.into, reinterpret_cast<void*>(posted.address), posted.into[0].iov_len);
    receiver_rail.fabric.complete(posted, posted.into[0].iov_len);
    receiver_rail.fabric.posted.clear();
  };
  exchange.run(16384, 16384);
  const efa_counters sender = counters_of(exchange.pair.sender),
                     receiver = counters_of(exchange.pair.receiver);
  CHECK(sender.sent_pull == 1);
  CHECK(sender.sent_pull_bytes == 16384);
  CHECK(messages_sent(sender) == 1);
  CHECK(receiver.received_pull == 1);
  CHECK(receiver.received_pull_bytes == 16384);
  CHECK(messages_received(receiver) == 1);
  CHECK(receiver.rail_0_bytes == 8192);
  CHECK(receiver.rail_1_bytes == 8192);
  CHECK(sender.rail_0_bytes == 0);  // the receiver moved the data
  CHECK(sender.registrations_made == 2);
  CHECK(receiver.registrations_made == 2);
  CHECK(sender.registrations == 0);
  CHECK(receiver.registrations == 0);
}

TEST_CASE("Counters: refused registrations") {
  Exchange exchange;
  for (Transport* side : {&exchange.pair.sender, &exchange.pair.receiver}) side->t->protocols.pulls = true;
  exchange.pair.sender.fabric.refuse_registration = FI_ENOMEM;
  exchange.run(9000, 9000);
  const efa_counters sender = counters_of(exchange.pair.sender);
  CHECK(sender.registrations_refused == 1);
  CHECK(sender.registrations_made == 0);
  CHECK(sender.sent_push == 1);
}

TEST_CASE("Counters: a failed message counts as a failure and not as a message") {
  const bool pushed = GENERATE(false, true);
  Exchange exchange;
  exchange.pair.fate = [&](const Transport& from, const Posted& posted) {
    const bool first = &from == &exchange.pair.sender && posted.call == Call::tagged_send;
    return first ? Fate::failed_arrived : Fate::done;
  };
  exchange.run(pushed ? 9000 : 500, 9000);
  const efa_counters sender = counters_of(exchange.pair.sender);
  CHECK(messages_sent(sender) == 0);
  CHECK(sender.failures >= 1);
}

TEST_CASE("Counters: operations that wait, now and at most, and retries") {
  Transport fixture;
  const auto data = pattern(500);
  Request requests[3];
  fixture.fabric.full = [](const Posted& posted) { return posted.call == Call::tagged_send; };
  for (Request& request : requests) fixture.send(request, fixture.one, 3, data.data(), data.size());
  efa_counters counters = counters_of(fixture);
  CHECK(counters.operations_pending == 3);
  CHECK(counters.operations_pending_most == 3);
  CHECK(counters.operations_deferred == 3);
  CHECK(counters.retries >= 1);
  CHECK(counters.sends_in_flight == 0);
  const uint64_t before = counters.retries;
  efa_progress(fixture.t);
  CHECK(counters_of(fixture).retries > before);
  fixture.fabric.full = nullptr;
  efa_progress(fixture.t);
  counters = counters_of(fixture);
  CHECK(counters.operations_pending == 0);
  CHECK(counters.operations_pending_most == 3);
  CHECK(counters.sends_in_flight == 3);
  CHECK(counters.sent_eager == 0);
  for (int i = 0; i < 3; ++i) fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(counters_of(fixture).sent_eager == 3);
}

TEST_CASE("Counters: messages that a probe has claimed, now and at most") {
  Transport fixture;
  const auto ready = fixture.ready(6, 9000);
  uint8_t bytes[sizeof ready];
  ready.write(bytes);
  fixture.fabric.on_peek = [&](const Posted& posted) {
    fixture.fabric.complete(posted, ready.size(), fixture.bits(efa::kKindRts, 1, 3), 1);
  };
  fixture.fabric.on_claim = [&](const Posted& posted) {
    scatter(posted.into, bytes, ready.size());
    fixture.fabric.complete(posted, ready.size(), fixture.bits(efa::kKindRts, 1, 3), 1);
  };
  bool found = false;
  efa_status status{};
  const auto envelope = fixture.to(1, 3);
  REQUIRE(efa_probe(fixture.t, &fixture.one, nullptr, &envelope, &found, &status) == EFA_SUCCESS);
  REQUIRE(found);
  efa_counters counters = counters_of(fixture);
  CHECK(counters.unexpected_claimed == 1);
  CHECK(counters.messages_claimed == 1);
  Request request;
  std::vector<char> buffer(9000);
  fixture.receive(request, &fixture.one, 3, buffer.data(), buffer.size());
  counters = counters_of(fixture);
  CHECK(counters.unexpected_claimed == 0);
  CHECK(counters.unexpected_claimed_most == 1);
  CHECK(counters.received_push == 0);  // not before its data is there
}

TEST_CASE("Counters: first contacts and peers") {
  Transport fixture;
  fixture.one.pending.await_first();
  fixture.two.pending.await_first();
  Request first, second, third;
  char byte = 0;
  fixture.send(first, fixture.one, 3, &byte, 1);
  fixture.send(second, fixture.one, 3, &byte, 1);
  CHECK(counters_of(fixture).first_contacts == 1);
  fixture.send(third, fixture.two, 3, &byte, 1);
  const efa_counters counters = counters_of(fixture);
  CHECK(counters.first_contacts == 2);
  CHECK(counters.peers == 2);
}

TEST_CASE("Counters: on the packet path the first NIC has moved what went through the provider, both ways") {
  PacketTransport fixture;
  const auto data = pattern(500);
  const auto envelope = fixture.to(1, 3);
  REQUIRE(efa_inject_packet(fixture.t, &fixture.one, &envelope, data.data(), 20) == EFA_INJECTED);
  CHECK(counters_of(fixture).sent_inject_bytes == 20);
  CHECK(counters_of(fixture).rail_0_bytes == 20);
  Request eager, synchronous;
  fixture.send(eager, fixture.one, 3, data.data(), 500);
  fixture.sent();
  CHECK(counters_of(fixture).rail_0_bytes == 520);
  fixture.send(synchronous, fixture.one, 3, data.data(), 100, EFA_SEND_SYNCHRONOUS);
  fixture.sent();
  CHECK(counters_of(fixture).rail_0_bytes == 620);  // without the id behind the data
  fixture.arrive(1, 3, "hello");
  fixture.arrive_synchronous(1, 3, "hello", 9);
  fixture.arrive(fixture.ready(6, 9000), 1, 3);
  CHECK(counters_of(fixture).rail_0_bytes == 630);
}

TEST_CASE("Counters: what goes through shared memory is no NIC's") {
  Node node;
  REQUIRE(node.inject(node.a, 7, "hello"));
  Request eager;
  node.send(node.a, eager, 7, "12345678", 8);
  TextReceive first, second;
  node.receive(node.b, first, 7, first.room.data(), 64);
  node.receive(node.b, second, 7, second.room.data(), 64);
  node.run();
  CHECK(counters_of(node.a).sent_inject_bytes == 5);
  CHECK(counters_of(node.a).sent_eager_bytes == 8);
  CHECK(counters_of(node.b).received_eager_bytes == 13);
  CHECK(counters_of(node.a).rail_0_bytes == 0);
  CHECK(counters_of(node.b).rail_0_bytes == 0);
}

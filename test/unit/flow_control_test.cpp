// Flow control of the packet path: two processes of one node, of which one has little memory for unmatched messages.
#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "catch.hpp"
#include "health/peer_failure.hpp"
#include "packet_transport.hpp"
#include "packets/packets.hpp"
#include "peers/peers.hpp"

using namespace fake;

namespace {

constexpr uint64_t kMemory = 16 << 10;

struct Sent : Request {
  uint64_t value = 0;
};
struct Received : Request {
  uint64_t value = 0;
  int32_t tag = 0;  // of the pattern
};

// a sends to b.
struct Flow {
  // Before `node`, whose queues refer to those that are open.
  std::vector<std::unique_ptr<Sent>> sends;
  std::vector<std::unique_ptr<Received>> receives;
  Node node;

  explicit Flow(uint64_t memory = kMemory) {
    for (PacketTransport* side : {&node.a, &node.b}) {
      side->t->packets->budget = efa::Budget(memory, 2);
      node.other(*side)->window = side->t->packets->budget.half;
    }
  }

  Sent& send(int32_t tag, efa_send_mode mode = EFA_SEND_STANDARD) {
    Sent& request = *sends.emplace_back(std::make_unique<Sent>());
    request.value = sends.size();
    REQUIRE(node.send(node.a, request, tag, &request.value, sizeof request.value, mode) == EFA_SUCCESS);
    return request;
  }
  Received& receive(int32_t tag, bool any_source = false) {
    Received& request = *receives.emplace_back(std::make_unique<Received>());
    request.tag = tag;
    REQUIRE(node.receive(node.b, request, tag, &request.value, sizeof request.value, nullptr, any_source) == EFA_SUCCESS);
    return request;
  }
  // The value that a receive of this tag gets; 0: none.
  uint64_t next(int32_t tag, bool any_source = false) {
    Received& request = receive(tag, any_source);
    node.run();
    return request.times == 1 && request.status.result == EFA_SUCCESS ? request.value : 0;
  }
  bool probe(int32_t tag, efa_status& status) {
    node.b.make_current();
    for (int i = 0; i < 5; ++i) {
      if (node.b.probe(node.to_a, tag, status)) return true;
      node.run();
      node.b.make_current();
    }
    return false;
  }
  efa_message* match(int32_t tag, efa_status& status) {
    node.b.make_current();
    // It waits for the message that was offered, so the sender makes progress meanwhile.
    node.b.fabric.on_idle = [this] { node.progress(node.a), node.b.make_current(); };
    efa_message* message = node.b.match(node.to_a, tag, status);
    node.b.fabric.on_idle = nullptr;
    return message;
  }
  uint64_t memory() const {
    const efa::Packets& packets = *node.b.t->packets;
    return packets.kept * efa::kMessageCost + packets.kept_bytes;
  }
  size_t held() const {
    const auto& flows = node.a.t->packets->send_flows;
    return flows.empty() ? 0 : flows.begin()->second.held;
  }
  size_t open_sends() const {
    return static_cast<size_t>(
        std::count_if(sends.begin(), sends.end(), [](const auto& each) { return each->times == 0; }));
  }
  // Nothing is left over on either side.
  void check_end() {
    node.run();
    CHECK(open_sends() == 0);
    CHECK(held() == 0);
    for (PacketTransport* side : {&node.a, &node.b}) {
      CHECK(side->fatals.empty());
      CHECK(side->reports.empty());
      CHECK(side->t->requests.empty());
      CHECK_FALSE(side->t->packets->asks.owes());
      CHECK(side->t->packets->kept == 0);
    }
    CHECK_FALSE(node.b.t->slow_packets);
    for (const auto& each : sends) CHECK(each->times == 1);
    for (const auto& each : receives) CHECK(each->times == 1);
  }
};

}  // namespace

TEST_CASE("The receiver's memory is bounded, and messages beyond it are held back, in order") {
  Flow flow;
  const int count = 1000;
  for (int i = 0; i < count; ++i) flow.send(7), flow.node.run();
  CHECK(flow.memory() <= kMemory);
  CHECK(flow.memory() > kMemory / 2);
  CHECK(flow.held() > 900);
  CHECK(flow.open_sends() == flow.held());
  CHECK(flow.node.b.t->packets->asks.owes());
  for (int i = 1; i <= count; ++i) {
    REQUIRE(flow.next(i % 3 ? 7 : EFA_ANY_TAG, i % 2) == static_cast<uint64_t>(i));
    REQUIRE(flow.memory() <= kMemory);
  }
  flow.check_end();
}

TEST_CASE("A message that was injected counts for the window") {
  const bool general = GENERATE(false, true);  // the fast path hands it on
  Flow flow;
  flow.node.a.t->slow_packets = general;
  int injected = 0;
  while (flow.node.inject(flow.node.a, 7, "12345678") && injected < 1000) ++injected;
  CHECK(injected < 200);
  flow.node.run();
  CHECK(flow.memory() <= kMemory);
  while (flow.node.b.t->packets->kept) REQUIRE(flow.next(7) != 0);
  CHECK(flow.node.inject(flow.node.a, 8, "12345678"));
  CHECK(flow.next(8) != 0);
}

TEST_CASE("Without a bound nothing is held back") {
  Flow flow(0);
  for (int i = 0; i < 1000; ++i) flow.send(7), flow.node.run();
  CHECK(flow.open_sends() == 0);
  CHECK(flow.node.b.t->packets->kept == 1000);
  for (uint64_t i = 1; i <= 1000; ++i) REQUIRE(flow.next(7) == i);
  flow.check_end();
}

TEST_CASE("Windows grow while memory is free: a stream that is received is not held back") {
  Flow flow(1 << 20);
  const int32_t half = flow.node.a.t->packets->budget.half;
  for (int i = 0; i < 20000; ++i) {
    flow.send(7);
    REQUIRE(flow.next(7) != 0);
  }
  CHECK(flow.node.to_b->window + flow.node.a.t->packets->send_flows.begin()->second.reserve > 2 * half);
  CHECK(flow.node.a.t->counters.sends_held == 0);
  flow.check_end();
}

TEST_CASE("The last of many messages that are held back can be received first, and all in any order") {
  Flow flow;
  const int count = 500;
  for (int i = 0; i < count; ++i) flow.send(i);
  flow.node.run();
  for (int i = count - 1; i >= 0; --i) REQUIRE(flow.next(i, i % 2) == static_cast<uint64_t>(i + 1));
  flow.check_end();
}

TEST_CASE("A message that overtook those held back does not overtake for a receive that matches them") {
  Flow flow;
  for (int i = 0; i < 200; ++i) flow.send(1);
  for (int i = 0; i < 5; ++i) flow.send(2);
  flow.node.run();
  REQUIRE(flow.held() > 100);
  CHECK(flow.next(2) == 201);
  CHECK(flow.next(EFA_ANY_TAG) == 1);
  CHECK(flow.next(2) == 202);
  for (uint64_t i = 2; i <= 200; ++i) REQUIRE(flow.next(EFA_ANY_TAG, i % 2) == i);
  for (uint64_t i = 203; i <= 205; ++i) CHECK(flow.next(EFA_ANY_TAG) == i);
  flow.check_end();
}

TEST_CASE("Receives that were posted before the sender is held back are asked for, in their order") {
  Flow flow;
  Received& second = flow.receive(9);
  Received& third = flow.receive(9, true);
  Received& any = flow.receive(8, true);
  for (int i = 0; i < 300; ++i) flow.send(1);
  flow.node.run();
  REQUIRE(flow.held() > 100);
  flow.send(9);
  flow.send(9);
  flow.send(8);
  flow.node.run();
  CHECK(second.value == 301);
  CHECK(third.value == 302);
  CHECK(any.value == 303);
  CHECK(flow.node.a.t->packets->send_flows.begin()->second.contexts.at(kContext).questions.empty());
  for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(1) == i);
  flow.check_end();
}

TEST_CASE("A receive that was asked for is matched by a message sent before") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  flow.node.run();
  Received& asked = flow.receive(2);
  flow.node.run();
  CHECK(asked.times == 0);
  CHECK((asked.listed & efa::kAsked) != 0);
  flow.node.b.make_current();
  efa_cancel(flow.node.b.t, &asked);
  CHECK(asked.status.result == EFA_CANCELED);
  const auto& held = flow.node.a.t->packets->send_flows.begin()->second.contexts.at(kContext);
  CHECK(held.questions.size() == 1);
  flow.node.run();
  CHECK(held.questions.empty());
  flow.send(2);
  flow.node.run();
  CHECK(flow.next(2) == 301);  // not given to the receive that was cancelled
  for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(1) == i);
  flow.check_end();
}

TEST_CASE("An offer is declined if the receive was cancelled meanwhile, and the message stays in its place") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  flow.node.run();
  Received& asked = flow.receive(2);
  flow.node.run();
  flow.send(2);  // offers it
  flow.node.b.make_current();
  efa_cancel(flow.node.b.t, &asked);
  flow.node.run();
  CHECK(flow.held() > 100);
  for (uint64_t i = 1; i <= 301; ++i) REQUIRE(flow.next(EFA_ANY_TAG) == i);
  flow.check_end();
}

TEST_CASE("Probes find messages that are held back") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  flow.send(2);
  flow.send(3);
  flow.node.run();
  efa_status status{};
  CHECK_FALSE(flow.probe(4, status));
  REQUIRE(flow.probe(2, status));
  CHECK(status.source == 3);
  CHECK(status.tag == 2);
  CHECK(status.length == 8);
  CHECK(status.result == EFA_SUCCESS);
  CHECK(flow.probe(2, status));  // again: it was not received
  CHECK(flow.next(2) == 301);
  CHECK_FALSE(flow.probe(2, status));
  REQUIRE(flow.probe(3, status));
  CHECK(flow.next(EFA_ANY_TAG) == 1);
  for (uint64_t i = 2; i <= 300; ++i) REQUIRE(flow.next(1) == i);
  CHECK(flow.next(3) == 302);
  flow.check_end();
}

TEST_CASE("Matched probes take messages that are held back") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  flow.send(2);
  flow.send(3, EFA_SEND_SYNCHRONOUS);
  flow.node.run();
  efa_status status{};
  flow.node.b.make_current();
  CHECK(flow.node.b.match(flow.node.to_a, 4, status) == nullptr);
  for (const int32_t tag : {2, 3}) {
    efa_message* message = nullptr;
    for (int i = 0; i < 5 && !message; ++i) {
      flow.node.run();
      message = flow.match(tag, status);
    }
    REQUIRE(message);
    CHECK(status.source == 3);
    CHECK(status.tag == tag);
    CHECK(status.length == 8);
    Received received;
    flow.node.b.make_current();
    REQUIRE(flow.node.b.receive_matched(received, message, &received.value, sizeof received.value) == EFA_SUCCESS);
    flow.node.run();
    CHECK(received.times == 1);
    CHECK(received.status.source == 3);
    CHECK(received.status.tag == tag);
    CHECK(received.value == 299u + static_cast<unsigned>(tag));
  }
  for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(EFA_ANY_TAG) == i);
  flow.check_end();
}

TEST_CASE("Synchronous and long messages are held back and asked for like others") {
  for (const bool flush : {false, true}) {
    Flow flow;
    for (int i = 0; i < 300; ++i) flow.send(1);
    Sent& synchronous = flow.send(2, EFA_SEND_SYNCHRONOUS);
    std::vector<char> from(5000, 'x'), to(5000);
    Request send, receive;
    flow.node.a.t->protocols.eager_limit = 1024;
    flow.node.to_b->eager_limit = 1024;
    flow.node.send(flow.node.a, send, 4, from.data(), from.size());
    flow.node.run();
    CHECK(synchronous.times + send.times == 0);
    if (flush)
      for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(1) == i);
    CHECK(synchronous.times + send.times == 0);
    flow.node.receive(flow.node.b, receive, 4, to.data(), to.size());
    flow.node.run();
    CHECK(receive.times == 1);
    CHECK(send.times == 1);
    CHECK((from == to));
    CHECK(flow.next(2) == 301);
    CHECK(synchronous.times == 1);
    if (!flush)
      for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(1) == i);
    flow.check_end();
  }
}

TEST_CASE("A request that was an answer once can be used again") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  Sent& again = flow.send(2);
  flow.node.run();
  CHECK(flow.next(2) == 301);
  for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(1) == i);
  flow.node.send(flow.node.a, again, 3, &again.value, sizeof again.value);
  CHECK(flow.next(3) == 301);
  CHECK(again.times == 2);
  again.times = 1;
  flow.check_end();
}

TEST_CASE("A send that is held back can be cancelled") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  Sent& cancelled = flow.send(2);
  Sent& synchronous = flow.send(2, EFA_SEND_SYNCHRONOUS);
  flow.send(2);
  flow.node.run();
  flow.node.a.make_current();
  for (Sent* each : {&cancelled, &synchronous}) {
    efa_cancel(flow.node.a.t, each);
    CHECK(each->times == 1);
    CHECK(each->status.result == EFA_CANCELED);
  }
  CHECK(flow.next(2) == 303);
  for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(1) == i);
  flow.check_end();
}

TEST_CASE("A send that was offered is not cancelled: a receive has been promised it") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  flow.node.run();
  Received& receive = flow.receive(2);
  flow.node.run();
  Sent& offered = flow.send(2);
  flow.node.a.make_current();
  efa_cancel(flow.node.a.t, &offered);
  CHECK(offered.times == 0);
  flow.node.run();
  CHECK(receive.value == 301);
  CHECK(offered.status.result == EFA_SUCCESS);
  for (uint64_t i = 1; i <= 300; ++i) REQUIRE(flow.next(1) == i);
  flow.check_end();
}

TEST_CASE("When the receiver fails, what is held back for it ends with an error") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  Sent& synchronous = flow.send(2, EFA_SEND_SYNCHRONOUS);
  flow.node.run();
  flow.node.a.make_current();
  efa::fail_peer(flow.node.a.t, flow.node.to_b, efa::msg::peer_undeliverable("this", "that"));
  CHECK(flow.open_sends() == 0);
  CHECK(synchronous.status.result != EFA_SUCCESS);
  Sent& later = flow.send(1);
  CHECK(later.times == 1);
  CHECK(later.status.result != EFA_SUCCESS);
  CHECK(flow.node.a.t->packets->send_flows.empty());
}

TEST_CASE("When the sender fails, receives that were promised a message end with an error") {
  Flow flow;
  for (int i = 0; i < 300; ++i) flow.send(1);
  flow.node.run();
  Received& promised = flow.receive(2, true);
  flow.node.run();
  flow.send(2);
  for (int i = 0; i < 20 && promised.kind != efa::kMatchedRequest; ++i) flow.node.progress(flow.node.b);
  REQUIRE(promised.kind == efa::kMatchedRequest);
  flow.node.b.make_current();
  efa::fail_peer(flow.node.b.t, flow.node.to_a, efa::msg::peer_undeliverable("this", "that"));
  CHECK(promised.times == 1);
  CHECK(promised.status.result == EFA_UNREACHABLE);
  CHECK_FALSE(flow.node.b.t->packets->asks.owes());
}

TEST_CASE("What a peer says about windows and questions is checked: the impossible is fatal, and nothing else happens") {
  using efa::Control;
  using efa::ControlType;
  PacketTransport fixture;
  fixture.t->packets->budget = efa::Budget(kMemory, 2);
  fixture.one.window = fixture.two.window = fixture.t->packets->budget.half;
  const auto says = [&](ControlType type, uint64_t id, uint64_t length, uint32_t handle = 0, uint32_t failed = 0) {
    Control message = fixture.control(type, fixture.one, id, length);
    message.handle = handle;
    message.failed = failed;
    message.piece = 1 | uint64_t{7} << 32;  // source 1, tag 7
    return message;
  };
  const auto is_fatal = [&](const Control& message) {
    fixture.fatals.clear();
    fixture.arrive(message);
    return fixture.fatals.size() == 1;
  };
  // Nothing was sent to that peer, so no window is used up and nothing is held back.
  CHECK(is_fatal(says(ControlType::window_granted, 0, 100)));
  CHECK(is_fatal(says(ControlType::ask, 1, kContext)));
  CHECK(is_fatal(says(ControlType::take, 1, kContext)));
  CHECK(is_fatal(says(ControlType::decline, 1, kContext)));
  CHECK(is_fatal(says(ControlType::unask, 1, kContext)));
  CHECK(fixture.fabric.count(Call::send) == 0);

  // An offer to a question that is not known any more is declined.
  CHECK_FALSE(is_fatal(says(ControlType::offer, 99, 8, kContext)));
  const Control declined = fixture.sent_control();
  CHECK(declined.type == ControlType::decline);
  CHECK(declined.request == 99);
  CHECK(declined.length == kContext);

  // While the memory is full, one grant is owed, and no more.
  for (int i = 0; i < 60; ++i) fixture.arrive(1, 7, "unexpected");
  CHECK_FALSE(is_fatal(says(ControlType::window_used, 0, 2000)));
  CHECK(fixture.t->packets->asks.owes());
  CHECK(is_fatal(says(ControlType::window_used, 0, 2000)));

  // An answer that does not match its question, or comes without an offer, is not delivered.
  TextReceive receive(fixture, &fixture.one, 8);
  const Control asked = fixture.sent_control();
  REQUIRE(asked.type == ControlType::ask);
  const auto answer = [&](int32_t tag, uint32_t context) {
    fixture.fatals.clear();
    fixture.queue({context, 1, tag, 4, static_cast<uint32_t>(asked.request), efa::PacketType::answer_eager, 0, 0}, "text", 4);
    fixture.progress();
    return fixture.fatals.empty();
  };
  CHECK_FALSE(answer(8, kContext));
  Control offer = says(ControlType::offer, asked.request, 4, kContext + 1);
  CHECK(is_fatal(offer));  // of another communicator
  offer.handle = kContext;
  CHECK_FALSE(is_fatal(offer));
  CHECK(fixture.sent_control().type == ControlType::take);
  CHECK_FALSE(answer(9, kContext));
  CHECK_FALSE(answer(8, kContext + 1));
  CHECK(receive.times == 0);
  CHECK(answer(8, kContext));
  CHECK(receive.text() == "text");
  CHECK_FALSE(answer(8, kContext));  // a second time
  CHECK(receive.times == 1);
}

// MPI_Finalize destroys peers while messages of theirs may still be on their way.
TEST_CASE("What a peer says about windows after it was destroyed is ignored") {
  using efa::ControlType;
  PacketTransport fixture;
  fixture.t->packets->budget = efa::Budget(kMemory, 2);
  fixture.one.window = fixture.two.window = -1;  // as if half of it was used up
  Request request;
  fixture.send(request, fixture.one, 7, "x", 1);
  CHECK(fixture.sent_control().type == ControlType::window_used);
  fixture.sent();
  std::vector<efa::Control> late;
  for (const ControlType type : {ControlType::window_granted, ControlType::ask, ControlType::take, ControlType::decline,
                                 ControlType::unask, ControlType::window_used, ControlType::offer}) {
    late.push_back(fixture.control(type, fixture.one, 1, kContext));
    late.back().handle = late.back().failed = 0;
  }
  efa_peer_destroy(fixture.t, &fixture.one);
  for (const efa::Control& message : late) {
    CAPTURE(to_string(message));
    fixture.arrive(message);
    CHECK(fixture.fatals.empty());
  }
  CHECK(fixture.fabric.count(Call::send) == 0);
}

TEST_CASE("A grant that is too great does no harm") {
  PacketTransport fixture;
  fixture.t->packets->budget = efa::Budget(kMemory, 2);
  fixture.one.window = fixture.t->packets->budget.half;
  for (int round = 0; round < 10; ++round) {
    fixture.one.window = -1;  // as if much had been sent
    std::vector<std::unique_ptr<Request>> sends;
    sends.push_back(std::make_unique<Request>());
    fixture.send(*sends.back(), fixture.one, 7, "x", 1);
    const size_t sent = fixture.fabric.count(Call::send);
    for (size_t i = 0; i < sent; ++i) fixture.sent();
    fixture.arrive(fixture.control(efa::ControlType::window_granted, fixture.one, 0, INT32_MAX));
    CHECK(fixture.one.window > 0);
    for (size_t i = fixture.fabric.count(Call::send); i > 0; --i) fixture.sent();
    CHECK(sends.back()->times == 1);
  }
}

// Between one sender and one receiver matching does not depend on when messages arrive: every receive, in the order of
// posting, gets the first message left that it matches.
TEST_CASE("Random sends, receives and progress match as if memory had no bound") {
  const unsigned seed = GENERATE(range(0u, 25u));
  INFO("seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
  Flow flow(32 << 10);
  const int tags = 1 + below(6), ahead = 50 + below(700);
  std::vector<int32_t> sent_tags;
  for (int step = 0; step < 3000; ++step) {
    const bool many = static_cast<int>(flow.sends.size()) > static_cast<int>(flow.receives.size()) + ahead;
    if (!many && below(100) < 60) {
      const int32_t tag = below(static_cast<unsigned>(tags));
      sent_tags.push_back(tag);
      flow.send(tag, below(10) == 0 ? EFA_SEND_SYNCHRONOUS : EFA_SEND_STANDARD);
    } else if (flow.receives.size() < flow.sends.size() + 20) {
      flow.receive(below(4) == 0 ? EFA_ANY_TAG : below(static_cast<unsigned>(tags)), below(3) == 0);
    }
    if (below(4) == 0) flow.node.progress(below(2) ? flow.node.a : flow.node.b);
    if (below(40) == 0) flow.node.run();
    REQUIRE(flow.memory() <= 32 << 10);
  }
  // What is left over, so that all are matched.
  while (flow.receives.size() < flow.sends.size() + 1500) flow.receive(EFA_ANY_TAG);
  const size_t real = flow.sends.size();
  while (flow.sends.size() < flow.receives.size() + 100) {
    const int32_t tag = static_cast<int32_t>(flow.sends.size() % static_cast<size_t>(tags));
    sent_tags.push_back(tag);
    flow.send(tag);
  }
  flow.node.run();
  std::vector<bool> used(sent_tags.size());
  for (size_t i = 0; i < flow.receives.size(); ++i) {
    const Received& each = *flow.receives[i];
    size_t wanted = 0;
    while (wanted < sent_tags.size() && (used[wanted] || (each.tag != EFA_ANY_TAG && each.tag != sent_tags[wanted]))) ++wanted;
    INFO("receive " << i << " of tag " << each.tag << ", " << real << " sends before the rest");
    if (wanted == sent_tags.size()) {
      REQUIRE(each.times == 0);
      continue;
    }
    used[wanted] = true;
    REQUIRE(each.times == 1);
    REQUIRE(each.value == wanted + 1);
  }
  for (PacketTransport* side : {&flow.node.a, &flow.node.b}) CHECK(side->fatals.empty());
}

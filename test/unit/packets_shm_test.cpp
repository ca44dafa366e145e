// The packet path inside of a node: two transports that share memory, and rendezvous that copies out of the sender's memory.
#include "catch.hpp"
#include "errors/report.hpp"
#include "health/peer_failure.hpp"
#include "packet_transport.hpp"
#include "packets/outgoing.hpp"
#include "peers/peers.hpp"

using namespace fake;

namespace {

efa_counters counters_of(const Transport& side) {
  efa_counters counters;
  efa_counters_get(side.t, &counters);
  return counters;
}

// One message from a to b, with layouts or without.
struct Exchange {
  Node node;
  Request sent, received;
  bool layout_sent = false, layout_received = false;
  bool segments_sent = false, segments_received = false;  // the layouts are few blocks
  bool receive_first = true;

  // Runs it and checks that every byte is where it belongs.
  void run(size_t size, size_t room, efa_send_mode mode = EFA_SEND_STANDARD) {
    const Memory from(size, layout_sent, segments_sent, 1), to(room, layout_received, segments_received, 2);
    const auto before = to.bytes;
    Layout out = from.layout, in = to.layout;
    const auto post = [&] {
      node.receive(node.b, received, 7, to.first(), room, layout_received ? &in : nullptr);
    };
    if (receive_first) post();
    node.send(node.a, sent, 7, from.first(), size, mode, layout_sent ? &out : nullptr);
    node.run();
    if (!receive_first) post();
    node.run();
    REQUIRE(sent.times == 1);
    REQUIRE(received.times == 1);
    CHECK(sent.status.result == EFA_SUCCESS);
    CHECK(received.status.result == (size > room ? EFA_TRUNCATED : EFA_SUCCESS));
    CHECK(received.status.length == std::min(size, room));
    CHECK(received.status.source == 3);
    auto expected = before;
    for (size_t i = 0; i < std::min(size, room); ++i) expected[to.place(i)] = from.bytes[from.place(i)];
    CHECK((to.bytes == expected));
    for (PacketTransport* side : {&node.a, &node.b}) {
      CHECK(side->fatals.empty());
      CHECK(side->reports.empty());
      CHECK(side->t->ready_to_send.size() == 0);
      CHECK(side->t->sends_posted == 0);
      CHECK(side->t->long_sends == 0);
      CHECK(side->t->transfers == nullptr);
      CHECK(side->t->buffers.bytes_used() == 0);
      CHECK(side->t->requests.empty());
      CHECK(side->t->pending.empty());
      CHECK(side->t->packets->kept == 0);
    }
  }

 private:
  struct Memory {
    Memory(size_t size, bool layout_used, bool segments, unsigned seed)
        : block(segments ? size / 3 + 1 : 10), gap(layout_used ? 6 : 0), bytes(pattern(size * 2 + 64, seed)) {
      layout = {bytes.data(), block, gap, {}, {}};
      for (size_t at = 0; segments && at < size; at += block)
        layout.segments.push_back({&bytes[place(at)], std::min(block, size - at)});
    }
    size_t place(size_t i) const { return i / block * (block + gap) + i % block; }
    char* first() const { return const_cast<char*>(bytes.data()); }

    size_t block, gap;
    std::vector<char> bytes;
    Layout layout;
  };
};

}  // namespace

TEST_CASE("Processes of a node reach each other through shared memory") {
  Node node;
  CHECK(node.to_b->shm);
  CHECK(node.to_b->reads_memory);
  CHECK(node.to_b->pid == static_cast<uint32_t>(getpid()));
  CHECK(node.a.t->packets->distant_peers == 0);
  Request request;
  TextReceive receive;
  node.receive(node.b, receive, 7, receive.room.data(), 64, nullptr, true);
  node.send(node.a, request, 7, "hello", 5);
  CHECK(request.times == 1);  // at once
  CHECK(node.progress(node.b) == 1);
  CHECK(receive.text() == "hello");
  CHECK(receive.status.source == 3);
  CHECK(node.a.fabric.count(Call::send) + node.a.fabric.count(Call::inject) == 0);
  CHECK(counters_of(node.a).sent_eager == 1);
  CHECK(counters_of(node.a).sends_in_flight == 0);
  CHECK(counters_of(node.b).received_eager_bytes == 5);
}

TEST_CASE("A peer whose shared memory cannot be opened is reached by the provider") {
  PacketTransport fixture(true);
  fixture.t->packets->distant_peers = 0;
  efa::Card card;
  card.provider = "efa";
  card.eager_limit = 600;
  card.path = "packets";
  card.nic = "fake9";
  card.host = "there";
  card.address = {9, 9, 9, 9};
  card.shm = fixture.t->packets->shm.address();
  card.shm.cookie[3] ^= 1;  // another process has the number
  const auto bytes = card.serialize();
  const efa_identity identity{1004, 3, 0};
  efa_peer* peer = efa_peer_create(fixture.t, &identity, bytes.data(), bytes.size());
  REQUIRE(peer);
  CHECK_FALSE(peer->shm);
  CHECK(peer->eager_limit == 600);
  CHECK(fixture.t->packets->distant_peers == 1);
  Request request;
  fixture.send(request, *peer, 7, "hello", 5);
  const Packet packet = fixture.sent();
  CHECK(packet.text() == "hello");
  CHECK(request.times == 1);
  // A tagged peer is refused.
  card.path = "tagged";
  const auto other = card.serialize();
  CHECK(efa_peer_create(fixture.t, &identity, other.data(), other.size()) == nullptr);
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[0], Contains("the shared memory of rank 3 on host there"));
  CHECK_THAT(fixture.reports[1], Contains("\"tagged\"") && Contains("\"packets\""));
}

TEST_CASE("Messages of every length and protocol arrive through shared memory") {
  const auto mode = GENERATE(EFA_SEND_STANDARD, EFA_SEND_SYNCHRONOUS);
  const bool receive_first = GENERATE(true, false);
  for (const size_t size : {0, 1, 8, 16, 40, 41, 248, 249, 256, 257, 1024, 1025, 9000, 100000}) {
    CAPTURE(size, receive_first);
    Exchange exchange;
    exchange.receive_first = receive_first;
    exchange.run(size, size, mode);
  }
}

TEST_CASE("A rendezvous inside of a node is copied out of the sender's memory, and counted on both sides") {
  Exchange exchange;
  exchange.run(100000, 60000);
  const auto sender = counters_of(exchange.node.a), receiver = counters_of(exchange.node.b);
  CHECK(sender.sent_copy == 1);
  CHECK(sender.sent_copy_bytes == 60000);
  CHECK(receiver.received_copy == 1);
  CHECK(receiver.received_copy_bytes == 60000);
  CHECK(sender.sent_pull + sender.sent_push + receiver.received_pull + receiver.received_push == 0);
  CHECK(exchange.node.a.fabric.count(Call::tagged_send) == 0);
}

TEST_CASE("Layouts on either side are copied, as few blocks or through buffers, truncated ones too") {
  const bool sends_layout = GENERATE(false, true), sends_segments = GENERATE(false, true),
             receives_layout = GENERATE(false, true), receives_segments = GENERATE(false, true);
  if ((sends_segments && !sends_layout) || (receives_segments && !receives_layout)) return;
  for (const auto& [size, room] : std::vector<std::pair<size_t, size_t>>{{100, 100},
                                                                         {2000, 2000},
                                                                         {16384, 16384},
                                                                         {16384, 5000},
                                                                         {16384, 1},
                                                                         {9000, 12000},
                                                                         {20000, 18000}}) {
    CAPTURE(sends_layout, sends_segments, receives_layout, receives_segments, size, room);
    Exchange exchange;
    exchange.layout_sent = sends_layout;
    exchange.segments_sent = sends_segments;
    exchange.layout_received = receives_layout;
    exchange.segments_received = receives_segments;
    exchange.run(size, room);
    // 20000 bytes are more than the fake transport may pack as a whole.
    const bool in_pieces = size <= 1024 || (sends_layout && !sends_segments && size == 20000);
    CHECK(counters_of(exchange.node.b).received_copy == !in_pieces);
  }
}

TEST_CASE("A receive of no bytes copies nothing and ends the send") {
  Exchange exchange;
  exchange.run(100000, 0);
  CHECK(counters_of(exchange.node.b).received_copy == 0);
  CHECK(counters_of(exchange.node.b).received_push == 1);
}

TEST_CASE("If the sender's memory cannot be read, the data comes in pieces, and is not tried again") {
  const bool known = GENERATE(false, true);
  Exchange exchange;
  if (known)
    exchange.node.to_a->reads_memory = false;
  else
    exchange.node.to_a->pid = 0x7ffffffe;  // no such process
  exchange.run(20000, 18000);
  CHECK_FALSE(exchange.node.to_a->reads_memory);
  CHECK(counters_of(exchange.node.a).sent_push == 1);
  CHECK(counters_of(exchange.node.b).received_push_bytes == 18000);
  CHECK(counters_of(exchange.node.b).received_copy == 0);
}

TEST_CASE("If unpacking fails, the receive and the send fail, with a report at the receiver") {
  Node node;
  auto data = pattern(20000);
  std::vector<char> memory(40000);
  const size_t refused_at = GENERATE(as<size_t>(), 0, 8192);
  Layout layout{memory.data(), 10, 6, {}, [&](size_t offset) { return offset == refused_at; }};
  Request sent, received;
  node.receive(node.b, received, 7, nullptr, 20000, &layout);
  node.send(node.a, sent, 7, data.data(), data.size());
  node.run();
  CHECK(received.times == 1);
  CHECK(received.status.result == EFA_FAILED);
  CHECK(sent.times == 1);
  CHECK(sent.status.result == EFA_FAILED);
  CHECK(node.b.reports.size() == 1);
  CHECK(node.a.reports.empty());
  CHECK(node.a.fatals.empty());
  CHECK(node.b.t->buffers.bytes_used() == 0);
  CHECK(counters_of(node.a).sent_copy + counters_of(node.b).received_copy == 0);
}

TEST_CASE("Synchronous sends end when they are matched") {
  Node node;
  Request first, second;
  node.send(node.a, first, 7, "first", 5, EFA_SEND_SYNCHRONOUS);
  node.send(node.a, second, 8, "second", 6, EFA_SEND_SYNCHRONOUS);
  node.run();
  CHECK(first.times + second.times == 0);
  CHECK(counters_of(node.b).unexpected_kept == 2);
  TextReceive receive;
  node.receive(node.b, receive, 8, receive.room.data(), 64, nullptr, true);
  node.run();
  CHECK(receive.text() == "second");
  CHECK(first.times == 0);
  CHECK(second.times == 1);
  CHECK(counters_of(node.a).sent_synchronous == 1);
}

TEST_CASE("A send is withdrawn inside of a node unless it has been matched") {
  const size_t size = GENERATE(as<size_t>(), 5, 5000);
  Node node;
  const auto data = pattern(size);
  Request withdrawn, matched;
  std::vector<char> buffer(size);
  node.send(node.a, withdrawn, 7, data.data(), size, EFA_SEND_SYNCHRONOUS);
  node.a.make_current();
  efa_cancel(node.a.t, &withdrawn);
  node.run();
  CHECK(withdrawn.times == 1);
  CHECK(withdrawn.status.result == EFA_CANCELED);
  CHECK(node.b.t->packets->kept == 0);
  Request receive;
  node.receive(node.b, receive, 7, buffer.data(), size);
  node.send(node.a, matched, 7, data.data(), size, EFA_SEND_SYNCHRONOUS);
  node.progress(node.b);
  node.a.make_current();
  efa_cancel(node.a.t, &matched);
  node.run();
  CHECK(matched.times == 1);
  CHECK(matched.status.result == EFA_SUCCESS);
  CHECK(buffer == data);
  CHECK(node.a.t->ready_to_send.size() == 0);
  CHECK(node.a.t->buffers.bytes_used() == 0);
}

TEST_CASE("When the ring is full, messages wait and arrive in order, whatever their kind") {
  Node node;
  std::vector<std::unique_ptr<Request>> sends;
  std::vector<std::unique_ptr<TextReceive>> receives;
  constexpr int kMessages = 3 * efa::kShmCells;
  const auto text = [](int i) { return std::to_string(i) + std::string(i % 3 ? 0 : 200, '.'); };
  int injected = 0;
  for (int i = 0; i < kMessages; ++i) {
    if (i % 2 && node.inject(node.a, 7, text(i))) {
      ++injected;
      continue;
    }
    const std::string bytes = text(i);  // may go before the send ends only if it has ended
    auto& request = *sends.emplace_back(std::make_unique<Request>());
    static std::vector<std::string> kept;
    kept.reserve(2 * kMessages);
    kept.push_back(bytes);
    node.send(node.a, request, 7, kept.back().data(), kept.back().size(),
              i % 5 ? EFA_SEND_STANDARD : EFA_SEND_SYNCHRONOUS);
  }
  CHECK(injected > 0);
  CHECK(injected < kMessages / 2);
  CHECK(counters_of(node.a).operations_pending > 0);
  CHECK_FALSE(node.inject(node.a, 7, "overtakes"));
  for (int i = 0; i < kMessages / 2; ++i) {
    auto& receive = *receives.emplace_back(std::make_unique<TextReceive>(300));
    node.receive(node.b, receive, 7, receive.room.data(), 300, nullptr, i % 2);
  }
  node.run();
  for (int i = kMessages / 2; i < kMessages; ++i) {
    auto& receive = *receives.emplace_back(std::make_unique<TextReceive>(300));
    node.receive(node.b, receive, 7, receive.room.data(), 300, nullptr, i % 2);
  }
  node.run();
  for (int i = 0; i < kMessages; ++i) REQUIRE(receives[static_cast<size_t>(i)]->text() == text(i));
  for (auto& request : sends) CHECK(request->times == 1);
  CHECK(counters_of(node.a).operations_pending == 0);
  CHECK(counters_of(node.b).unexpected_kept == 0);
  CHECK(node.inject(node.a, 7, "room again"));
}

TEST_CASE("A `done` may send again while waiting sends are posted, and nothing overtakes") {
  Node node;
  static Node* current_node;
  current_node = &node;
  struct Chain : Request {
    Chain() {
      done = [](efa_request* request) {
        auto* self = static_cast<Chain*>(request);
        ++self->times;
        if (self->next)
          current_node->send(current_node->a, *self->next, 7, self->next->text.data(),
                             self->next->text.size());
      };
    }
    std::string text;
    Chain* next = nullptr;
  };
  constexpr int kFirst = efa::kShmCells + 20;
  std::vector<std::unique_ptr<Chain>> chains;
  for (int i = 0; i < 2 * kFirst; ++i) {
    chains.push_back(std::make_unique<Chain>());
    chains.back()->text = std::to_string(i);
  }
  // Those that have to wait send another one each when they end.
  for (int i = efa::kShmCells; i < kFirst; ++i)
    chains[static_cast<size_t>(i)]->next = chains[static_cast<size_t>(i + kFirst)].get();
  for (int i = 0; i < kFirst; ++i) {
    auto& chain = *chains[static_cast<size_t>(i)];
    node.send(node.a, chain, 7, chain.text.data(), chain.text.size());
  }
  std::vector<int> order;
  for (int i = 0; i < kFirst + 20; ++i) {
    TextReceive receive;
    node.receive(node.b, receive, 7, receive.room.data(), 64);
    for (int turn = 0; turn < 200 && !receive.times; ++turn) {
      node.progress(node.b);
      node.progress(node.a);
    }
    order.push_back(std::stoi(receive.text()));
  }
  for (int i = 0; i < kFirst; ++i) CHECK(order[static_cast<size_t>(i)] == i);
  for (int i = 0; i < 20; ++i)
    CHECK(order[static_cast<size_t>(kFirst + i)] == static_cast<int>(efa::kShmCells) + kFirst + i);
  CHECK(node.a.t->pending.empty());
}

TEST_CASE("Packets are matched in the order of sending, also if `done` polls shared memory") {
  Node node;
  static efa_transport* transport;
  transport = node.b.t;
  std::vector<std::unique_ptr<TextReceive>> receives;
  for (int i = 0; i < 50; ++i) {
    auto& receive = *receives.emplace_back(std::make_unique<TextReceive>());
    node.receive(node.b, receive, 7, receive.room.data(), 64);
    receive.done = [](efa_request* request) {
      ++static_cast<Request*>(request)->times;
      efa_progress_packets(transport);
    };
  }
  for (int i = 0; i < 60; ++i) REQUIRE(node.inject(node.a, 7, std::to_string(i)));
  node.run();
  for (int i = 0; i < 50; ++i) CHECK(receives[static_cast<size_t>(i)]->text() == std::to_string(i));
  for (int i = 50; i < 60; ++i) {
    TextReceive receive;
    node.receive(node.b, receive, 7, receive.room.data(), 64, nullptr, true);
    CHECK(receive.text() == std::to_string(i));
  }
}

TEST_CASE("The fast calls do the same as the general ones") {
  Node node;
  REQUIRE(node.inject(node.a, -9, "first"));
  CHECK(counters_of(node.a).sent_inject == 1);
  CHECK(counters_of(node.a).sent_inject_bytes == 5);
  node.a.make_current();
  const efa_envelope envelope{kContext, 3, 3, -9, false}, pattern{kContext, 0, 3, -9, false};
  CHECK(efa_try_inject(node.a.t, node.to_b, &envelope, "second", 6));
  CHECK(counters_of(node.a).sent_inject_bytes == 11);
  const std::vector<char> longest(node.to_b->eager_limit + 1);
  CHECK(efa_inject_packet(node.a.t, node.to_b, &envelope, longest.data(), longest.size()) ==
        EFA_NOT_INJECTED);
  CHECK_FALSE(efa_try_inject(node.a.t, node.to_b, &envelope, longest.data(), longest.size()));
  CHECK(efa_inject_packet(node.a.t, node.to_b, &envelope, longest.data(), longest.size() - 1) ==
        EFA_INJECTED);
  node.b.make_current();
  CHECK(efa_progress_packets(node.b.t) + efa_progress_packets(node.b.t) == 3);
  CHECK(efa_progress_packets(node.b.t) == 0);
  TextReceive fast, general;
  fast.data = general.data = {fast.room.data(), 64, nullptr};
  general.data.buffer = general.room.data();
  CHECK(efa_try_recv_packet(node.b.t, &fast, node.to_a, &pattern));
  CHECK(fast.text() == "first");
  general.op.peer = node.to_a;
  CHECK(efa_recv(node.b.t, &general, &pattern) == EFA_SUCCESS);
  CHECK(general.text() == "second");
  CHECK(general.status.tag == fast.status.tag);
  CHECK(counters_of(node.b).received_eager == 2);
  CHECK(counters_of(node.b).unexpected_kept == 1);
}

TEST_CASE("The fast progress reads the provider's queue now and then, and at once if it is needed") {
  Node node;
  node.b.make_current();
  TextReceive receive(node.b, nullptr, 7), again(node.b, nullptr, 7);
  // Another process of this node that could not open the shared memory.
  node.b.queue({kContext, 1, 7, 3, 0, efa::PacketType::eager, 0, 0}, "far", 3);
  int polls = 0;
  while (receive.times == 0 && polls < 100) efa_progress_packets(node.b.t), ++polls;
  CHECK(receive.text() == "far");
  node.b.t->packets->distant_peers = 1;
  node.b.queue({kContext, 1, 7, 3, 0, efa::PacketType::eager, 0, 0}, "far", 3);
  efa_progress_packets(node.b.t);
  CHECK(again.text() == "far");
}

TEST_CASE("A ring with what cannot be in it ends the job with the sender's name") {
  Node node;
  node.inject(node.a, 7, "fine");
  const efa::PacketHeader header{kContext, 3, 7, 5, 0, static_cast<efa::PacketType>(9), 0, 0};
  CHECK(node.to_b->shm->send(header, "wrong", 5));
  node.run();
  REQUIRE(node.b.fatals.size() == 1);
  CHECK_THAT(node.b.fatals[0], Contains("rank 3 on host here"));
  TextReceive receive;
  node.receive(node.b, receive, 7, receive.room.data(), 64);
  CHECK(receive.text() == "fine");
}

TEST_CASE("A peer of the node that fails: waiting sends end, and no later message is sent") {
  Node node;
  std::vector<std::unique_ptr<Request>> sends;
  for (uint32_t i = 0; i < efa::kShmCells + 5; ++i)
    node.send(node.a, *sends.emplace_back(std::make_unique<Request>()), 7, "x", 1);
  CHECK(sends.back()->times == 0);
  node.a.make_current();
  efa::fail_peer(node.a.t, node.to_b, efa::msg::peer_undeliverable("this", "that"));
  CHECK(sends.back()->times == 1);
  CHECK(sends.back()->status.result == EFA_UNREACHABLE);
  CHECK(sends.front()->status.result == EFA_SUCCESS);
  CHECK_FALSE(node.inject(node.a, 7, "late"));
  Request late;
  node.send(node.a, late, 7, "x", 1);
  CHECK(late.status.result == EFA_UNREACHABLE);
}

TEST_CASE("The likely cause of a silent peer of the node is no network, whatever its host is called") {
  Node node;
  node.to_b->hostname = "container";  // of its own, on the same node
  CHECK_THAT(std::string(efa::likely_cause(node.a.t, {node.to_b})), Contains("ps shows") && !Contains("security group"));
  CHECK_THAT(std::string(efa::likely_cause(node.a.t, {&node.a.one})), Contains("security group"));
}

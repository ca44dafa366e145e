// The packet path over the provider's messages: matching, unexpected messages, probes, cancellation, failed peers, sending.
#include "catch.hpp"
#include "health/peer_failure.hpp"
#include "packet_transport.hpp"
#include "packets/message_channel.hpp"
#include "packets/packet_path.hpp"
#include "packets/incoming.hpp"

using namespace fake;

namespace {

efa_counters counters_of(const Transport& side) {
  efa_counters counters;
  efa_counters_get(side.t, &counters);
  return counters;
}

efa_envelope from(int32_t rank, int32_t tag) {
  return {kContext, 0, rank, tag, tag == EFA_ANY_TAG};
}

// A control message that withdraws a message of `rank`.
efa::Control withdrawal(const PacketTransport& fixture, const efa_peer& sender, int32_t tag, uint64_t id,
                        uint64_t kind, uint32_t context = kContext) {
  efa::Control message = fixture.control(efa::ControlType::withdraw, sender, id);
  message.length = fixture.t->tags.send_bits(context, kind, sender.world_rank, tag);
  message.handle = static_cast<uint32_t>(sender.world_rank);
  message.piece = 0;
  return message;
}

void fail(PacketTransport& fixture, efa_peer& peer) {
  efa::fail_peer(fixture.t, &peer, efa::msg::peer_undeliverable("this", "that"));
}

}  // namespace

TEST_CASE("A message goes to the receive that was posted first among those that match it") {
  PacketTransport fixture;
  TextReceive any_source(fixture, nullptr, 7), other_tag(fixture, &fixture.one, 8),
      other_rank(fixture, &fixture.two, 7), exact(fixture, &fixture.one, 7),
      any_tag(fixture, &fixture.one, EFA_ANY_TAG), anything(fixture, nullptr, EFA_ANY_TAG);
  for (const char* text : {"first", "second", "third", "fourth"}) fixture.arrive(1, 7, text);
  CHECK(any_source.text() == "first");
  CHECK(exact.text() == "second");
  CHECK(any_tag.text() == "third");
  CHECK(anything.text() == "fourth");
  CHECK(other_tag.times + other_rank.times == 0);
  for (const TextReceive* receive : {&any_source, &exact, &any_tag, &anything}) {
    CHECK(receive->status.source == 1);
    CHECK(receive->status.tag == 7);
    CHECK(receive->status.result == EFA_SUCCESS);
  }
  fixture.arrive(2, 7, "fifth");
  fixture.arrive(1, 8, "sixth");
  CHECK(other_rank.text() == "fifth");
  CHECK(other_tag.text() == "sixth");
}

TEST_CASE("Negative tags match only receives that name them") {
  PacketTransport fixture;
  TextReceive anything(fixture, nullptr, EFA_ANY_TAG), negative(fixture, nullptr, -5);
  fixture.arrive(1, -6, "not received");
  fixture.arrive(1, -5, "negative");
  CHECK(negative.text() == "negative");
  CHECK(negative.status.tag == -5);
  CHECK(anything.times == 0);
  fixture.arrive(1, 0, "zero");
  CHECK(anything.text() == "zero");
  TextReceive late(fixture, nullptr, EFA_ANY_TAG);
  CHECK(late.times == 0);
  TextReceive exact(fixture, &fixture.one, -6);
  CHECK(exact.text() == "not received");
}

TEST_CASE("Messages match receives of their communicator only") {
  PacketTransport fixture;
  const uint32_t contexts[] = {0,
                               kContext,
                               6,
                               efa::Communicators::kNear - 1,
                               efa::Communicators::kNear,
                               fixture.t->tags.max_context()};
  for (const uint32_t arrives : contexts) {
    CAPTURE(arrives);
    std::vector<std::unique_ptr<TextReceive>> posted;
    for (const uint32_t context : contexts)
      posted.push_back(std::make_unique<TextReceive>(fixture, nullptr, EFA_ANY_TAG, 64, context));
    fixture.arrive(1, 3, "posted", arrives);
    for (size_t i = 0; i < posted.size(); ++i) {
      CHECK(posted[i]->times == (contexts[i] == arrives));
      if (!posted[i]->times) efa_cancel(fixture.t, posted[i].get());
      CHECK(posted[i]->times == 1);
    }
    fixture.arrive(1, 3, "unexpected", arrives);
    efa_status status{};
    for (const uint32_t context : contexts)
      CHECK(fixture.probe(nullptr, EFA_ANY_TAG, status, context) == (context == arrives));
    TextReceive late(fixture, &fixture.one, 3, 64, arrives);
    CHECK(late.text() == "unexpected");
  }
}

TEST_CASE("Unexpected messages are received in the order of arrival, and their memory is counted") {
  PacketTransport fixture;
  fixture.arrive(1, 7, "one");
  fixture.arrive(2, 7, "two");
  fixture.arrive(1, 7, "three");
  CHECK(counters_of(fixture).unexpected_kept == 3);
  CHECK(counters_of(fixture).unexpected_kept_bytes == 11);
  CHECK(counters_of(fixture).received_eager == 0);
  TextReceive first(fixture, nullptr, 7), second(fixture, &fixture.one, EFA_ANY_TAG),
      third(fixture, nullptr, EFA_ANY_TAG);
  CHECK(first.text() == "one");
  CHECK(second.text() == "three");
  CHECK(third.text() == "two");
  CHECK(third.status.source == 2);
  CHECK(counters_of(fixture).unexpected_kept == 0);
  CHECK(counters_of(fixture).unexpected_kept_most == 3);
  CHECK(counters_of(fixture).unexpected_kept_bytes == 0);
  CHECK(counters_of(fixture).received_eager == 3);
  CHECK(counters_of(fixture).received_eager_bytes == 11);
}

TEST_CASE("Messages are matched in the order of arrival, also if `done` makes progress amid a batch") {
  PacketTransport fixture;
  fixture.t->batch = 3;
  static efa_transport* transport;
  transport = fixture.t;
  std::vector<std::unique_ptr<TextReceive>> receives;
  for (int i = 0; i < 8; ++i) {
    receives.push_back(std::make_unique<TextReceive>(fixture, &fixture.one, 7));
    receives.back()->done = [](efa_request* request) {
      ++static_cast<Request*>(request)->times;
      efa_progress(transport);
    };
  }
  const auto queue = [&](const std::string& text) {
    fixture.queue({kContext, 1, 7, static_cast<uint32_t>(text.size()), 0, efa::PacketType::eager, 0, 0},
                  text.data(), text.size());
  };
  for (const char* text : {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}) queue(text);
  fixture.progress();
  for (size_t i = 0; i < receives.size(); ++i) CHECK(receives[i]->text() == std::to_string(i));
  TextReceive ninth(fixture, nullptr, 7), tenth(fixture, nullptr, 7);
  CHECK(ninth.text() == "8");
  CHECK(tenth.text() == "9");
}

TEST_CASE("Messages of every length fill the receive up to its end, and are truncated there") {
  const bool unexpected = GENERATE(false, true), layout_used = GENERATE(false, true);
  for (const size_t room : {0, 1, 7, 8, 16, 17, 64, 256, 300, 1000})
    for (const size_t size : {0, 1, 7, 8, 9, 16, 17, 255, 256, 257, 1000, 1024}) {
      CAPTURE(room, size, unexpected, layout_used);
      PacketTransport fixture;
      std::vector<char> memory(2 * room + 64, 0x5a);
      Layout layout{memory.data(), 1, 1};
      const auto data = pattern(size);
      Request request;
      const auto receive = [&] {
        fixture.receive(request, &fixture.one, 7, memory.data(), room, layout_used ? &layout : nullptr);
      };
      if (!unexpected) receive();
      fixture.arrive(efa::PacketType::eager, 1, 7, data.data(), size);
      if (unexpected) receive();
      const size_t stored = std::min(size, room), step = layout_used ? 2 : 1;
      REQUIRE(request.times == 1);
      CHECK(request.status.length == stored);
      CHECK(request.status.result == (size > room ? EFA_TRUNCATED : EFA_SUCCESS));
      size_t wrong = 0;
      for (size_t i = 0; i < memory.size(); ++i) {
        const bool in = i % step == 0 && i / step < stored;
        wrong += memory[i] != (in ? data[i / step] : 0x5a);
      }
      CHECK(wrong == 0);
      CHECK(fixture.t->counters.received_eager_bytes == stored);
    }
}

TEST_CASE("A synchronous message is acknowledged when it is matched, not before") {
  const bool any_source = GENERATE(false, true), posted_first = GENERATE(false, true);
  PacketTransport fixture;
  TextReceive receive;
  const auto post = [&] {
    fixture.receive(receive, any_source ? nullptr : &fixture.two, 8, receive.room.data(), 64);
  };
  if (posted_first) post();
  fixture.arrive_synchronous(2, 8, "tell me", 4711);
  if (!posted_first) {
    CHECK(fixture.fabric.count(Call::send) == 0);
    efa_status status{};
    CHECK(fixture.probe(nullptr, 8, status));
    CHECK(status.length == 7);
    CHECK(fixture.fabric.count(Call::send) == 0);
    post();
  }
  CHECK(receive.text() == "tell me");
  REQUIRE(fixture.fabric.count(Call::send) == 1);
  const efa::Control answer = fixture.sent_control();
  CHECK(fixture.sent_to == fixture.two.address);
  CHECK(answer.type == efa::ControlType::acknowledge);
  CHECK(answer.request == 4711);
  CHECK(fixture.t->counters.received_synchronous == 1);
  CHECK(fixture.t->counters.received_synchronous_bytes == 7);
  CHECK(counters_of(fixture).unexpected_kept_bytes == 0);
  CHECK(fixture.t->sends_posted == 0);
}

TEST_CASE("A rendezvous may be announced before or after its receive is posted") {
  const bool posted_first = GENERATE(false, true);
  PacketTransport fixture;
  std::vector<char> buffer(10000);
  const auto data = pattern(10000);
  Request request;
  const auto post = [&] { fixture.receive(request, nullptr, 8, buffer.data(), buffer.size()); };
  if (posted_first) post();
  fixture.arrive(fixture.ready(42, 10000), 1, 8);
  if (!posted_first) {
    efa_status status{};
    REQUIRE(fixture.probe(&fixture.one, 8, status));
    CHECK(status.length == 10000);
    post();
  }
  const efa::Control clear = fixture.sent_control();
  CHECK(clear.type == efa::ControlType::clear_to_send);
  CHECK(clear.request == 42);
  CHECK(clear.length == 10000);
  for (size_t offset = 0; offset < data.size(); offset += 4096) {
    REQUIRE(fixture.fabric.count(Call::tagged_receive) > 0);
    Posted piece = fixture.fabric.take(Call::tagged_receive);
    piece.into[0].iov_len = std::min<size_t>(4096, data.size() - offset);
    serve(fixture, piece, data, offset);
    fixture.progress();
  }
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(buffer == data);
  CHECK(counters_of(fixture).unexpected_kept == 0);
}

TEST_CASE("A probe finds what has arrived at the channel, without a call of progress before it") {
  const bool take = GENERATE(false, true);
  PacketTransport fixture;
  efa_status status{};
  CHECK_FALSE(fixture.probe(nullptr, 3, status));
  CHECK(fixture.match(nullptr, 3, status) == nullptr);
  fixture.queue({kContext, 2, 3, 4, 0, efa::PacketType::eager, 0, 0}, "here", 4);
  if (take) {
    TextReceive receive;
    efa_message* message = fixture.match(nullptr, 3, status);
    REQUIRE(message);
    CHECK(fixture.receive_matched(receive, message, receive.room.data(), 64) == EFA_SUCCESS);
    CHECK(receive.text() == "here");
  } else {
    CHECK(fixture.probe(nullptr, 3, status));
  }
  CHECK(status.source == 2);
  CHECK(status.tag == 3);
  CHECK(status.length == 4);
}

TEST_CASE("A message that a matched probe has taken is received by that handle only") {
  PacketTransport fixture;
  fixture.arrive(1, 3, "taken");
  fixture.arrive(1, 3, "next");
  efa_status status{};
  CHECK(fixture.probe(&fixture.one, 3, status));
  efa_message* message = fixture.match(&fixture.one, 3, status);
  REQUIRE(message);
  CHECK(status.length == 5);
  CHECK(counters_of(fixture).unexpected_kept == 2);
  TextReceive receive(fixture, &fixture.one, 3), waiting(fixture, &fixture.one, 3), matched;
  CHECK(receive.text() == "next");
  CHECK(waiting.times == 0);
  matched.op.peer = &fixture.one;
  CHECK(fixture.receive_matched(matched, message, matched.room.data(), 3) == EFA_SUCCESS);
  CHECK(matched.text() == "tak");
  CHECK(matched.status.result == EFA_TRUNCATED);
  CHECK(counters_of(fixture).unexpected_kept == 0);
  CHECK(fixture.t->requests.empty());
}

TEST_CASE("A matched probe may take a synchronous message or the announcement of a rendezvous") {
  PacketTransport fixture;
  fixture.arrive_synchronous(1, 3, "tell me", 4711);
  fixture.arrive(fixture.ready(42, 10000), 2, 3);
  efa_status status{};
  efa_message* synchronous = fixture.match(&fixture.one, 3, status);
  CHECK(status.length == 7);
  efa_message* announced = fixture.match(nullptr, 3, status);
  CHECK(status.length == 10000);
  CHECK(fixture.fabric.count(Call::send) == 0);
  TextReceive receive, none;
  fixture.receive_matched(receive, synchronous, receive.room.data(), 64);
  CHECK(receive.text() == "tell me");
  CHECK(fixture.sent_control().type == efa::ControlType::acknowledge);
  fixture.receive_matched(none, announced, none.room.data(), 0);
  CHECK(none.status.result == EFA_TRUNCATED);
  CHECK(none.text() == "");
  const efa::Control clear = fixture.sent_control();
  CHECK(clear.type == efa::ControlType::clear_to_send);
  CHECK(clear.length == 0);
  CHECK(fixture.t->requests.empty());
}

TEST_CASE("A receive is cancelled before a message matches it, and not after") {
  PacketTransport fixture;
  TextReceive cancelled(fixture, nullptr, EFA_ANY_TAG), matched(fixture, &fixture.one, 7);
  efa_cancel(fixture.t, &cancelled);
  CHECK(cancelled.times == 1);
  CHECK(cancelled.status.result == EFA_CANCELED);
  fixture.arrive(1, 7, "kept");
  efa_cancel(fixture.t, &matched);
  CHECK(matched.text() == "kept");
  CHECK(matched.status.result == EFA_SUCCESS);
  // A rendezvous has matched and is not complete.
  std::vector<char> buffer(10000);
  Request open;
  fixture.receive(open, &fixture.one, 8, buffer.data(), buffer.size());
  fixture.arrive(fixture.ready(42, 10000), 1, 8);
  efa_cancel(fixture.t, &open);
  CHECK(open.times == 0);
}

TEST_CASE("A message that its sender withdraws is removed unless it has been matched") {
  const bool rendezvous = GENERATE(false, true);
  const uint64_t kind = rendezvous ? efa::kKindRts : efa::kKindSync;
  PacketTransport fixture;
  const auto send = [&](int32_t rank, uint64_t id) {
    if (rendezvous)
      fixture.arrive(fixture.ready(id, 10000), rank, 7);
    else
      fixture.arrive_synchronous(rank, 7, "text", id);
  };
  const auto withdrawn = [&](const efa_peer& sender, uint64_t id, uint32_t context = kContext) {
    fixture.arrive(withdrawal(fixture, sender, 7, id, kind, context));
    REQUIRE(fixture.fabric.count(Call::send) == 1);
    const efa::Control answer = fixture.sent_control();
    CHECK(fixture.sent_to == sender.address);
    CHECK(answer.type == efa::ControlType::withdrawn);
    CHECK(answer.request == id);
    return answer.failed == 0;
  };
  send(1, 11);
  send(2, 12);
  send(1, 12);
  fixture.arrive(1, 7, "not answered");                   // its id is none
  CHECK_FALSE(withdrawn(fixture.one, 12, kContext + 1));  // a communicator that is not known
  CHECK_FALSE(withdrawn(fixture.one, 13));
  CHECK_FALSE(withdrawn(fixture.one, 0));
  CHECK(counters_of(fixture).unexpected_kept == 4);
  CHECK(withdrawn(fixture.one, 12));
  CHECK_FALSE(withdrawn(fixture.one, 12));
  CHECK(counters_of(fixture).unexpected_kept == 3);
  TextReceive first(fixture, nullptr, 7, 0);
  CHECK(first.status.source == 1);
  CHECK(fixture.sent_control().request == 11);
  CHECK_FALSE(withdrawn(fixture.one, 11));  // matched
  CHECK(withdrawn(fixture.two, 12));
  TextReceive last(fixture, nullptr, 7);
  CHECK(last.text() == "not answered");
  CHECK(counters_of(fixture).unexpected_kept_bytes == 0);
}

TEST_CASE("A message that was taken by a matched probe is not withdrawn") {
  PacketTransport fixture;
  fixture.arrive_synchronous(1, 7, "text", 11);
  efa_status status{};
  efa_message* message = fixture.match(nullptr, 7, status);
  fixture.arrive(withdrawal(fixture, fixture.one, 7, 11, efa::kKindSync));
  CHECK(fixture.sent_control().failed == 1);
  TextReceive receive;
  fixture.receive_matched(receive, message, receive.room.data(), 64);
  CHECK(receive.text() == "text");
}

TEST_CASE("When a peer fails, receives from it end; those from anyone stay until they are ended") {
  PacketTransport fixture;
  TextReceive from_one(fixture, &fixture.one, 7), also(fixture, &fixture.one, EFA_ANY_TAG),
      from_two(fixture, &fixture.two, 7), anyone(fixture, nullptr, 7),
      elsewhere(fixture, &fixture.one, 7, 64, 9);
  fixture.arrive(1, 1, "before");  // `also`
  TextReceive posted_later(fixture, &fixture.one, 2);
  fail(fixture, fixture.one);
  for (const TextReceive* ended : {&from_one, &elsewhere, &posted_later}) {
    CHECK(ended->times == 1);
    CHECK(ended->status.result == EFA_UNREACHABLE);
    CHECK(ended->status.length == 0);
  }
  CHECK(also.text() == "before");
  CHECK(from_two.times + anyone.times == 0);
  TextReceive late(fixture, &fixture.one, 7);
  CHECK(late.status.result == EFA_UNREACHABLE);
  bool found = true;
  efa_status status{};
  const efa_envelope pattern = from(1, 7);
  CHECK(efa_probe(fixture.t, &fixture.one, nullptr, &pattern, &found, &status) == EFA_UNREACHABLE);
  CHECK_FALSE(found);
  efa_message* message = nullptr;
  CHECK(efa_match(fixture.t, &fixture.one, nullptr, &pattern, &message, &status) == EFA_UNREACHABLE);
  Request fast;
  CHECK_FALSE(efa_try_recv_packet(fixture.t, &fast, &fixture.one, &pattern));
  fixture.arrive(2, 7, "alive");
  CHECK(from_two.text() == "alive");
  efa::end_receives_from_anyone(fixture.t);
  CHECK(anyone.status.result == EFA_UNREACHABLE);
  CHECK(anyone.times == 1);
}

TEST_CASE("Messages of a communicator that is freed are dropped, and a later one does not see them") {
  PacketTransport fixture;
  const uint32_t context = GENERATE(as<uint32_t>(), 6, 6000);
  fixture.arrive(1, 7, "stale", context);
  fixture.arrive_synchronous(1, 7, "other", 1);
  efa_communicator_freed(fixture.t, context);
  efa_communicator_freed(fixture.t, 7);  // one that nobody used
  efa_communicator_freed(fixture.t, 7000);
  CHECK(counters_of(fixture).unexpected_kept == 1);
  efa_status status{};
  CHECK_FALSE(fixture.probe(nullptr, EFA_ANY_TAG, status, context));
  TextReceive receive(fixture, nullptr, EFA_ANY_TAG, 64, context);
  CHECK(receive.times == 0);
  fixture.arrive(1, 7, "new", context);
  CHECK(receive.text() == "new");
  CHECK(fixture.probe(nullptr, EFA_ANY_TAG, status));
  CHECK(status.length == 5);
}

TEST_CASE("A report of open receives shows each once, with what it waits for") {
  PacketTransport fixture;
  TextReceive posted(fixture, nullptr, EFA_ANY_TAG, 64, 6000), exact(fixture, &fixture.one, -7),
      done(fixture, nullptr, 1);
  fixture.arrive(1, 1, "x");
  const auto open = fixture.t->path->open_receives(fixture.t);
  REQUIRE(open.size() == 2);
  CHECK(((open[0] == &posted && open[1] == &exact) || (open[1] == &posted && open[0] == &exact)));
  CHECK(fixture.t->tags.context(posted.bits) == 6000);
  CHECK(fixture.t->tags.ignores_tag(posted.ignore));
  CHECK(fixture.t->tags.tag(exact.bits) == -7);
  CHECK_FALSE(fixture.t->tags.ignores_tag(exact.ignore));
}

// Packets match in the order of their completions, and a message of several packets of the NIC completes when the last one has
// arrived, which may be after messages that were sent later.
TEST_CASE("On a NIC that reorders its packets, one packet of the path is no longer than one of the NIC") {
  struct {
    const char* provider;
    size_t mtu;  // 0: libfabric does not tell
    uint64_t eager;
  } cases[] = {{"efa", 8760, 8760 - sizeof(efa::PacketHeader)},
               {"efa", 0, 4096 - sizeof(efa::PacketHeader)},
               {"efa", 100000, efa::kMostMessagePayload},
               {"tcp;ofi_rxm", 1500, efa::kMostMessagePayload}};
  for (const auto& each : cases) {
    CAPTURE(each.provider, each.mtu);
    Transport transport;
    fi_link_attr link{};
    link.mtu = each.mtu;
    fid_nic nic{};
    nic.link_attr = &link;
    fi_info* info = transport.t->rails.first.info.get();
    info->nic = &nic;
    transport.t->traits = &efa::provider_traits(each.provider);
    transport.t->config.options.shm = false;
    transport.t->protocols.eager_limit = transport.t->protocols.eager_limit_packed = 1 << 20;
    efa::use_packets(transport.t);
    CHECK(transport.t->protocols.eager_limit == each.eager);
    CHECK(transport.t->protocols.eager_limit_packed == each.eager);
    CHECK(transport.t->protocols.longest_eager == each.eager);
    info->nic = nullptr;
  }
}

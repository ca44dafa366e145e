// Rendezvous of both sides, pushed and pulled: which operations are posted, in which order, and how they end.
#include "catch.hpp"
#include "fake_transport.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/wire.hpp"

using namespace fake;
using efa::ControlType;

TEST_CASE("Push, sender: no data is sent before clear-to-send, then a window of pieces until the end") {
  Transport fixture;
  const auto data = pattern(10000);
  Request request;
  fixture.send(request, fixture.one, 5, data.data(), data.size());
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->length == 10000);
  CHECK(ready->rails == 0);
  fixture.fabric.complete(rts);
  fixture.progress();
  CHECK(fixture.fabric.count(Call::tagged_send) == 0);

  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, ready->request, 10000, 3000));
  std::vector<char> arrived;
  for (uint64_t piece = 0; piece < 4; ++piece) {
    CHECK(fixture.fabric.count(Call::tagged_send) == std::min<size_t>(2, 4 - piece));
    const Posted posted = fixture.fabric.take(Call::tagged_send);
    CHECK(posted.tag == fixture.t->tags.piece_bits(3, static_cast<uint32_t>(piece)));
    arrived.insert(arrived.end(), posted.bytes.begin(), posted.bytes.end());
    CHECK(request.times == 0);
    fixture.fabric.complete(posted);
    fixture.progress();
  }
  CHECK(arrived == data);
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(fixture.t->ready_to_send.size() == 0);
  CHECK(fixture.t->sends_posted == 0);
}

TEST_CASE("Pushes to one peer share a window in order; each peer has its own window") {
  Transport fixture;  // two pieces in flight per message, four per peer
  const bool failing = GENERATE(false, true);
  const auto data = pattern(20000);
  Request requests[4], other;
  const auto announce = [&](Request& request, efa_peer& peer) {
    fixture.send(request, peer, 5, data.data(), data.size());
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.progress();
  };
  const auto clear = [&](Request& request, efa_peer& peer) {
    fixture.arrive(fixture.control(ControlType::clear_to_send, peer, request.ready_id, data.size()));
  };
  for (Request& request : requests) announce(request, fixture.one);
  announce(other, fixture.two);
  for (Request& request : requests) clear(request, fixture.one);
  CHECK(fixture.fabric.count(Call::tagged_send) == 4);
  clear(other, fixture.two);
  CHECK(fixture.fabric.count(Call::tagged_send) == 6);

  if (failing) {
    fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO, 13);
    fixture.progress();
    CHECK(fixture.reports.size() == 1);
  }
  while (fixture.fabric.count(Call::tagged_send)) {
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.progress();
    CHECK(fixture.fabric.count(Call::tagged_send) <= 6);
    for (int i = 1; i < 4; ++i) CHECK(requests[i].times <= requests[i - 1].times);
  }
  for (const Request& request : requests) {
    CHECK(request.times == 1);
    CHECK(request.status.result == (failing && &request == requests ? EFA_FAILED : EFA_SUCCESS));
  }
  CHECK(other.times == 1);
  if (failing) {
    const auto stopped = answer(fixture);
    CHECK(stopped.type == ControlType::send_failed);
    CHECK(stopped.request == requests[0].ready_id);
    CHECK(stopped.length == 2);
    CHECK(stopped.piece == 1);  // the first of the two is lost
    CHECK(stopped.failed == 0);
  }
  CHECK(fixture.one.pieces_sent == 0);
  CHECK(fixture.one.waiting == nullptr);
  CHECK(fixture.two.pieces_sent == 0);
  CHECK(fixture.t->sends_posted == 0);
}

TEST_CASE("While other sends wait for their receivers, a message is pushed in longer pieces") {
  Transport fixture;
  fixture.t->protocols.piece_among_others = 8192;
  const auto data = pattern(20000);
  Request first, second;
  for (Request* request : {&first, &second}) {
    fixture.send(*request, fixture.one, 5, data.data(), data.size());
    const Posted rts = fixture.fabric.take(Call::tagged_send);
    const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
    REQUIRE(ready);
    CHECK(ready->piece == (request == &first ? 4096 : 8192));
    fixture.fabric.complete(rts);
  }
  for (Request* request : {&first, &second})
    fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, request->ready_id, 0));
  CHECK(first.times == 1);
  CHECK(second.times == 1);
}

TEST_CASE("Push, receiver: pieces are posted before clear-to-send, and complete in any order") {
  Transport fixture;
  const auto data = pattern(10000);
  std::vector<char> buffer(10000);
  Request request;
  fixture.receive(request, nullptr, 5, buffer.data(), buffer.size());
  fixture.arrive(fixture.ready(42, 10000, 100), 2, 5);  // pieces shorter than a page are not used
  REQUIRE(fixture.fabric.count(Call::tagged_receive) == 2);
  // Both receives were posted before the control message.
  CHECK(fixture.fabric.posted.back().call == Call::send);
  const auto clear = answer(fixture);
  CHECK(clear.type == ControlType::clear_to_send);
  CHECK(clear.request == 42);
  CHECK(clear.length == 10000);
  CHECK(clear.piece == 4096);
  const Posted zero = fixture.fabric.take(Call::tagged_receive),
               one = fixture.fabric.take(Call::tagged_receive);
  CHECK(one.tag == fixture.t->tags.piece_bits(clear.handle, 1));
  serve(fixture, one, data, 4096);
  fixture.progress();
  CHECK(fixture.fabric.count(Call::tagged_receive) == 0);  // the window advances with its oldest piece
  serve(fixture, zero, data, 0);
  fixture.progress();
  serve(fixture, fixture.fabric.take(Call::tagged_receive), data, 8192);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(request.status.length == 10000);
  CHECK(request.status.source == 2);
  CHECK(buffer == data);
}

TEST_CASE(
    "A push between noncontiguous layouts packs and unpacks piece by piece, within the staging memory") {
  Transport fixture;
  const auto data = pattern(20000);
  std::vector<char> memory(40000, 0x11);
  Layout layout{memory.data(), 100, 100};
  Request request;
  fixture.receive(request, &fixture.one, 5, nullptr, 20000, &layout);
  fixture.arrive(fixture.ready(1, 20000), 1, 5);
  const auto clear = answer(fixture);
  CHECK(clear.piece == 4096);
  for (size_t offset = 0; offset < 20000; offset += 4096) {
    CHECK(fixture.t->buffers.bytes_used() <= 2 * 4096);
    serve(fixture, fixture.fabric.take(Call::tagged_receive), data, offset);
    fixture.progress();
  }
  CHECK(request.times == 1);
  for (size_t i = 0; i < 20000; ++i) REQUIRE(memory[i / 100 * 200 + i % 100] == data[i]);
  for (size_t i = 0; i < memory.size(); ++i)
    if (i % 200 >= 100) REQUIRE(memory[i] == 0x11);
  CHECK(fixture.t->buffers.bytes_used() == 0);
}

TEST_CASE("Beyond the limit of staging memory a message continues with one piece at a time") {
  Transport fixture;  // staging memory for five pieces, a window of two per message
  const auto data = pattern(20000);
  struct Receive {
    Request request;
    std::vector<char> memory = std::vector<char>(40000);
    Layout layout{memory.data(), 100, 100};
    std::deque<Posted> posted;
    size_t next = 0;
  } receives[3];
  const auto take = [&](Receive& receive) {
    while (fixture.fabric.count(Call::tagged_receive))
      receive.posted.push_back(fixture.fabric.take(Call::tagged_receive));
  };
  const auto serve_one = [&](Receive& receive) {
    serve(fixture, receive.posted.front(), data, 4096 * receive.next++);
    receive.posted.pop_front();
    fixture.progress();
    take(receive);
  };
  for (Receive& receive : receives) {
    fixture.receive(receive.request, &fixture.one, 5, nullptr, 20000, &receive.layout);
    fixture.arrive(fixture.ready(static_cast<uint64_t>(&receive - receives), 20000), 1, 5);
    answer(fixture);
    take(receive);
  }
  CHECK(receives[1].posted.size() == 2);
  CHECK(receives[2].posted.size() == 1);
  serve_one(receives[2]);
  CHECK(receives[2].posted.size() == 1);
  while (receives[0].request.times == 0) serve_one(receives[0]);
  serve_one(receives[2]);
  CHECK(receives[2].posted.size() == 2);
  for (Receive& receive : receives) {
    while (receive.request.times == 0) serve_one(receive);
    for (size_t i = 0; i < 20000; ++i) REQUIRE(receive.memory[i / 100 * 200 + i % 100] == data[i]);
  }
  CHECK(fixture.t->buffers.most_used() == 5 * 4096);
  CHECK(fixture.t->buffers.bytes_used() == 0);
}

TEST_CASE("A receive that is too short receives its part, is truncated and releases the sender") {
  const bool pull = GENERATE(true, false);
  Transport fixture;
  fixture.t->protocols.pulls = pull;
  const auto data = pattern(10000);
  std::vector<char> buffer(5064, 0x5a);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), 5000);
  auto ready = fixture.ready(1, 10000);
  ready.rails = pull;
  ready.address = 1 << 20;
  fixture.arrive(ready, 1, 5);
  if (!pull) CHECK(answer(fixture).length == 5000);
  for (const size_t offset : {0, 4096})
    serve(fixture, fixture.fabric.take(pull ? Call::read : Call::tagged_receive), data, offset);
  fixture.progress();
  if (pull) CHECK(answer(fixture).type == ControlType::finished);
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_TRUNCATED);
  CHECK(request.status.length == 5000);
  CHECK(std::equal(buffer.begin(), buffer.begin() + 5000, data.begin()));
  for (size_t i = 5000; i < buffer.size(); ++i) REQUIRE(buffer[i] == 0x5a);
}

TEST_CASE("A receive of 0 bytes releases the sender") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  Request request;
  fixture.receive(request, &fixture.one, 5, nullptr, 0);
  auto ready = fixture.ready(1, 10000);
  ready.rails = 1;
  fixture.arrive(ready, 1, 5);
  CHECK(request.status.result == EFA_TRUNCATED);
  CHECK(answer(fixture).length == 0);
  CHECK(fixture.fabric.registrations == 0);

  Request sent;
  const auto data = pattern(5000);
  fixture.t->protocols.pulls = false;
  fixture.send(sent, fixture.one, 5, data.data(), data.size());
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  fixture.fabric.complete(rts);
  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, sent.ready_id, 0));
  CHECK(sent.times == 1);
  CHECK(fixture.fabric.count(Call::tagged_send) == 0);
}

TEST_CASE("Pull, sender: the send exposes its memory and ends when the receiver has read it") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  const auto data = pattern(10000);
  Request request;
  fixture.send(request, fixture.one, 5, data.data(), data.size());
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == 1);
  CHECK(ready->keys[0] == 4711);
  CHECK(ready->address == reinterpret_cast<uintptr_t>(data.data()));
  CHECK(fixture.fabric.registrations == 1);
  fixture.fabric.complete(rts);
  fixture.progress();
  CHECK(request.times == 0);
  fixture.arrive(fixture.control(ControlType::finished, fixture.one, ready->request, 10000));
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(fixture.fabric.registrations == 0);
  CHECK(fixture.t->pulls_open == 0);
}

TEST_CASE(
    "Data that cannot be pulled is pushed: short, noncontiguous without staging memory, a peer inside the "
    "node, no registration") {
  const int reason = GENERATE(0, 1, 2, 3);
  Transport fixture;
  fixture.t->protocols.pulls = true;
  auto data = pattern(20000);
  Layout layout{data.data(), 10, 10};
  void* taken = reason == 1 ? fixture.t->buffers.take(16384) : nullptr;
  if (reason == 2) fixture.one.pulls = false;
  if (reason == 3) fixture.fabric.refuse_registration = FI_ENOMEM;
  Request request;
  fixture.send(request, fixture.one, 5, data.data(), reason == 0 ? 2000 : 5000, EFA_SEND_STANDARD,
               reason == 1 ? &layout : nullptr);
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == 0);
  CHECK(fixture.fabric.registrations == 0);
  CHECK(fixture.reports.empty());
  if (taken) fixture.t->buffers.give(taken, 16384);
}

TEST_CASE(
    "A receiver that cannot read answers with clear-to-send, and the sender releases its registration") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  std::vector<char> buffer(5000);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
  fixture.fabric.refuse_registration = FI_ENOMEM;
  auto ready = fixture.ready(1, 5000);
  ready.rails = 1;
  fixture.arrive(ready, 1, 5);
  CHECK(answer(fixture).type == ControlType::clear_to_send);
  CHECK(fixture.fabric.count(Call::tagged_receive) == 2);

  fixture.fabric.refuse_registration = 0;
  Request sent;
  const auto data = pattern(5000);
  fixture.send(sent, fixture.two, 5, data.data(), data.size());
  CHECK(fixture.fabric.registrations == 1);
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.two, sent.ready_id, 5000));
  CHECK(fixture.fabric.registrations == 0);
  CHECK(fixture.fabric.count(Call::tagged_send) == 2);
}

TEST_CASE("Pull, receiver: reads at the right addresses with the right key, then sends `finished` once") {
  const bool packed = GENERATE(true, false);
  Transport fixture;
  fixture.t->protocols.pulls = true;
  const auto data = pattern(10000);
  std::vector<char> buffer(20000, 0x11);
  Layout layout{buffer.data(), 50, 50};
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), 10000, packed ? &layout : nullptr);
  auto ready = fixture.ready(6, 10000);
  ready.rails = 1;
  ready.address = 0x10000;
  ready.keys[0] = 99;
  fixture.arrive(ready, 1, 5);
  CHECK(fixture.fabric.registrations == (packed ? 0 : 1));
  for (const size_t offset : {0, 4096, 8192}) {
    const Posted posted = fixture.fabric.take(Call::read);
    CHECK(posted.peer == fixture.one.address);
    CHECK(posted.address == 0x10000 + offset);
    CHECK(posted.key == 99);
    CHECK(fixture.fabric.count(Call::send) == 0);
    serve(fixture, posted, data, offset);
    fixture.progress();
  }
  const auto finished = answer(fixture);
  CHECK(finished.type == ControlType::finished);
  CHECK(finished.request == 6);
  CHECK(finished.length == 10000);
  CHECK(finished.failed == 0);
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  for (size_t i = 0; i < 10000; ++i) REQUIRE(buffer[packed ? i / 50 * 100 + i % 50 : i] == data[i]);
  CHECK(fixture.fabric.registrations == 0);
  CHECK(fixture.t->pulls_open == 0);
  CHECK(fixture.t->buffers.bytes_used() == 0);
}

TEST_CASE("A read that fails ends both sides with an error that names the peer") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  std::vector<char> buffer(10000);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), 10000);
  auto ready = fixture.ready(6, 10000);
  ready.rails = 1;
  fixture.arrive(ready, 1, 5);
  while (fixture.fabric.count(Call::read))
    fixture.fabric.fail(fixture.fabric.take(Call::read).context, FI_EIO, 13);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_FAILED);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0],
             Contains("of a message of 10000 bytes from rank 1 on host there (NIC fake9)"));
  CHECK(answer(fixture).failed == 1);

  Request sent;
  const auto data = pattern(5000);
  fixture.send(sent, fixture.one, 5, data.data(), data.size());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  auto failed = fixture.control(ControlType::finished, fixture.one, sent.ready_id);
  failed.failed = 1;
  fixture.arrive(failed);
  CHECK(sent.times == 1);
  CHECK(sent.status.result == EFA_FAILED);
  CHECK(fixture.fabric.registrations == 0);
}

TEST_CASE(
    "A receiver whose piece fails receives the pieces in flight, and ends once when its sender has named "
    "them") {
  Transport fixture;
  const auto data = pattern(20000);
  std::vector<char> buffer(20000);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
  fixture.arrive(fixture.ready(1, 20000), 1, 5);
  const auto clear = answer(fixture);
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_receive).context, FI_EIO, 13);
  fixture.progress();
  CHECK(fixture.reports.size() == 1);
  const auto failed = answer(fixture);
  CHECK(failed.type == ControlType::receive_failed);
  CHECK(failed.request == 1);
  CHECK(failed.handle == clear.handle);
  CHECK(request.times == 0);
  REQUIRE(fixture.fabric.count(Call::tagged_receive) == 2);
  serve(fixture, fixture.fabric.take(Call::tagged_receive), data, 4096);
  fixture.progress();
  CHECK(request.times == 0);
  auto stopped = fixture.control(ControlType::send_failed, fixture.one, 1, 3, 0);
  stopped.handle = clear.handle;
  stopped.request = 2;
  fixture.arrive(stopped);  // about another message
  CHECK(fixture.fabric.count(Call::tagged_receive) == 2);
  stopped.request = 1;
  fixture.arrive(stopped);
  CHECK(fixture.fabric.count(Call::tagged_receive) == 1);  // the receive of the third piece
  serve(fixture, fixture.fabric.take(Call::tagged_receive), data, 8192);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_FAILED);
  CHECK(fixture.fabric.count(Call::tagged_receive) == 0);
  CHECK(fixture.fabric.count(Call::send) == 0);
  CHECK(fixture.reports.size() == 1);
}

TEST_CASE("If a ready-to-send message fails after it was answered, the request ends with its pieces") {
  Transport fixture;
  const auto data = pattern(10000);
  Request request;
  fixture.send(request, fixture.one, 5, data.data(), data.size());
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, request.ready_id, 10000));
  fixture.fabric.fail(rts.context, FI_EHOSTUNREACH, 13);
  fixture.progress();
  CHECK(request.times == 0);
  CHECK(fixture.reports.size() == 1);
  while (fixture.fabric.count(Call::tagged_send)) {
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.progress();
  }
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_UNREACHABLE);
  CHECK(fixture.t->sends_posted == 0);
}

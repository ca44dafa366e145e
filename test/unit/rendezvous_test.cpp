// Long messages, both sides, pushed and pulled: what is posted when, in which order, and how it ends.
#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;
using efa::ControlType;

TEST_CASE("Push, sender: nothing moves before clear-to-send, then a window of pieces, to the end") {
  Transport x;
  const auto data = pattern(10000);
  Request r;
  x.send(r, x.one, 5, data.data(), data.size());
  const Posted rts = x.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->length == 10000);
  CHECK(ready->rails == 0);
  x.fabric.complete(rts);
  x.progress();
  CHECK(x.fabric.count(Call::tagged_send) == 0);

  x.arrive(x.control(ControlType::clear_to_send, x.one, ready->request, 10000, 3000));
  std::vector<char> arrived;
  for (uint64_t piece = 0; piece < 4; ++piece) {
    CHECK(x.fabric.count(Call::tagged_send) == std::min<size_t>(2, 4 - piece));
    const Posted p = x.fabric.take(Call::tagged_send);
    CHECK(p.tag == x.t->tags.piece_bits(3, static_cast<uint32_t>(piece)));
    arrived.insert(arrived.end(), p.bytes.begin(), p.bytes.end());
    CHECK(r.times == 0);
    x.fabric.complete(p);
    x.progress();
  }
  CHECK(arrived == data);
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK(x.t->ready_to_send.size() == 0);
  CHECK(x.t->sends_posted == 0);
}

TEST_CASE("Pushes to one peer share a window, in their order; another peer has its own") {
  Transport x;  // two pieces of a message in flight, four of all to one peer
  const bool failing = GENERATE(false, true);
  const auto data = pattern(20000);
  Request r[4], other;
  const auto announce = [&](Request& request, efa_peer& peer) {
    x.send(request, peer, 5, data.data(), data.size());
    x.fabric.complete(x.fabric.take(Call::tagged_send));
    x.progress();
  };
  const auto clear = [&](Request& request, efa_peer& peer) {
    x.arrive(x.control(ControlType::clear_to_send, peer, request.ready_id, data.size()));
  };
  for (Request& request : r) announce(request, x.one);
  announce(other, x.two);
  for (Request& request : r) clear(request, x.one);
  CHECK(x.fabric.count(Call::tagged_send) == 4);
  clear(other, x.two);
  CHECK(x.fabric.count(Call::tagged_send) == 6);

  if (failing) {
    x.fabric.fail(x.fabric.take(Call::tagged_send).context, FI_EIO, 13);
    x.progress();
    CHECK(x.reports.size() == 1);
  }
  while (x.fabric.count(Call::tagged_send)) {
    x.fabric.complete(x.fabric.take(Call::tagged_send));
    x.progress();
    CHECK(x.fabric.count(Call::tagged_send) <= 6);
    for (int i = 1; i < 4; ++i) CHECK(r[i].times <= r[i - 1].times);
  }
  for (const Request& request : r) {
    CHECK(request.times == 1);
    CHECK(request.status.result == (failing && &request == r ? EFA_FAILED : EFA_SUCCESS));
  }
  CHECK(other.times == 1);
  CHECK(x.one.pieces_sent == 0);
  CHECK(x.one.waiting == nullptr);
  CHECK(x.two.pieces_sent == 0);
  CHECK(x.t->sends_posted == 0);
}

TEST_CASE("While others wait for their receivers a message is pushed in longer pieces") {
  Transport x;
  x.t->protocols.piece_among_others = 8192;
  const auto data = pattern(20000);
  Request first, second;
  for (Request* r : {&first, &second}) {
    x.send(*r, x.one, 5, data.data(), data.size());
    const Posted rts = x.fabric.take(Call::tagged_send);
    const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
    REQUIRE(ready);
    CHECK(ready->piece == (r == &first ? 4096 : 8192));
    x.fabric.complete(rts);
  }
  for (Request* r : {&first, &second}) x.arrive(x.control(ControlType::clear_to_send, x.one, r->ready_id, 0));
  CHECK(first.times == 1);
  CHECK(second.times == 1);
}

TEST_CASE("Push, receiver: pieces are posted before the sender may send, and complete in any order") {
  Transport x;
  const auto data = pattern(10000);
  std::vector<char> buffer(10000);
  Request r;
  x.receive(r, nullptr, 5, buffer.data(), buffer.size());
  x.arrive(x.ready(42, 10000, 100), 2, 5);  // pieces shorter than a page are not wanted
  REQUIRE(x.fabric.count(Call::tagged_receive) == 2);
  // Both receives stand before the control message in the order of posting.
  CHECK(x.fabric.posted.back().call == Call::send);
  const auto clear = answer(x);
  CHECK(clear.type == ControlType::clear_to_send);
  CHECK(clear.request == 42);
  CHECK(clear.length == 10000);
  CHECK(clear.piece == 4096);
  const Posted zero = x.fabric.take(Call::tagged_receive), one = x.fabric.take(Call::tagged_receive);
  CHECK(one.tag == x.t->tags.piece_bits(clear.handle, 1));
  serve(x, one, data, 4096);
  x.progress();
  CHECK(x.fabric.count(Call::tagged_receive) == 0);  // the window moves with its oldest piece
  serve(x, zero, data, 0);
  x.progress();
  serve(x, x.fabric.take(Call::tagged_receive), data, 8192);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK(r.status.length == 10000);
  CHECK(r.status.source == 2);
  CHECK(buffer == data);
}

TEST_CASE("Push between noncontiguous layouts packs and unpacks piece by piece within a bound") {
  Transport x;
  const auto data = pattern(20000);
  std::vector<char> memory(40000, 0x11);
  Layout layout{memory.data(), 100, 100};
  Request r;
  x.receive(r, &x.one, 5, nullptr, 20000, &layout);
  x.arrive(x.ready(1, 20000), 1, 5);
  const auto clear = answer(x);
  CHECK(clear.piece == 4096);
  for (size_t offset = 0; offset < 20000; offset += 4096) {
    CHECK(x.t->buffers.bytes_used() <= 2 * 4096);
    serve(x, x.fabric.take(Call::tagged_receive), data, offset);
    x.progress();
  }
  CHECK(r.times == 1);
  for (size_t i = 0; i < 20000; ++i) REQUIRE(memory[i / 100 * 200 + i % 100] == data[i]);
  for (size_t i = 0; i < memory.size(); ++i)
    if (i % 200 >= 100) REQUIRE(memory[i] == 0x11);
  CHECK(x.t->buffers.bytes_used() == 0);
}

TEST_CASE("Beyond the bound on staging memory a message goes on with one piece at a time") {
  Transport x;  // five pieces in all, two for each message
  const auto data = pattern(20000);
  struct Receive {
    Request r;
    std::vector<char> memory = std::vector<char>(40000);
    Layout layout{memory.data(), 100, 100};
    std::deque<Posted> posted;
    size_t next = 0;
  } receives[3];
  const auto take = [&](Receive& receive) {
    while (x.fabric.count(Call::tagged_receive))
      receive.posted.push_back(x.fabric.take(Call::tagged_receive));
  };
  const auto serve_one = [&](Receive& receive) {
    serve(x, receive.posted.front(), data, 4096 * receive.next++);
    receive.posted.pop_front();
    x.progress();
    take(receive);
  };
  for (Receive& receive : receives) {
    x.receive(receive.r, &x.one, 5, nullptr, 20000, &receive.layout);
    x.arrive(x.ready(static_cast<uint64_t>(&receive - receives), 20000), 1, 5);
    answer(x);
    take(receive);
  }
  CHECK(receives[1].posted.size() == 2);
  CHECK(receives[2].posted.size() == 1);
  serve_one(receives[2]);
  CHECK(receives[2].posted.size() == 1);
  while (receives[0].r.times == 0) serve_one(receives[0]);
  serve_one(receives[2]);
  CHECK(receives[2].posted.size() == 2);
  for (Receive& receive : receives) {
    while (receive.r.times == 0) serve_one(receive);
    for (size_t i = 0; i < 20000; ++i) REQUIRE(receive.memory[i / 100 * 200 + i % 100] == data[i]);
  }
  CHECK(x.t->buffers.most_used() == 5 * 4096);
  CHECK(x.t->buffers.bytes_used() == 0);
}

TEST_CASE("A receive that is too short takes its part, reports truncation and releases the sender") {
  const bool pull = GENERATE(true, false);
  Transport x;
  x.t->protocols.pulls = pull;
  const auto data = pattern(10000);
  std::vector<char> buffer(5064, 0x5a);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), 5000);
  auto ready = x.ready(1, 10000);
  ready.rails = pull;
  ready.address = 1 << 20;
  x.arrive(ready, 1, 5);
  if (!pull) CHECK(answer(x).length == 5000);
  for (const size_t offset : {0, 4096})
    serve(x, x.fabric.take(pull ? Call::read : Call::tagged_receive), data, offset);
  x.progress();
  if (pull) CHECK(answer(x).type == ControlType::finished);
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_TRUNCATED);
  CHECK(r.status.length == 5000);
  CHECK(std::equal(buffer.begin(), buffer.begin() + 5000, data.begin()));
  for (size_t i = 5000; i < buffer.size(); ++i) REQUIRE(buffer[i] == 0x5a);
}

TEST_CASE("A receive for nothing still releases the sender") {
  Transport x;
  x.t->protocols.pulls = true;
  Request r;
  x.receive(r, &x.one, 5, nullptr, 0);
  auto ready = x.ready(1, 10000);
  ready.rails = 1;
  x.arrive(ready, 1, 5);
  CHECK(r.status.result == EFA_TRUNCATED);
  CHECK(answer(x).length == 0);
  CHECK(x.fabric.registrations == 0);

  Request s;
  const auto data = pattern(5000);
  x.t->protocols.pulls = false;
  x.send(s, x.one, 5, data.data(), data.size());
  const Posted rts = x.fabric.take(Call::tagged_send);
  x.fabric.complete(rts);
  x.arrive(x.control(ControlType::clear_to_send, x.one, s.ready_id, 0));
  CHECK(s.times == 1);
  CHECK(x.fabric.count(Call::tagged_send) == 0);
}

TEST_CASE("Pull, sender: offers its memory and ends when it is read") {
  Transport x;
  x.t->protocols.pulls = true;
  const auto data = pattern(10000);
  Request r;
  x.send(r, x.one, 5, data.data(), data.size());
  const Posted rts = x.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == 1);
  CHECK(ready->keys[0] == 4711);
  CHECK(ready->address == reinterpret_cast<uintptr_t>(data.data()));
  CHECK(x.fabric.registrations == 1);
  x.fabric.complete(rts);
  x.progress();
  CHECK(r.times == 0);
  x.arrive(x.control(ControlType::finished, x.one, ready->request, 10000));
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK(x.fabric.registrations == 0);
  CHECK(x.t->pulls_open == 0);
}

TEST_CASE(
    "What cannot be pulled is pushed: short, noncontiguous without staging memory, a peer inside the node, "
    "no registration") {
  const int reason = GENERATE(0, 1, 2, 3);
  Transport x;
  x.t->protocols.pulls = true;
  auto data = pattern(20000);
  Layout layout{data.data(), 10, 10};
  void* taken = reason == 1 ? x.t->buffers.take(16384) : nullptr;
  if (reason == 2) x.one.pulls = false;
  if (reason == 3) x.fabric.refuse_registration = FI_ENOMEM;
  Request r;
  x.send(r, x.one, 5, data.data(), reason == 0 ? 2000 : 5000, EFA_SEND_STANDARD,
         reason == 1 ? &layout : nullptr);
  const Posted rts = x.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == 0);
  CHECK(x.fabric.registrations == 0);
  CHECK(x.reports.empty());
  if (taken) x.t->buffers.give(taken, 16384);
}

TEST_CASE("A receiver that cannot read answers an offer with clear-to-send, and the sender withdraws it") {
  Transport x;
  x.t->protocols.pulls = true;
  std::vector<char> buffer(5000);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), buffer.size());
  x.fabric.refuse_registration = FI_ENOMEM;
  auto ready = x.ready(1, 5000);
  ready.rails = 1;
  x.arrive(ready, 1, 5);
  CHECK(answer(x).type == ControlType::clear_to_send);
  CHECK(x.fabric.count(Call::tagged_receive) == 2);

  x.fabric.refuse_registration = 0;
  Request s;
  const auto data = pattern(5000);
  x.send(s, x.two, 5, data.data(), data.size());
  CHECK(x.fabric.registrations == 1);
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.arrive(x.control(ControlType::clear_to_send, x.two, s.ready_id, 5000));
  CHECK(x.fabric.registrations == 0);
  CHECK(x.fabric.count(Call::tagged_send) == 2);
}

TEST_CASE("Pull, receiver: reads at the right places with the right key, then says finished, once") {
  const bool packed = GENERATE(true, false);
  Transport x;
  x.t->protocols.pulls = true;
  const auto data = pattern(10000);
  std::vector<char> buffer(20000, 0x11);
  Layout layout{buffer.data(), 50, 50};
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), 10000, packed ? &layout : nullptr);
  auto ready = x.ready(6, 10000);
  ready.rails = 1;
  ready.address = 0x10000;
  ready.keys[0] = 99;
  x.arrive(ready, 1, 5);
  CHECK(x.fabric.registrations == (packed ? 0 : 1));
  for (const size_t offset : {0, 4096, 8192}) {
    const Posted p = x.fabric.take(Call::read);
    CHECK(p.peer == x.one.address);
    CHECK(p.address == 0x10000 + offset);
    CHECK(p.key == 99);
    CHECK(x.fabric.count(Call::send) == 0);
    serve(x, p, data, offset);
    x.progress();
  }
  const auto finished = answer(x);
  CHECK(finished.type == ControlType::finished);
  CHECK(finished.request == 6);
  CHECK(finished.length == 10000);
  CHECK(finished.failed == 0);
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  for (size_t i = 0; i < 10000; ++i) REQUIRE(buffer[packed ? i / 50 * 100 + i % 50 : i] == data[i]);
  CHECK(x.fabric.registrations == 0);
  CHECK(x.t->pulls_open == 0);
  CHECK(x.t->buffers.bytes_used() == 0);
}

TEST_CASE("A read that fails ends both sides with an error that names the peer") {
  Transport x;
  x.t->protocols.pulls = true;
  std::vector<char> buffer(10000);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), 10000);
  auto ready = x.ready(6, 10000);
  ready.rails = 1;
  x.arrive(ready, 1, 5);
  while (x.fabric.count(Call::read)) x.fabric.fail(x.fabric.take(Call::read).context, FI_EIO, 13);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_FAILED);
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("of a message of 10000 bytes from rank 1 on host there (NIC fake9)"));
  CHECK(answer(x).failed == 1);

  Request s;
  const auto data = pattern(5000);
  x.send(s, x.one, 5, data.data(), data.size());
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  auto failed = x.control(ControlType::finished, x.one, s.ready_id);
  failed.failed = 1;
  x.arrive(failed);
  CHECK(s.times == 1);
  CHECK(s.status.result == EFA_FAILED);
  CHECK(x.fabric.registrations == 0);
}

TEST_CASE("A piece that fails takes back the others and ends the receive once") {
  Transport x;
  std::vector<char> buffer(20000);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), buffer.size());
  x.arrive(x.ready(1, 20000), 1, 5);
  answer(x);
  x.fabric.fail(x.fabric.take(Call::tagged_receive).context, FI_EIO, 13);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_FAILED);
  CHECK(x.fabric.count(Call::tagged_receive) == 0);
  CHECK(x.reports.size() == 1);
}

TEST_CASE("A ready-to-send message that fails after it was answered leaves the request to its pieces") {
  Transport x;
  const auto data = pattern(10000);
  Request r;
  x.send(r, x.one, 5, data.data(), data.size());
  const Posted rts = x.fabric.take(Call::tagged_send);
  x.arrive(x.control(ControlType::clear_to_send, x.one, r.ready_id, 10000));
  x.fabric.fail(rts.context, FI_EHOSTUNREACH, 13);
  x.progress();
  CHECK(r.times == 0);
  CHECK(x.reports.size() == 1);
  while (x.fabric.count(Call::tagged_send)) {
    x.fabric.complete(x.fabric.take(Call::tagged_send));
    x.progress();
  }
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_UNREACHABLE);
  CHECK(x.t->sends_posted == 0);
}

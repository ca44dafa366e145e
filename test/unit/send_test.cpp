// What a send does before and after it is posted: which protocol, what waits, how it ends.
#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;

TEST_CASE("The protocol follows from length, mode and layout") {
  Transport x;
  auto data = pattern(8000);
  const auto kind_of = [&](size_t size, efa_send_mode mode, bool packed) {
    Request r;
    Layout layout{data.data(), 16, 8};
    REQUIRE(x.send(r, x.one, 3, data.data(), size, mode, packed ? &layout : nullptr) == EFA_SUCCESS);
    const Posted p = x.fabric.take(Call::tagged_send);
    const auto kind = x.t->tags.kind(p.tag);
    x.t->ready_to_send.remove(r.ready_id);
    std::erase(x.t->synchronous, &r);
    return kind;
  };
  CHECK(kind_of(0, EFA_SEND_STANDARD, false) == efa::kKindEager);
  CHECK(kind_of(1024, EFA_SEND_STANDARD, false) == efa::kKindEager);
  CHECK(kind_of(1025, EFA_SEND_STANDARD, false) == efa::kKindRts);
  CHECK(kind_of(512, EFA_SEND_STANDARD, true) == efa::kKindEager);
  CHECK(kind_of(513, EFA_SEND_STANDARD, true) == efa::kKindRts);
  CHECK(kind_of(EFA_BOUNCE_SIZE, EFA_SEND_SYNCHRONOUS, false) == efa::kKindSync);
  CHECK(kind_of(EFA_BOUNCE_SIZE + 1, EFA_SEND_SYNCHRONOUS, false) == efa::kKindRts);
}

TEST_CASE("A long message is eager while it is the only one") {
  Transport x;
  x.one.eager_limit_alone = 3000;
  auto data = pattern(8000);
  Layout layout{data.data(), 16, 8};
  const auto send = [&](Request& r, size_t size, efa_send_mode mode, Layout* packed, uint64_t kind) {
    REQUIRE(x.send(r, x.one, 3, data.data(), size, mode, packed) == EFA_SUCCESS);
    const Posted p = x.fabric.take(Call::tagged_send);
    CHECK(x.t->tags.kind(p.tag) == kind);
    x.fabric.complete(p);
    if (kind == efa::kKindEager) CHECK(p.bytes.size() == size);
  };
  const auto answer = [&](const Request& r) {
    x.arrive(x.control(efa::ControlType::clear_to_send, x.one, r.ready_id, 0));
  };
  x.one.pulls = false;
  Request first, second, third, fourth, packed, last;
  send(first, 3000, EFA_SEND_STANDARD, nullptr, efa::kKindEager);
  send(second, 1025, EFA_SEND_STANDARD, nullptr, efa::kKindRts);  // the first has not left
  x.progress();
  CHECK(first.times == 1);
  send(third, 3000, EFA_SEND_STANDARD, nullptr, efa::kKindRts);  // the second is not answered
  x.progress();
  answer(second);
  answer(third);
  CHECK(second.times + third.times == 2);
  send(fourth, 300, EFA_SEND_SYNCHRONOUS, nullptr, efa::kKindRts);  // it must learn of its match
  x.progress();
  answer(fourth);
  send(packed, 2400, EFA_SEND_STANDARD, &layout, efa::kKindEager);
  x.progress();
  CHECK(packed.times == 1);
  x.t->protocols.pulls = x.one.pulls = true;
  send(packed, 2400, EFA_SEND_STANDARD, &layout, efa::kKindEager);
  x.progress();
  CHECK(packed.times == 2);
  send(last, 2400, EFA_SEND_STANDARD, nullptr, efa::kKindRts);  // it can be read as it lies
  CHECK(x.t->long_sends == 1);
}

TEST_CASE("A long eager message that fails, or never left, leaves the way to the next") {
  Transport x;
  x.one.eager_limit_alone = 3000;
  x.one.pulls = false;
  auto data = pattern(3000);
  Request failed, refused, next;
  x.send(failed, x.one, 3, data.data(), data.size());
  x.fabric.fail(x.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  x.progress();
  x.fabric.refuse = {FI_EINVAL};
  x.send(refused, x.one, 3, data.data(), data.size());
  CHECK(failed.times + refused.times == 2);
  CHECK(x.t->sends_posted == 0);
  x.send(next, x.one, 3, data.data(), data.size());
  CHECK(x.t->tags.kind(x.fabric.take(Call::tagged_send).tag) == efa::kKindEager);
}

TEST_CASE("Short messages are injected unless others to that peer wait") {
  Transport x;
  const char byte = 'x';
  const auto e = x.to(1, 3);
  CHECK(efa_try_inject(x.t, &x.one, &e, &byte, 1));
  const Posted p = x.fabric.take(Call::inject);
  CHECK(p.peer == 1);
  CHECK(x.t->tags.tag(p.tag) == 3);
  const std::vector<char> longer(65);
  CHECK_FALSE(efa_try_inject(x.t, &x.one, &e, longer.data(), longer.size()));

  x.fabric.refuse = {FI_EAGAIN};
  CHECK_FALSE(efa_try_inject(x.t, &x.one, &e, &byte, 1));
  Request waiting;
  x.fabric.refuse.assign(20, FI_EAGAIN);  // also when the queue has been read
  x.send(waiting, x.one, 3, &byte, 1);
  x.fabric.refuse.clear();
  CHECK_FALSE(efa_try_inject(x.t, &x.one, &e, &byte, 1));  // it would overtake
  const auto other = x.to(2, 3);
  CHECK(efa_try_inject(x.t, &x.two, &other, &byte, 1));  // another peer is not concerned
}

TEST_CASE("What libfabric refuses for now is posted later, in order") {
  Transport x;
  const auto data = pattern(100);
  Request a, b, c;
  x.fabric.refuse.assign(100, FI_EAGAIN);
  x.send(a, x.one, 1, data.data(), 100);
  x.send(b, x.one, 2, data.data(), 100);
  x.send(c, x.one, 3, data.data(), 100);
  CHECK(x.fabric.count(Call::tagged_send) == 0);
  x.fabric.refuse = {FI_EAGAIN};  // the first once more
  efa_progress(x.t);
  efa_progress(x.t);
  REQUIRE(x.fabric.count(Call::tagged_send) == 3);
  for (const int tag : {1, 2, 3}) {
    const Posted p = x.fabric.take(Call::tagged_send);
    CHECK(x.t->tags.tag(p.tag) == tag);
    x.fabric.complete(p);
  }
  x.progress();
  CHECK(a.times + b.times + c.times == 3);
  CHECK(a.status.result == EFA_SUCCESS);
}

TEST_CASE("A send that finds the queue full makes room by itself") {
  Transport x;
  const auto data = pattern(100);
  Request a, b;
  x.send(a, x.one, 1, data.data(), 100);
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.fabric.refuse = {FI_EAGAIN};
  x.send(b, x.one, 2, data.data(), 100);
  CHECK(a.times == 1);
  CHECK(x.fabric.count(Call::tagged_send) == 1);
}

TEST_CASE("A refusal that lasts ends with an error that names the peer") {
  Transport x;
  x.t->pending = efa::PendingQueue(0);  // a deadline that is always past
  const auto data = pattern(100);
  Request r;
  x.fabric.refuse.assign(10, FI_EAGAIN);
  x.send(r, x.two, 9, data.data(), 100);
  efa_progress(x.t);
  efa_progress(x.t);
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_UNREACHABLE);
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("Rank 0 on host here") && Contains("sending 100 bytes with tag 9") &&
                               Contains("rank 2 on host there (NIC fake9)") &&
                               Contains("mtl_efa_send_timeout"));
}

TEST_CASE("A failed completion is that request's error, with the provider's words") {
  Transport x;
  const auto data = pattern(100);
  Request r, fine;
  x.send(r, x.one, 9, data.data(), 100);
  x.send(fine, x.one, 9, data.data(), 100);
  const Posted first = x.fabric.take(Call::tagged_send), second = x.fabric.take(Call::tagged_send);
  x.fabric.fail(first.context, FI_EIO, 13);
  x.fabric.complete(second);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_FAILED);
  CHECK(fine.times == 1);
  CHECK(fine.status.result == EFA_SUCCESS);
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("NIC fake0") && Contains("to rank 1 on host there (NIC fake9)") &&
                               Contains("Unresponsive receiver (13)"));
  CHECK(x.t->sends_posted == 0);
}

TEST_CASE("Once the transport is closing, sends end without a word to a caller who may be gone") {
  Transport x;
  const auto data = pattern(100);
  Request failed, fine;
  x.send(failed, x.one, 9, data.data(), 100);
  x.send(fine, x.one, 9, data.data(), 100);
  const Posted first = x.fabric.take(Call::tagged_send), second = x.fabric.take(Call::tagged_send);
  x.t->draining = true;  // as efa_close begins
  x.fabric.fail(first.context, FI_EIO, 9);
  x.fabric.complete(second);
  x.progress();
  CHECK(failed.times == 0);
  CHECK(fine.times == 0);
  CHECK(x.reports.empty());
  CHECK(x.t->sends_posted == 0);
}

TEST_CASE("An error that belongs to no message is fatal and says why") {
  Transport x;
  x.fabric.fail(nullptr, FI_EIO, 13);
  x.progress();
  REQUIRE(x.fatals.size() == 1);
  CHECK_THAT(x.fatals[0], Contains("the endpoint failed") && Contains("Unresponsive receiver (13)"));
  CHECK(x.reports.empty());
}

TEST_CASE("Noncontiguous data is packed before it is posted, and its buffer comes back") {
  Transport x;
  auto memory = pattern(600);
  Layout layout{memory.data(), 10, 5};
  Request r;
  x.send(r, x.one, 1, nullptr, 400, EFA_SEND_STANDARD, &layout);
  CHECK(x.t->buffers.bytes_used() > 0);
  const Posted p = x.fabric.take(Call::tagged_send);
  REQUIRE(p.bytes.size() == 400);
  for (size_t i = 0; i < 400; ++i) REQUIRE(static_cast<char>(p.bytes[i]) == memory[i / 10 * 15 + i % 10]);
  x.fabric.complete(p);
  x.progress();
  CHECK(r.times == 1);
  CHECK(x.t->buffers.bytes_used() == 0);
}

TEST_CASE("A synchronous send ends when it has left and is acknowledged, in either order") {
  const bool acknowledged_first = GENERATE(true, false);
  Transport x;
  const auto data = pattern(20);
  Request r;
  x.send(r, x.one, 4, data.data(), 20, EFA_SEND_SYNCHRONOUS);
  const Posted p = x.fabric.take(Call::tagged_send);
  const auto ack = x.control(efa::ControlType::acknowledge, x.one, p.tag);
  if (!acknowledged_first) x.fabric.complete(p);
  x.progress();
  CHECK(r.times == 0);
  x.arrive(ack);
  if (acknowledged_first) {
    CHECK(r.times == 0);
    x.fabric.complete(p);
    x.progress();
  }
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK(x.t->synchronous.empty());
}

TEST_CASE("Equal synchronous messages are acknowledged oldest first") {
  Transport x;
  const auto data = pattern(20);
  Request a, b;
  x.send(a, x.one, 4, data.data(), 20, EFA_SEND_SYNCHRONOUS);
  x.send(b, x.one, 4, data.data(), 20, EFA_SEND_SYNCHRONOUS);
  const Posted first = x.fabric.take(Call::tagged_send), second = x.fabric.take(Call::tagged_send);
  x.fabric.complete(first);
  x.fabric.complete(second);
  x.arrive(x.control(efa::ControlType::acknowledge, x.one, first.tag));
  CHECK(a.times == 1);
  CHECK(b.times == 0);
}

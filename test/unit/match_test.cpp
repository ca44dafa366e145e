// Probes, and messages that a probe claims.
#include "catch.hpp"
#include "fake_transport.hpp"
#include "no_memory.hpp"
#include "peers/pending.hpp"
#include "protocol/wire.hpp"
#include "tagged/match.hpp"

using namespace fake;

namespace {

// Probes through a fixture. A peek polls the completion queue, where it finds the fake provider's answer.
struct Prober {
  Transport& fixture;
  bool probe(int32_t tag, efa_status& status, bool any = false) {
    bool found = false;
    efa_envelope envelope = fixture.to(any ? EFA_ANY_SOURCE : 1, tag);
    envelope.any_tag = tag == EFA_ANY_TAG;
    CHECK(efa_probe(fixture.t, any ? nullptr : &fixture.one, nullptr, &envelope, &found, &status) ==
          EFA_SUCCESS);
    return found;
  }
};

}  // namespace

TEST_CASE("A probe finds nothing and reports nothing if the provider has no message") {
  Transport fixture;
  efa_status status{};
  fixture.fabric.refuse = {FI_ENOMSG};
  CHECK_FALSE(Prober{fixture}.probe(3, status));
  fixture.fabric.refuse = {FI_EAGAIN};
  CHECK_FALSE(Prober{fixture}.probe(3, status));
  CHECK(fixture.reports.empty());
}

TEST_CASE(
    "The first probe finds a message even if the provider reads the network only when its queue is empty") {
  const bool take = GENERATE(false, true);
  Transport fixture;
  bool arrived = false;
  fixture.fabric.on_idle = [&] { arrived = true; };
  fixture.fabric.on_peek = [&](const Posted& posted) {
    if (arrived)
      fixture.fabric.complete(posted, 77, fixture.bits(efa::kKindEager, 1, 3), 1);
    else
      fixture.fabric.fail(posted.context, FI_ENOMSG);
  };
  const auto data = pattern(500);
  Request sends[5];
  for (Request& send : sends) {
    fixture.send(send, fixture.one, 5, data.data(), data.size());
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  }
  fixture.t->batch = 1;
  efa_status status{};
  if (take) {
    efa_message* message = nullptr;
    const auto envelope = fixture.to(1, 3);
    CHECK(efa_match(fixture.t, &fixture.one, nullptr, &envelope, &message, &status) == EFA_SUCCESS);
    CHECK(message != nullptr);
  } else {
    CHECK(Prober{fixture}.probe(3, status));
  }
  CHECK(status.length == 77);
}

TEST_CASE(
    "If a receive of a claimed message has no memory, the message keeps its place and is received later") {
  Transport fixture;
  const auto ready = fixture.ready(9, 50000);
  int claims = 0;
  fixture.fabric.on_peek = [&](const Posted& posted) {
    const bool eager = (posted.flags & FI_CLAIM) && claims++ < 2;
    fixture.fabric.complete(posted, eager ? 1000 : ready.size(),
                            fixture.bits(eager ? efa::kKindEager : efa::kKindRts, 1, eager ? 1 : 2), 1);
  };
  fixture.fabric.on_claim = [&](const Posted& posted) {
    std::memcpy(posted.into[0].iov_base, &ready, std::min(ready.size(), posted.into[0].iov_len));
    fixture.fabric.complete(posted, ready.size(), posted.tag, 1);
  };
  efa_status status{};
  REQUIRE(Prober{fixture}.probe(2, status));
  efa_message* const first = fixture.t->claims.first;
  std::vector<char> memory(3000);
  Layout layout{memory.data(), 10, 10};
  Request request;
  efa_result result;
  {
    NoMemory none;
    result = fixture.receive(request, &fixture.one, 1, nullptr, 1000, &layout);
  }
  CHECK(result == EFA_OUT_OF_MEMORY);
  CHECK(fixture.t->claims.first == first);
  fixture.fabric.on_claim = [&](const Posted& posted) {
    fixture.fabric.complete(posted, 1000, posted.tag, 1);
  };
  CHECK(fixture.receive(request, &fixture.one, 1, nullptr, 1000, &layout) == EFA_SUCCESS);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(fixture.t->claims.first != first);
}

TEST_CASE("A matched probe without memory leaves the message in the provider") {
  Transport fixture;
  int asked = 0;
  fixture.fabric.on_peek = [&](const Posted&) { ++asked; };
  efa_message* message = nullptr;
  efa_status status{};
  const auto envelope = fixture.to(1, 3);
  efa_result result;
  {
    NoMemory none;
    result = efa_match(fixture.t, &fixture.one, nullptr, &envelope, &message, &status);
  }
  CHECK(result == EFA_OUT_OF_MEMORY);
  CHECK(message == nullptr);
  CHECK(asked == 0);
}

TEST_CASE("A probe returns source, tag and length of an eager message and leaves it in the provider") {
  Transport fixture;
  efa_status status{};
  fixture.fabric.on_peek = [&](const Posted& posted) {
    fixture.fabric.complete(posted, 77, fixture.bits(efa::kKindEager, 1, 3), 1);
  };
  CHECK(Prober{fixture}.probe(EFA_ANY_TAG, status, true));
  CHECK(status.length == 77);
  CHECK(status.source == 1);
  CHECK(status.tag == 3);
  CHECK(fixture.t->claims.first == nullptr);
}

TEST_CASE("A probe of a long message claims all earlier messages, reads its length and keeps the order") {
  Transport fixture;
  efa_status status{};
  // The provider has an eager message with tag 1, then a ready-to-send with tag 2, from one source.
  const auto ready = fixture.ready(9, 50000);
  int claims = 0;
  fixture.fabric.on_peek = [&](const Posted& posted) {
    if (!(posted.flags & FI_CLAIM)) {
      fixture.fabric.complete(posted, ready.size(), fixture.bits(efa::kKindRts, 1, 2), 1);
      return;
    }
    const bool first = claims++ == 0;
    fixture.fabric.complete(posted, first ? 10 : ready.size(),
                            fixture.bits(first ? efa::kKindEager : efa::kKindRts, 1, first ? 1 : 2), 1);
  };
  fixture.fabric.on_claim = [&](const Posted& posted) {
    std::memcpy(posted.into[0].iov_base, &ready, ready.size());
    fixture.fabric.complete(posted, ready.size(), posted.tag, 1);
  };
  CHECK(Prober{fixture}.probe(2, status));
  CHECK(status.length == 50000);
  CHECK(status.tag == 2);
  CHECK(claims == 2);
  REQUIRE(fixture.t->claims.first != nullptr);

  // A receive takes the older message from the list of claimed messages.
  std::vector<char> buffer(100);
  Request request;
  fixture.fabric.on_claim = [&](const Posted& posted) {
    std::memcpy(posted.into[0].iov_base, "0123456789", 10);
    fixture.fabric.complete(posted, 10, posted.tag, 1);
  };
  fixture.receive(request, &fixture.one, EFA_ANY_TAG, buffer.data(), 100);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.tag == 1);
  CHECK(request.status.length == 10);
  CHECK(std::string(buffer.data(), 10) == "0123456789");

  // The probed message is received by rendezvous.
  std::vector<char> long_buffer(50000);
  Request long_request;
  fixture.receive(long_request, &fixture.one, 2, long_buffer.data(), long_buffer.size());
  CHECK(fixture.t->claims.first == nullptr);
  const Posted posted = fixture.fabric.take(Call::send);
  const auto clear = efa::parse_control(posted.bytes.data(), posted.bytes.size());
  REQUIRE(clear);
  CHECK(clear->request == 9);
  CHECK(clear->length == 50000);
}

TEST_CASE("A matched message is not matched by other receives, and is received once") {
  Transport fixture;
  fixture.fabric.on_peek = [&](const Posted& posted) {
    fixture.fabric.complete(posted, 200, fixture.bits(efa::kKindEager, 1, 3), 1);
  };
  efa_message* message = nullptr;
  efa_status status{};
  const auto envelope = fixture.to(1, 3);
  REQUIRE(efa_match(fixture.t, &fixture.one, nullptr, &envelope, &message, &status) == EFA_SUCCESS);
  REQUIRE(message);
  CHECK(status.length == 200);
  CHECK(fixture.t->claims.first == nullptr);

  const auto data = pattern(200);
  fixture.fabric.on_claim = [&](const Posted& posted) {
    size_t offset = 0;
    for (const auto& part : posted.into) {
      const size_t now = std::min(part.iov_len, data.size() - offset);
      std::memcpy(part.iov_base, data.data() + offset, now);
      offset += now;
    }
    fixture.fabric.complete(posted, 200, posted.tag, 1);
  };
  std::vector<char> buffer(164, 0x5a);  // too short
  Request request;
  request.op.peer = &fixture.one;
  request.data = {buffer.data(), 100, nullptr};
  REQUIRE(efa_recv_matched(fixture.t, &request, message) == EFA_SUCCESS);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_TRUNCATED);
  CHECK(std::equal(buffer.begin(), buffer.begin() + 100, data.begin()));
  for (size_t i = 100; i < buffer.size(); ++i) REQUIRE(buffer[i] == 0x5a);
}

TEST_CASE("A probe does not overtake receives that wait to be posted") {
  Transport fixture;
  char bytes[10];
  Request request;
  fixture.fabric.refuse.assign(9, FI_EAGAIN);
  fixture.receive(request, &fixture.one, 3, bytes, 10);
  efa_status status{};
  int asked = 0;
  fixture.fabric.on_peek = [&](const Posted&) { ++asked; };
  CHECK_FALSE(Prober{fixture}.probe(3, status));
  CHECK(asked == 0);
}

TEST_CASE("Unexpected messages are removed from the provider before it is closed") {
  Transport fixture;
  int left = 3, received = 0;
  fixture.fabric.on_peek = [&](const Posted& posted) {
    CHECK((posted.flags & FI_CLAIM) != 0);
    if (left == 0)
      fixture.fabric.fail(posted.context, FI_ENOMSG);
    else
      fixture.fabric.complete(posted, 1000, fixture.bits(efa::kKindEager, 1, left--), 1);
  };
  fixture.fabric.on_claim = [&](const Posted& posted) {
    ++received;
    CHECK(posted.into[0].iov_len == fixture.t->overflow.receive_room);
    std::memset(posted.into[0].iov_base, 1, 1000);
    fixture.fabric.complete(posted, 1000, posted.tag, 1);
  };
  efa::receive_unexpected(fixture.t, ~uint64_t{0});
  CHECK(received == 3);
  CHECK(fixture.fatals.empty());
  CHECK(fixture.reports.empty());
}

TEST_CASE("A message whose sender is gone does not delay the shutdown") {
  Transport fixture;
  fixture.fabric.on_peek = [&](const Posted& posted) {
    fixture.fabric.complete(posted, 1000, fixture.bits(efa::kKindEager, 1, 1), 1);
  };
  fixture.fabric.on_claim = [](const Posted&) {};  // its data never comes
  efa::receive_unexpected(fixture.t, efa::monotonic_ns() + 1'000'000);
  CHECK(fixture.fatals.empty());
}

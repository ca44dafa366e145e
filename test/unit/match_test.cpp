// Probes, and messages that they take out of matching.
#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;

namespace {

// The fake provider's answer to the peek that comes next: progress, which a peek makes, finds it in the
// queue.
struct Script {
  Transport& x;
  bool probe(int32_t tag, efa_status& status, bool any = false) {
    bool found = false;
    efa_envelope e = x.to(any ? EFA_ANY_SOURCE : 1, tag);
    e.any_tag = tag == EFA_ANY_TAG;
    CHECK(efa_probe(x.t, any ? nullptr : &x.one, nullptr, &e, &found, &status) == EFA_SUCCESS);
    return found;
  }
};

}  // namespace

TEST_CASE("A probe that the provider answers with 'no message' finds nothing and says nothing") {
  Transport x;
  efa_status status{};
  x.fabric.refuse = {FI_ENOMSG};
  CHECK_FALSE(Script{x}.probe(3, status));
  x.fabric.refuse = {FI_EAGAIN};
  CHECK_FALSE(Script{x}.probe(3, status));
  CHECK(x.reports.empty());
}

TEST_CASE("A probe tells source, tag and length of an eager message and leaves it where it is") {
  Transport x;
  efa_status status{};
  x.fabric.on_peek = [&](const Posted& p) { x.fabric.complete(p, 77, x.bits(efa::kKindEager, 1, 3), 1); };
  CHECK(Script{x}.probe(EFA_ANY_TAG, status, true));
  CHECK(status.length == 77);
  CHECK(status.source == 1);
  CHECK(status.tag == 3);
  CHECK(x.t->claimed_first == nullptr);
}

TEST_CASE("A probe of a long message claims all that came before it, reads its length, and order holds") {
  Transport x;
  efa_status status{};
  // In the provider: an eager message with tag 1, then a ready-to-send with tag 2, from one source.
  const auto ready = x.ready(9, 50000);
  int claims = 0;
  x.fabric.on_peek = [&](const Posted& p) {
    if (!(p.flags & FI_CLAIM)) {
      x.fabric.complete(p, ready.size(), x.bits(efa::kKindRts, 1, 2), 1);
      return;
    }
    const bool first = claims++ == 0;
    x.fabric.complete(p, first ? 10 : ready.size(),
                      x.bits(first ? efa::kKindEager : efa::kKindRts, 1, first ? 1 : 2), 1);
  };
  x.fabric.on_claim = [&](const Posted& p) {
    std::memcpy(p.into[0].iov_base, &ready, ready.size());
    x.fabric.complete(p, ready.size(), p.tag, 1);
  };
  CHECK(Script{x}.probe(2, status));
  CHECK(status.length == 50000);
  CHECK(status.tag == 2);
  CHECK(claims == 2);
  REQUIRE(x.t->claimed_first != nullptr);

  // A receive for the older one takes it from the list, not from the provider's matching.
  std::vector<char> buffer(100);
  Request r;
  x.fabric.on_claim = [&](const Posted& p) {
    std::memcpy(p.into[0].iov_base, "0123456789", 10);
    x.fabric.complete(p, 10, p.tag, 1);
  };
  x.receive(r, &x.one, EFA_ANY_TAG, buffer.data(), 100);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.tag == 1);
  CHECK(r.status.length == 10);
  CHECK(std::string(buffer.data(), 10) == "0123456789");

  // The probed one is received as the rendezvous it is.
  std::vector<char> long_buffer(50000);
  Request s;
  x.receive(s, &x.one, 2, long_buffer.data(), long_buffer.size());
  CHECK(x.t->claimed_first == nullptr);
  const Posted p = x.fabric.take(Call::send);
  const auto clear = efa::parse_control(p.bytes.data(), p.bytes.size());
  REQUIRE(clear);
  CHECK(clear->request == 9);
  CHECK(clear->length == 50000);
}

TEST_CASE("A matched message is out of reach for receives, and is received once") {
  Transport x;
  x.fabric.on_peek = [&](const Posted& p) { x.fabric.complete(p, 200, x.bits(efa::kKindEager, 1, 3), 1); };
  efa_message* message = nullptr;
  efa_status status{};
  const auto e = x.to(1, 3);
  REQUIRE(efa_match(x.t, &x.one, nullptr, &e, &message, &status) == EFA_SUCCESS);
  REQUIRE(message);
  CHECK(status.length == 200);
  CHECK(x.t->claimed_first == nullptr);

  const auto data = pattern(200);
  x.fabric.on_claim = [&](const Posted& p) {
    size_t offset = 0;
    for (const auto& part : p.into) {
      const size_t now = std::min(part.iov_len, data.size() - offset);
      std::memcpy(part.iov_base, data.data() + offset, now);
      offset += now;
    }
    x.fabric.complete(p, 200, p.tag, 1);
  };
  std::vector<char> buffer(164, 0x5a);  // too short
  Request r;
  r.op.peer = &x.one;
  r.data = {buffer.data(), 100, nullptr};
  REQUIRE(efa_recv_matched(x.t, &r, message) == EFA_SUCCESS);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_TRUNCATED);
  CHECK(std::equal(buffer.begin(), buffer.begin() + 100, data.begin()));
  for (size_t i = 100; i < buffer.size(); ++i) REQUIRE(buffer[i] == 0x5a);
}

TEST_CASE("A probe does not overtake receives that wait to be posted") {
  Transport x;
  char bytes[10];
  Request r;
  x.fabric.refuse.assign(9, FI_EAGAIN);
  x.receive(r, &x.one, 3, bytes, 10);
  efa_status status{};
  int asked = 0;
  x.fabric.on_peek = [&](const Posted&) { ++asked; };
  CHECK_FALSE(Script{x}.probe(3, status));
  CHECK(asked == 0);
}

TEST_CASE("What nobody received is taken off the provider before it is closed") {
  Transport x;
  int left = 3, received = 0;
  x.fabric.on_peek = [&](const Posted& p) {
    CHECK((p.flags & FI_CLAIM) != 0);
    if (left == 0)
      x.fabric.fail(p.context, FI_ENOMSG);
    else
      x.fabric.complete(p, 1000, x.bits(efa::kKindEager, 1, left--), 1);
  };
  x.fabric.on_claim = [&](const Posted& p) {
    ++received;
    CHECK(p.into[0].iov_len == x.t->receive_room);
    std::memset(p.into[0].iov_base, 1, 1000);
    x.fabric.complete(p, 1000, p.tag, 1);
  };
  efa::receive_unexpected(x.t, ~uint64_t{0});
  CHECK(received == 3);
  CHECK(x.fatals.empty());
  CHECK(x.reports.empty());
}

TEST_CASE("A message whose sender is gone does not hold up the end") {
  Transport x;
  x.fabric.on_peek = [&](const Posted& p) { x.fabric.complete(p, 1000, x.bits(efa::kKindEager, 1, 1), 1); };
  x.fabric.on_claim = [](const Posted&) {};  // its data never comes
  efa::receive_unexpected(x.t, efa::monotonic_ns() + 1'000'000);
  CHECK(x.fatals.empty());
}

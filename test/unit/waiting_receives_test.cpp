// Receives that the provider refuses: those for control messages and pieces are posted first; those of the user are matched
// while they wait.
#include <map>

#include "catch.hpp"
#include "fake_transport.hpp"
#include "protocol/wire.hpp"
#include "tagged/recv.hpp"
#include "tagged/waiting_receives.hpp"

using namespace fake;

namespace {

struct Message {
  uint64_t bits, source;
  std::vector<char> data;
};

// A provider that takes at most `most` tagged receives, and keeps unexpected messages.
struct Bounded : Transport {
  explicit Bounded(size_t most_receives, unsigned kept = 2) : most(most_receives) {
    fabric.full = [this](const Posted& posted) {
      return posted.call == Call::tagged_receive && fabric.count(Call::tagged_receive) >= most;
    };
    fabric.on_peek = [this](const Posted& posted) {
      for (auto at = unexpected.begin(); at != unexpected.end(); ++at) {
        if (((at->bits ^ posted.tag) & ~posted.ignore) ||
            (posted.peer != FI_ADDR_UNSPEC && posted.peer != at->source))
          continue;
        fabric.complete(posted, at->data.size(), at->bits, at->source);
        if (posted.flags & FI_CLAIM) {
          claimed[posted.context] = *at;
          unexpected.erase(at);
        }
        return;
      }
      fabric.fail(posted.context, FI_ENOMSG);
    };
    fabric.on_claim = [this](const Posted& posted) {
      const Message message = claimed.at(posted.context);
      claimed.erase(posted.context);
      REQUIRE(posted.into[0].iov_len >= message.data.size());
      std::copy(message.data.begin(), message.data.end(), static_cast<char*>(posted.into[0].iov_base));
      fabric.complete(posted, message.data.size(), message.bits, message.source);
    };
    efa::UserMessage why;
    REQUIRE(efa::keep_receives(t, kept, why));
  }
  // A message arrives: into the first posted receive that matches, else it is unexpected.
  void deliver(uint64_t kind, int32_t tag, std::vector<char> bytes, int32_t rank = 1) {
    const Message message{bits(kind, rank, tag), static_cast<uint64_t>(rank), std::move(bytes)};
    for (const Posted& posted : fabric.posted) {
      if (posted.call != Call::tagged_receive || ((posted.tag ^ message.bits) & ~posted.ignore)) continue;
      fabric.arrive(message.bits, message.source, message.data.data(), message.data.size());
      return;
    }
    unexpected.push_back(message);
  }
  void announce(uint64_t request, size_t length, int32_t tag) {
    const auto message = ready(request, length);
    std::vector<char> bytes(message.size());
    message.write(bytes.data());
    deliver(efa::kKindRts, tag, bytes);
  }
  void poll() {
    for (int i = 0; i < 20; ++i) efa_progress(t);
  }
  bool probe(int32_t tag, efa_status& status) {
    efa_envelope envelope = to(1, tag);
    envelope.any_tag = tag == EFA_ANY_TAG;
    bool found = false;
    CHECK(efa_probe(t, &one, nullptr, &envelope, &found, &status) == EFA_SUCCESS);
    return found;
  }
  size_t most;
  std::deque<Message> unexpected;
  std::map<void*, Message> claimed;
};

// Receives of one byte with the tags 0 to count - 1; the first of them is posted.
struct Receives {
  Receives(Bounded& fixture, int count) : bytes(static_cast<size_t>(count)) {
    for (int tag = 0; tag < count; ++tag) {
      requests.push_back(std::make_unique<Request>());
      fixture.receive(*requests.back(), &fixture.one, tag, &bytes[static_cast<size_t>(tag)], 1);
    }
  }
  Request& operator[](size_t i) { return *requests[i]; }
  std::vector<char> bytes;
  std::vector<std::unique_ptr<Request>> requests;
};

}  // namespace

TEST_CASE("A waiting receive gets its message while all posted receives stay posted") {
  Bounded fixture(3);
  Receives receives(fixture, 10);
  CHECK(fixture.fabric.count(Call::tagged_receive) == 3);
  fixture.deliver(efa::kKindEager, 7, {'s'});
  fixture.poll();
  CHECK(receives[7].times == 1);
  CHECK(receives.bytes[7] == 's');
  CHECK(receives[0].times == 0);
  for (const int tag : {0, 9, 1, 8, 2, 6, 3, 5, 4}) {
    fixture.deliver(efa::kKindEager, tag, {static_cast<char>('a' + tag)});
    fixture.poll();
    CHECK(receives[static_cast<size_t>(tag)].times == 1);
    CHECK(receives.bytes[static_cast<size_t>(tag)] == 'a' + tag);
  }
  fixture.poll();
  CHECK(fixture.t->pending.empty());
  CHECK(fixture.fabric.count(Call::tagged_receive) == 2);  // the two receives that keep room for pieces
}

TEST_CASE("Waiting receives match in their order, and later receives do not overtake them") {
  Bounded fixture(3);
  Receives receives(fixture, 1);
  char bytes[4] = {};
  Request any, same, again, short_one;
  fixture.receive(any, &fixture.one, EFA_ANY_TAG, &bytes[0], 1);
  fixture.receive(same, &fixture.one, 5, &bytes[1], 1);
  fixture.deliver(efa::kKindEager, 6, {'1'});  // does not match `same`; sent before the message that does
  fixture.deliver(efa::kKindEager, 5, {'2'});
  fixture.deliver(efa::kKindEager, 5, {'3'});
  fixture.receive(again, &fixture.one, 5, &bytes[2], 1);
  fixture.poll();
  CHECK(std::string(bytes, 3) == "123");
  CHECK(any.status.tag == 6);
  fixture.deliver(efa::kKindEager, 5, {'4'});
  fixture.poll();
  fixture.receive(short_one, &fixture.one, 5, &bytes[3], 0);
  fixture.poll();
  CHECK(short_one.times == 1);
  CHECK(short_one.status.result == EFA_TRUNCATED);
}

TEST_CASE("A probe finds only messages that no waiting receive matches") {
  Bounded fixture(3);
  Receives receives(fixture, 10);
  efa_status status{};
  CHECK_FALSE(fixture.probe(EFA_ANY_TAG, status));
  fixture.deliver(efa::kKindEager, 8, {'r'});  // a waiting receive matches it
  CHECK_FALSE(fixture.probe(8, status));
  fixture.deliver(efa::kKindEager, 4, {'r'});
  fixture.deliver(efa::kKindEager, 20, {'a', 'b'});
  fixture.announce(3, 5000, 21);
  REQUIRE(fixture.probe(EFA_ANY_TAG, status));
  CHECK(status.tag == 20);
  CHECK(status.length == 2);
  REQUIRE(fixture.probe(21, status));
  CHECK(status.length == 5000);
  CHECK_FALSE(fixture.probe(22, status));
  fixture.poll();
  CHECK(receives[8].times == 1);
  CHECK(receives[4].times == 1);
  char two[2];
  Request received;
  fixture.receive(received, &fixture.one, 20, two, 2);
  fixture.poll();
  CHECK(received.times == 1);
  CHECK(two[1] == 'b');
}

TEST_CASE("Pieces of a rendezvous are received while user receives fill the provider's queue") {
  Bounded fixture(4);
  Receives receives(fixture, 10);
  const auto data = pattern(8000);
  std::vector<char> into(8000);
  Request waits, probed;
  fixture.receive(waits, &fixture.one, 30, into.data(), into.size());
  fixture.announce(3, data.size(), 30);
  fixture.poll();
  const auto clear = answer(fixture);
  CHECK(clear.type == efa::ControlType::clear_to_send);
  for (uint32_t piece = 0; piece < 2; ++piece) {
    const size_t offset = piece * 4096, size = std::min<size_t>(4096, data.size() - offset);
    const uint64_t bits = fixture.t->tags.piece_bits(clear.handle, piece);
    fixture.poll();
    fixture.fabric.arrive(bits, 0, data.data() + offset, size);
    fixture.poll();
  }
  CHECK(waits.times == 1);
  CHECK(waits.status.result == EFA_SUCCESS);
  CHECK(into == data);
  CHECK(fixture.fabric.count(Call::tagged_receive) == 4);
  CHECK(receives[9].times == 0);
}

TEST_CASE("Control messages are received while every other receive is refused") {
  Bounded fixture(2);
  Receives receives(fixture, 3);
  const auto data = pattern(5000);
  for (int i = 0; i < 40; ++i) {
    Request sent;
    fixture.send(sent, fixture.one, 3, data.data(), data.size());
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.poll();
    fixture.arrive(fixture.control(efa::ControlType::clear_to_send, fixture.one, sent.ready_id, 0));
    fixture.poll();
    CHECK(sent.times == 1);
  }
}

TEST_CASE("A waiting receive can be cancelled while the provider is probed for its message") {
  Bounded fixture(3);
  Receives receives(fixture, 2);
  fixture.poll();
  efa_cancel(fixture.t, &receives[1]);
  CHECK(receives[1].times == 1);
  CHECK(receives[1].status.result == EFA_CANCELED);
  CHECK(fixture.t->claims.open == nullptr);
  fixture.poll();
  CHECK(fixture.t->pending.empty());
}

TEST_CASE("Noncontiguous receives take bounded memory, however many are posted, and all get their messages") {
  Bounded fixture(1000, 0);
  constexpr size_t kCount = 60, kSize = 1000;
  const size_t bound = fixture.t->landings.bound();
  std::vector<std::vector<char>> memory(kCount, std::vector<char>(2 * kSize, 'g'));
  std::vector<Layout> layouts;
  std::vector<std::unique_ptr<Request>> requests;
  for (auto& bytes : memory) layouts.push_back({bytes.data(), 10, 10});
  for (size_t i = 0; i < kCount; ++i) {
    requests.push_back(std::make_unique<Request>());
    fixture.receive(*requests.back(), &fixture.one, static_cast<int32_t>(i), nullptr, kSize, &layouts[i]);
    CHECK(fixture.t->landings.bytes_used() <= bound);
  }
  CHECK(fixture.fabric.count(Call::tagged_receive) < kCount);
  for (size_t i = kCount; i-- > 0;) {
    fixture.deliver(efa::kKindEager, static_cast<int32_t>(i), pattern(kSize, static_cast<unsigned>(i)));
    fixture.poll();
    CHECK(fixture.t->landings.bytes_used() <= bound);
    REQUIRE(requests[i]->times == 1);
    const auto sent = pattern(kSize, static_cast<unsigned>(i));
    bool right = true;
    for (size_t k = 0; k < kSize; ++k)
      right =
          right && memory[i][k / 10 * 20 + k % 10] == sent[k] && memory[i][k / 10 * 20 + 10 + k % 10] == 'g';
    CHECK(right);
  }
  CHECK(fixture.t->landings.bytes_used() + fixture.t->buffers.bytes_used() == 0);
}

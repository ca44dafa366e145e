// Receives: where the data is stored, truncation, cancellation and errors.
#include "catch.hpp"
#include "fake_transport.hpp"
#include "protocol/wire.hpp"

using namespace fake;

namespace {

constexpr char kCanary = 0x5a;

// A buffer followed by canary bytes.
struct Guarded {
  explicit Guarded(size_t size) : size_(size), bytes(size + 64, kCanary) {}
  bool intact() const {
    for (size_t i = size_; i < bytes.size(); ++i)
      if (bytes[i] != kCanary) return false;
    return true;
  }
  char* data() { return bytes.data(); }

 private:
  size_t size_;

 public:
  std::vector<char> bytes;
};

}  // namespace

TEST_CASE(
    "A message of any length up to the buffer's is received, and nothing behind the buffer is written") {
  for (const size_t room : {0, 1, 64, 255, 256, 257, 1000, 1024, 5000}) {
    for (const size_t size : {0, 1, 64, 255, 256, 257, 1000, 1024}) {
      if (size > room) continue;
      CAPTURE(room, size);
      Transport fixture;
      Guarded buffer(room);
      const auto data = pattern(size);
      Request request;
      REQUIRE(fixture.receive(request, &fixture.one, 7, buffer.data(), room) == EFA_SUCCESS);
      fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 7), 1, data.data(), size);
      fixture.progress();
      REQUIRE(request.times == 1);
      CHECK(request.status.result == EFA_SUCCESS);
      CHECK(request.status.length == size);
      CHECK(request.status.source == 1);
      CHECK(request.status.tag == 7);
      CHECK(std::equal(data.begin(), data.end(), buffer.data()));
      bool rest = true;
      for (size_t i = size; i < room; ++i) rest = rest && buffer.bytes[i] == kCanary;
      CHECK(rest);
      CHECK(buffer.intact());
    }
  }
}

TEST_CASE(
    "A message that is too long fills the buffer and is truncated; nothing behind the buffer is written") {
  for (const size_t room : {0, 1, 100, 256, 257, 700}) {
    CAPTURE(room);
    Transport fixture;
    Guarded buffer(room);
    const auto data = pattern(1024);
    Request request;
    fixture.receive(request, &fixture.one, 7, buffer.data(), room);
    fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 7), 1, data.data(), data.size());
    fixture.progress();
    CHECK(request.status.result == EFA_TRUNCATED);
    CHECK(request.status.length == room);
    CHECK(std::equal(buffer.data(), buffer.data() + room, data.begin()));
    CHECK(buffer.intact());
  }
}

TEST_CASE("Noncontiguous receives are unpacked, and gaps are not written") {
  for (const size_t size : {10, 256, 257, 300}) {
    CAPTURE(size);
    Transport fixture;
    std::vector<char> memory(1000, kCanary);
    Layout layout{memory.data(), 7, 3};
    const auto data = pattern(size);
    Request request;
    fixture.receive(request, &fixture.one, 7, nullptr, 400, &layout);
    fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 7), 1, data.data(), size);
    fixture.progress();
    CHECK(request.status.length == size);
    for (size_t i = 0; i < size; ++i) REQUIRE(memory[i / 7 * 10 + i % 7] == data[i]);
    for (size_t i = 0; i < memory.size(); ++i)
      if (i % 10 >= 7) REQUIRE(memory[i] == kCanary);
    CHECK(fixture.t->buffers.bytes_used() == 0);
  }
}

TEST_CASE("A buffer that is posted several times receives each message in turn") {
  Transport fixture;
  std::vector<char> buffer(600);
  Request first_request, second_request;
  fixture.receive(first_request, &fixture.one, 7, buffer.data(), 600);
  fixture.receive(second_request, &fixture.one, 7, buffer.data(), 600);
  const auto first = pattern(600, 1), second = pattern(600, 2);
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 7), 1, first.data(), 600);
  fixture.progress();
  CHECK(buffer == first);
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 7), 1, second.data(), 600);
  fixture.progress();
  CHECK(buffer == second);
}

TEST_CASE("A synchronous message is acknowledged to its sender, also if it was received from any source") {
  Transport fixture;
  char byte = 0;
  Request request;
  fixture.receive(request, nullptr, EFA_ANY_TAG, &byte, 1);
  const uint64_t bits = fixture.bits(efa::kKindSync, 2, 8);
  const struct [[gnu::packed]] {
    char byte = 'z';
    uint64_t id = 4711;
  } message;
  fixture.fabric.arrive(bits, 2, &message, sizeof message);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.source == 2);
  CHECK(byte == 'z');
  const Posted posted = fixture.fabric.take(Call::send);
  CHECK(posted.peer == fixture.two.address);
  const auto ack = efa::parse_control(posted.bytes.data(), posted.bytes.size());
  REQUIRE(ack);
  CHECK(ack->type == efa::ControlType::acknowledge);
  CHECK(ack->request == 4711);
  CHECK(request.status.length == 1);
  CHECK(ack->sender == 1000);
}

TEST_CASE("A cancelled receive ends once, whether it is posted or waits to be posted") {
  const bool waiting = GENERATE(true, false);
  Transport fixture;
  char bytes[10];
  Request request, other;
  if (waiting) fixture.fabric.refuse = {FI_EAGAIN};
  fixture.receive(request, &fixture.one, 1, bytes, 10);
  fixture.receive(other, &fixture.one, 2, bytes, 10);
  efa_cancel(fixture.t, &request);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_CANCELED);
  efa_progress(fixture.t);
  CHECK(fixture.fabric.count(Call::tagged_receive) == 1);  // the other one
  CHECK(other.times == 0);
}

TEST_CASE("Cancelling a matched receive has no effect") {
  Transport fixture;
  char byte = 0;
  Request request;
  fixture.receive(request, &fixture.one, 1, &byte, 1);
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 1), 1, "q", 1);
  efa_cancel(fixture.t, &request);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(byte == 'q');
}

TEST_CASE("A failed receive is an error of that request only") {
  Transport fixture;
  char bytes[10];
  Request request;
  fixture.receive(request, &fixture.one, 1, bytes, 10);
  const Posted posted = fixture.fabric.take(Call::tagged_receive);
  fixture.fabric.fail(posted.context, FI_EIO, 13);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_FAILED);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("receiving up to 10 bytes from rank 1 on host there"));
  CHECK(fixture.fatals.empty());
}

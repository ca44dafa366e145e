// Where a message lands, and what becomes of it there.
#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;

namespace {

constexpr char kCanary = 0x5a;

// A buffer with canaries behind it.
struct Guarded {
  explicit Guarded(size_t size) : size_(size), bytes(size + 64, kCanary) {}
  bool whole() const {
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

TEST_CASE("A message of any length up to the buffer's arrives whole, and nothing behind it is touched") {
  for (const size_t room : {0, 1, 64, 255, 256, 257, 1000, 1024, 5000}) {
    for (const size_t size : {0, 1, 64, 255, 256, 257, 1000, 1024}) {
      if (size > room) continue;
      CAPTURE(room, size);
      Transport x;
      Guarded buffer(room);
      const auto data = pattern(size);
      Request r;
      REQUIRE(x.receive(r, &x.one, 7, buffer.data(), room) == EFA_SUCCESS);
      x.fabric.arrive(x.bits(efa::kKindEager, 1, 7), 1, data.data(), size);
      x.progress();
      REQUIRE(r.times == 1);
      CHECK(r.status.result == EFA_SUCCESS);
      CHECK(r.status.length == size);
      CHECK(r.status.source == 1);
      CHECK(r.status.tag == 7);
      CHECK(std::equal(data.begin(), data.end(), buffer.data()));
      bool rest = true;
      for (size_t i = size; i < room; ++i) rest = rest && buffer.bytes[i] == kCanary;
      CHECK(rest);
      CHECK(buffer.whole());
    }
  }
}

TEST_CASE("A message that is too long fills the buffer, is reported as truncated, and harms nothing behind") {
  for (const size_t room : {0, 1, 100, 256, 257, 700}) {
    CAPTURE(room);
    Transport x;
    Guarded buffer(room);
    const auto data = pattern(1024);
    Request r;
    x.receive(r, &x.one, 7, buffer.data(), room);
    x.fabric.arrive(x.bits(efa::kKindEager, 1, 7), 1, data.data(), data.size());
    x.progress();
    CHECK(r.status.result == EFA_TRUNCATED);
    CHECK(r.status.length == room);
    CHECK(std::equal(buffer.data(), buffer.data() + room, data.begin()));
    CHECK(buffer.whole());
  }
}

TEST_CASE("Noncontiguous receives are unpacked and leave the gaps alone") {
  for (const size_t size : {10, 256, 257, 300}) {
    CAPTURE(size);
    Transport x;
    std::vector<char> memory(1000, kCanary);
    Layout layout{memory.data(), 7, 3};
    const auto data = pattern(size);
    Request r;
    x.receive(r, &x.one, 7, nullptr, 400, &layout);
    x.fabric.arrive(x.bits(efa::kKindEager, 1, 7), 1, data.data(), size);
    x.progress();
    CHECK(r.status.length == size);
    for (size_t i = 0; i < size; ++i) REQUIRE(memory[i / 7 * 10 + i % 7] == data[i]);
    for (size_t i = 0; i < memory.size(); ++i)
      if (i % 10 >= 7) REQUIRE(memory[i] == kCanary);
    CHECK(x.t->buffers.bytes_used() == 0);
  }
}

TEST_CASE("One buffer posted many times takes each message as it comes") {
  Transport x;
  std::vector<char> buffer(600);
  Request a, b;
  x.receive(a, &x.one, 7, buffer.data(), 600);
  x.receive(b, &x.one, 7, buffer.data(), 600);
  const auto first = pattern(600, 1), second = pattern(600, 2);
  x.fabric.arrive(x.bits(efa::kKindEager, 1, 7), 1, first.data(), 600);
  x.progress();
  CHECK(buffer == first);
  x.fabric.arrive(x.bits(efa::kKindEager, 1, 7), 1, second.data(), 600);
  x.progress();
  CHECK(buffer == second);
}

TEST_CASE("A synchronous message is acknowledged to its sender, from any source too") {
  Transport x;
  char byte = 0;
  Request r;
  x.receive(r, nullptr, EFA_ANY_TAG, &byte, 1);
  const uint64_t bits = x.bits(efa::kKindSync, 2, 8);
  x.fabric.arrive(bits, 2, "z", 1);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.source == 2);
  CHECK(byte == 'z');
  const Posted p = x.fabric.take(Call::send);
  CHECK(p.peer == x.two.address);
  const auto ack = efa::parse_control(p.bytes.data(), p.bytes.size());
  REQUIRE(ack);
  CHECK(ack->type == efa::ControlType::acknowledge);
  CHECK(ack->request == bits);
  CHECK(ack->sender == 1000);
}

TEST_CASE("A cancelled receive ends once, posted or waiting") {
  const bool waiting = GENERATE(true, false);
  Transport x;
  char bytes[10];
  Request r, other;
  if (waiting) x.fabric.refuse = {FI_EAGAIN};
  x.receive(r, &x.one, 1, bytes, 10);
  x.receive(other, &x.one, 2, bytes, 10);
  efa_cancel(x.t, &r);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_CANCELED);
  efa_progress(x.t);
  CHECK(x.fabric.count(Call::tagged_receive) == 1);  // the other one
  CHECK(other.times == 0);
}

TEST_CASE("A cancel after the match does nothing") {
  Transport x;
  char byte = 0;
  Request r;
  x.receive(r, &x.one, 1, &byte, 1);
  x.fabric.arrive(x.bits(efa::kKindEager, 1, 1), 1, "q", 1);
  efa_cancel(x.t, &r);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK(byte == 'q');
}

TEST_CASE("A receive that fails is an error of that request only") {
  Transport x;
  char bytes[10];
  Request r;
  x.receive(r, &x.one, 1, bytes, 10);
  const Posted p = x.fabric.take(Call::tagged_receive);
  x.fabric.fail(p.context, FI_EIO, 13);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_FAILED);
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("receiving up to 10 bytes from rank 1 on host there"));
  CHECK(x.fatals.empty());
}

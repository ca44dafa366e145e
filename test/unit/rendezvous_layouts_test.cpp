// Long messages of layouts: few long blocks that travel as they lie, and others that are packed as a whole to be read.
#include <algorithm>

#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;
using efa::ControlType;

namespace {

// 10000 bytes in four blocks of `lengths`, in an order of their own, with gaps.
struct Blocks {
  explicit Blocks(std::vector<size_t> lengths) : memory(24000, 0x11) {
    size_t place = 4 * 6000;
    for (const size_t length : lengths) layout.segments.push_back({memory.data() + (place -= 6000), length});
    layout.base = nullptr;  // pack and unpack would crash
  }
  // Its packed bytes.
  std::vector<char> content() const {
    std::vector<char> bytes;
    for (const iovec& each : layout.segments) {
      const char* first = static_cast<const char*>(each.iov_base);
      bytes.insert(bytes.end(), first, first + each.iov_len);
    }
    return bytes;
  }
  // Bytes that belong to no block and are not as they were.
  long spoilt() const {
    auto rest = memory;
    for (const iovec& each : layout.segments)
      std::fill_n(rest.data() + (static_cast<const char*>(each.iov_base) - memory.data()), each.iov_len,
                  0x11);
    return static_cast<long>(rest.size()) - std::count(rest.begin(), rest.end(), 0x11);
  }
  std::vector<char> memory;
  Layout layout{};
};

// Delivers bytes [offset, ...) of `data` to all parts of a posted receive or read.
void scatter(Transport& x, const Posted& p, const std::vector<char>& data, size_t offset) {
  size_t size = 0;
  for (const iovec& part : p.into) {
    REQUIRE(offset + size + part.iov_len <= data.size());
    std::memcpy(part.iov_base, data.data() + offset + size, part.iov_len);
    size += part.iov_len;
  }
  x.fabric.complete(p, size, p.tag);
}

}  // namespace

TEST_CASE("Push of few blocks hands them to the provider as they lie, on both sides") {
  Transport x;
  const auto data = pattern(10000);
  Blocks from({3000, 1, 5000, 1999}), to({100, 200, 4700, 5000});
  size_t offset = 0;
  for (const iovec& each : from.layout.segments) {
    std::memcpy(each.iov_base, data.data() + offset, each.iov_len);
    offset += each.iov_len;
  }
  Request s;
  x.send(s, x.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &from.layout);
  const Posted rts = x.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->flags == 0);  // nothing is packed
  x.fabric.complete(rts);
  x.arrive(x.control(ControlType::clear_to_send, x.one, ready->request, 10000, 4096));
  std::vector<char> arrived;
  for (const size_t parts : {3, 2, 1}) {  // 3000 + 1 + 1095; 3905 + 191; 1808
    const Posted p = x.fabric.take(Call::tagged_send);
    CHECK(p.parts == parts);
    arrived.insert(arrived.end(), p.bytes.begin(), p.bytes.end());
    x.fabric.complete(p);
    x.progress();
  }
  CHECK(arrived == data);
  CHECK(s.times == 1);

  Request r;
  x.receive(r, &x.one, 6, nullptr, 10000, &to.layout);
  x.arrive(x.ready(1, 10000), 1, 6);
  answer(x);
  for (const size_t at : {0, 4096, 8192}) {
    const Posted p = x.fabric.take(Call::tagged_receive);
    CHECK(p.into.size() == (at == 0 ? 3 : at == 4096 ? 2 : 1));
    scatter(x, p, data, at);
    x.progress();
  }
  CHECK(r.times == 1);
  CHECK(to.content() == data);
  CHECK(to.spoilt() == 0);
  CHECK(x.t->buffers.bytes_kept() + x.t->buffers.bytes_used() <= 1024);  // for what might have come eagerly
}

TEST_CASE("A peer that wants pieces of more blocks than one send takes is refused") {
  Transport x;
  std::vector<char> memory(200000);
  Layout layout{nullptr, 0, 0, {}};
  for (size_t i = 0; i < 6; ++i) layout.segments.push_back({memory.data() + i * 30000, 20000});
  Request s;
  x.send(s, x.one, 5, nullptr, 120000, EFA_SEND_STANDARD, &layout);
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.arrive(x.control(ControlType::clear_to_send, x.one, s.ready_id, 120000, 60001));
  REQUIRE(x.fatals.size() == 1);
  CHECK_THAT(x.fatals[0], Contains("impossible"));
  x.arrive(x.control(ControlType::clear_to_send, x.one, s.ready_id, 120000, 60000));
  CHECK(x.fabric.count(Call::tagged_send) == 2);
}

TEST_CASE("Pull of few blocks reads each where it lies to where it goes") {
  const auto data = pattern(10000);
  Blocks to({100, 200, 4700, 5000});
  Transport x;
  x.t->protocols.pulls = true;
  Request r;
  x.receive(r, &x.one, 5, nullptr, 10000, &to.layout);
  auto ready = x.ready(6, 10000);
  ready.rails = 1;
  ready.address = 0x100000;
  ready.segments = 2;
  ready.parts[0] = {0x9000, 4200};
  ready.parts[1] = {0x1000, 5800};
  x.arrive(ready, 1, 5);
  CHECK(x.fabric.registrations == 1);  // one for all blocks
  const struct {
    uint64_t address;
    size_t offset, size;
  } reads[] = {{0x109000, 0, 100},           {0x109000 + 100, 100, 200}, {0x109000 + 300, 300, 3796},
               {0x109000 + 4096, 4096, 104}, {0x101000, 4200, 800},      {0x101000 + 800, 5000, 3192},
               {0x101000 + 3992, 8192, 1808}};
  for (const auto& read : reads) {
    const Posted p = x.fabric.take(Call::read);
    CHECK(p.address == read.address);
    REQUIRE(p.into.size() == 1);
    CHECK(p.into[0].iov_len == read.size);
    scatter(x, p, data, read.offset);
    x.progress();
  }
  CHECK(answer(x).type == ControlType::finished);
  CHECK(r.times == 1);
  CHECK(to.content() == data);
  CHECK(to.spoilt() == 0);
}

TEST_CASE("Blocks are offered to be read only if there are few gaps to register with them") {
  Transport x;
  x.t->protocols.pulls = true;
  std::vector<char> memory(100000);
  const size_t second = GENERATE(15000, 15001);  // 20000 bytes with 10000 of data, and one more
  Layout layout{nullptr, 0, 0, {{memory.data() + second, 5000}, {memory.data(), 5000}}};
  Request s;
  x.send(s, x.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &layout);
  const Posted rts = x.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == (second == 15000 ? 1 : 0));
  CHECK(x.fabric.registrations == (second == 15000 ? 1 : 0));
  if (second == 15000) {
    CHECK(ready->address == reinterpret_cast<uintptr_t>(memory.data()));
    REQUIRE(ready->segments == 2);
    CHECK(ready->parts[0].offset == 15000);
    CHECK(ready->parts[1].offset == 0);
  }
}

TEST_CASE(
    "A layout that is not long is packed as a whole to be read, and piece by piece if it has to be pushed") {
  Transport x;
  x.t->protocols.pulls = true;
  const auto data = pattern(10000);
  std::vector<char> memory(20000);
  for (size_t i = 0; i < 10000; ++i) memory[i / 100 * 200 + i % 100] = data[i];
  Layout layout{memory.data(), 100, 100};
  Request r;
  x.send(r, x.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &layout);
  const Posted rts = x.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == 1);
  CHECK(ready->segments == 0);
  CHECK(std::memcmp(reinterpret_cast<const void*>(ready->address), data.data(), 10000) == 0);
  CHECK(x.t->buffers.bytes_used() == 16384);
  x.fabric.complete(rts);
  if (GENERATE(true, false)) {
    x.arrive(x.control(ControlType::finished, x.one, r.ready_id, 10000));
  } else {
    x.arrive(x.control(ControlType::clear_to_send, x.one, r.ready_id, 10000));
    std::vector<char> arrived;
    while (x.fabric.count(Call::tagged_send)) {
      const Posted p = x.fabric.take(Call::tagged_send);
      arrived.insert(arrived.end(), p.bytes.begin(), p.bytes.end());
      CHECK(x.t->buffers.bytes_used() <= 2 * 4096);
      x.fabric.complete(p);
      x.progress();
    }
    CHECK(arrived == data);
  }
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK(x.t->buffers.bytes_used() == 0);
  CHECK(x.fabric.registrations == 0);

  // Without room in the staging memory (five pages), or without a registration, nothing is kept.
  std::vector<char> more(120000);
  Layout longer{more.data(), 100, 100};
  Request s;
  x.send(s, x.one, 5, nullptr, 30000, EFA_SEND_STANDARD, &longer);
  CHECK(x.t->buffers.bytes_used() == 0);
  x.fabric.refuse_registration = FI_ENOMEM;
  Request u;
  x.send(u, x.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &layout);
  CHECK(x.t->buffers.bytes_used() == 0);
}

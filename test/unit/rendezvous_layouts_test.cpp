// Rendezvous of noncontiguous data: few long blocks, which are not packed, and layouts that are packed as a whole.
#include <algorithm>

#include "catch.hpp"
#include "fake_transport.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/segments.hpp"
#include "protocol/wire.hpp"

using namespace fake;
using efa::ControlType;

namespace {

// 10000 bytes in four blocks of `lengths`, out of order, with gaps.
struct Blocks {
  explicit Blocks(std::vector<size_t> lengths) : memory(24000, 0x11) {
    size_t place = 4 * 6000;
    for (const size_t length : lengths) layout.segments.push_back({memory.data() + (place -= 6000), length});
    layout.base = nullptr;  // pack and unpack would crash
  }
  // The packed bytes.
  std::vector<char> content() const {
    std::vector<char> bytes;
    for (const iovec& each : layout.segments) {
      const char* first = static_cast<const char*>(each.iov_base);
      bytes.insert(bytes.end(), first, first + each.iov_len);
    }
    return bytes;
  }
  // The number of changed bytes outside the blocks.
  long changed_outside() const {
    auto rest = memory;
    for (const iovec& each : layout.segments)
      std::fill_n(rest.data() + (static_cast<const char*>(each.iov_base) - memory.data()), each.iov_len,
                  0x11);
    return static_cast<long>(rest.size()) - std::count(rest.begin(), rest.end(), 0x11);
  }
  std::vector<char> memory;
  Layout layout{};
};

// Copies the bytes of `data` from `offset` on to all parts of a posted receive or read.
void scatter(Transport& fixture, const Posted& posted, const std::vector<char>& data, size_t offset) {
  size_t size = 0;
  for (const iovec& part : posted.into) {
    REQUIRE(offset + size + part.iov_len <= data.size());
    std::memcpy(part.iov_base, data.data() + offset + size, part.iov_len);
    size += part.iov_len;
  }
  fixture.fabric.complete(posted, size, posted.tag);
}

}  // namespace

TEST_CASE("Push passes few blocks to the provider without packing, on both sides") {
  Transport fixture;
  const auto data = pattern(10000);
  Blocks from({3000, 1, 5000, 1999}), to({100, 200, 4700, 5000});
  size_t offset = 0;
  for (const iovec& each : from.layout.segments) {
    std::memcpy(each.iov_base, data.data() + offset, each.iov_len);
    offset += each.iov_len;
  }
  Request sent;
  fixture.send(sent, fixture.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &from.layout);
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->flags == 0);  // not packed
  fixture.fabric.complete(rts);
  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, ready->request, 10000, 4096));
  std::vector<char> arrived;
  for (const size_t parts : {3, 2, 1}) {  // 3000 + 1 + 1095; 3905 + 191; 1808
    const Posted posted = fixture.fabric.take(Call::tagged_send);
    CHECK(posted.parts == parts);
    arrived.insert(arrived.end(), posted.bytes.begin(), posted.bytes.end());
    fixture.fabric.complete(posted);
    fixture.progress();
  }
  CHECK(arrived == data);
  CHECK(sent.times == 1);

  Request request;
  fixture.receive(request, &fixture.one, 6, nullptr, 10000, &to.layout);
  fixture.arrive(fixture.ready(1, 10000), 1, 6);
  answer(fixture);
  for (const size_t at : {0, 4096, 8192}) {
    const Posted posted = fixture.fabric.take(Call::tagged_receive);
    CHECK(posted.into.size() == (at == 0 ? 3 : at == 4096 ? 2 : 1));
    scatter(fixture, posted, data, at);
    fixture.progress();
  }
  CHECK(request.times == 1);
  CHECK(to.content() == data);
  CHECK(to.changed_outside() == 0);
  CHECK(fixture.t->buffers.bytes_kept() + fixture.t->buffers.bytes_used() <= 1024);  // for an eager message
}

TEST_CASE("A clear-to-send whose pieces have more blocks than one send takes is refused") {
  Transport fixture;
  std::vector<char> memory(200000);
  Layout layout{nullptr, 0, 0, {}};
  for (size_t i = 0; i < 6; ++i) layout.segments.push_back({memory.data() + i * 30000, 20000});
  Request sent;
  fixture.send(sent, fixture.one, 5, nullptr, 120000, EFA_SEND_STANDARD, &layout);
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, sent.ready_id, 120000, 60001));
  REQUIRE(fixture.fatals.size() == 1);
  CHECK_THAT(fixture.fatals[0], Contains("impossible"));
  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, sent.ready_id, 120000, 60000));
  CHECK(fixture.fabric.count(Call::tagged_send) == 2);
}

TEST_CASE("Pull reads few blocks without packing, on both sides") {
  const auto data = pattern(10000);
  Blocks to({100, 200, 4700, 5000});
  Transport fixture;
  fixture.t->protocols.pulls = true;
  Request request;
  fixture.receive(request, &fixture.one, 5, nullptr, 10000, &to.layout);
  auto ready = fixture.ready(6, 10000);
  ready.rails = 1;
  ready.address = 0x100000;
  ready.segments = 2;
  ready.parts[0] = {0x9000, 4200};
  ready.parts[1] = {0x1000, 5800};
  fixture.arrive(ready, 1, 5);
  CHECK(fixture.fabric.registrations == 1);  // one for all blocks
  const struct {
    uint64_t address;
    size_t offset, size;
  } reads[] = {{0x109000, 0, 100},           {0x109000 + 100, 100, 200}, {0x109000 + 300, 300, 3796},
               {0x109000 + 4096, 4096, 104}, {0x101000, 4200, 800},      {0x101000 + 800, 5000, 3192},
               {0x101000 + 3992, 8192, 1808}};
  for (const auto& read : reads) {
    const Posted posted = fixture.fabric.take(Call::read);
    CHECK(posted.address == read.address);
    REQUIRE(posted.into.size() == 1);
    CHECK(posted.into[0].iov_len == read.size);
    scatter(fixture, posted, data, read.offset);
    fixture.progress();
  }
  CHECK(answer(fixture).type == ControlType::finished);
  CHECK(request.times == 1);
  CHECK(to.content() == data);
  CHECK(to.changed_outside() == 0);
}

TEST_CASE("Blocks are registered for RDMA read only if the gaps between them are small") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  std::vector<char> memory(100000);
  const size_t second = GENERATE(15000, 15001);  // 20000 bytes with 10000 of data, and one more
  Layout layout{nullptr, 0, 0, {{memory.data() + second, 5000}, {memory.data(), 5000}}};
  Request sent;
  fixture.send(sent, fixture.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &layout);
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == (second == 15000 ? 1 : 0));
  CHECK(fixture.fabric.registrations == (second == 15000 ? 1 : 0));
  if (second == 15000) {
    CHECK(ready->address == reinterpret_cast<uintptr_t>(memory.data()));
    REQUIRE(ready->segments == 2);
    CHECK(ready->parts[0].offset == 15000);
    CHECK(ready->parts[1].offset == 0);
  }
}

TEST_CASE("Other layouts up to 2 MiB are packed as a whole for pull, and in pieces for push") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  const auto data = pattern(10000);
  std::vector<char> memory(20000);
  for (size_t i = 0; i < 10000; ++i) memory[i / 100 * 200 + i % 100] = data[i];
  Layout layout{memory.data(), 100, 100};
  Request request;
  fixture.send(request, fixture.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &layout);
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  const auto ready = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(ready);
  CHECK(ready->rails == 1);
  CHECK(ready->segments == 0);
  CHECK(std::memcmp(reinterpret_cast<const void*>(ready->address), data.data(), 10000) == 0);
  CHECK(fixture.t->buffers.bytes_used() == 16384);
  fixture.fabric.complete(rts);
  if (GENERATE(true, false)) {
    fixture.arrive(fixture.control(ControlType::finished, fixture.one, request.ready_id, 10000));
  } else {
    fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, request.ready_id, 10000));
    std::vector<char> arrived;
    while (fixture.fabric.count(Call::tagged_send)) {
      const Posted posted = fixture.fabric.take(Call::tagged_send);
      arrived.insert(arrived.end(), posted.bytes.begin(), posted.bytes.end());
      CHECK(fixture.t->buffers.bytes_used() <= 2 * 4096);
      fixture.fabric.complete(posted);
      fixture.progress();
    }
    CHECK(arrived == data);
  }
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(fixture.t->buffers.bytes_used() == 0);
  CHECK(fixture.fabric.registrations == 0);

  // Without staging memory (five pages) or a registration, no buffer is kept.
  std::vector<char> more(120000);
  Layout longer{more.data(), 100, 100};
  Request sent;
  fixture.send(sent, fixture.one, 5, nullptr, 30000, EFA_SEND_STANDARD, &longer);
  CHECK(fixture.t->buffers.bytes_used() == 0);
  fixture.fabric.refuse_registration = FI_ENOMEM;
  Request u;
  fixture.send(u, fixture.one, 5, nullptr, 10000, EFA_SEND_STANDARD, &layout);
  CHECK(fixture.t->buffers.bytes_used() == 0);
}

// Messages that are read over several rails: who takes which part, and what happens when one fails.
#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;
using efa::ControlType;

namespace {

// Serves all that the first rail is asked to read, with that key, until the sender hears that it went well.
void read_all(Transport& x, const Request& r, uint64_t key, const std::vector<char>& data,
              const std::vector<char>& buffer) {
  while (x.fabric.count(Call::read)) {
    const Posted p = x.fabric.take(Call::read);
    CHECK(p.key == key);
    serve(x, p, data, p.address);
    x.progress();
  }
  CHECK(answer(x).failed == 0);
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK(buffer == data);
}

}  // namespace

TEST_CASE("Two rails share a message, each with its own key and address") {
  Transport x;
  SecondRail second(x);
  x.t->protocols.pulls = true;
  const auto data = pattern(16384);
  std::vector<char> buffer(16384);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), buffer.size());
  auto ready = x.ready(6, 16384);
  ready.rails = 2;
  ready.keys[0] = 10, ready.keys[1] = 11;
  x.arrive(ready, 1, 5);
  REQUIRE(x.fabric.count(Call::read) == 2);
  REQUIRE(second.fabric.count(Call::read) == 2);
  for (const size_t piece : {1, 3}) {
    const Posted p = second.fabric.take(Call::read);
    CHECK(p.key == 11);
    CHECK(p.peer == 77);  // what the second rail's address vector said
    CHECK(p.address == piece * 4096);
    std::memcpy(p.into[0].iov_base, data.data() + piece * 4096, 4096);
    second.fabric.complete(p, 4096);
  }
  for (const size_t piece : {0, 2}) serve(x, x.fabric.take(Call::read), data, piece * 4096);
  x.progress();
  CHECK(answer(x).failed == 0);
  CHECK(r.times == 1);
  CHECK(buffer == data);
}

TEST_CASE("While other messages are read each takes fewer rails, in turn") {
  Transport x;
  SecondRail second(x);
  x.t->protocols.pulls = true;
  x.t->protocols.read = 8 * 4096;
  const auto data = pattern(16384);
  std::vector<std::vector<char>> buffers(4, std::vector<char>(16384));
  Request r[4];
  for (int i = 0; i < 4; ++i) {
    x.receive(r[i], &x.one, 5, buffers[i].data(), buffers[i].size());
    auto ready = x.ready(6, 16384);
    ready.rails = 2;
    ready.keys[0] = 10, ready.keys[1] = 11;
    x.arrive(ready, 1, 5);
    // Alone: half a message each. Beside one: shares of 8192 bytes, still two. Beside two: one rail for all of it.
    CHECK(x.fabric.count(Call::read) == (i == 0 ? 1u : i == 1 ? 2u : 3u));
    CHECK(second.fabric.count(Call::read) == (i == 0 ? 1u : i < 3 ? 2u : 3u));
  }
  for (Fabric* fabric : {&x.fabric, &second.fabric})
    while (fabric->count(Call::read)) {
      const Posted p = fabric->take(Call::read);
      CHECK(p.key == (fabric == &x.fabric ? 10u : 11u));
      std::memcpy(p.into[0].iov_base, data.data() + p.address, p.into[0].iov_len);
      fabric->complete(p, p.into[0].iov_len);
    }
  x.progress();
  for (int i = 0; i < 4; ++i) {
    CHECK(answer(x).failed == 0);
    CHECK(r[i].times == 1);
    CHECK(buffers[i] == data);
  }
  CHECK(x.fabric.registrations + second.fabric.registrations == 0);

  // What stands in for a rail that is chosen in its turn and cannot register the memory.
  second.fabric.refuse_registration = FI_ENOMEM;
  for (int i = 0; i < 4; ++i) {
    x.receive(r[i], &x.one, 5, buffers[i].data(), buffers[i].size());
    auto ready = x.ready(6, 16384);
    ready.rails = 2;
    x.arrive(ready, 1, 5);
  }
  CHECK(x.fabric.count(Call::read) >= 4);
  CHECK(second.fabric.count(Call::read) == 0);
}

TEST_CASE("A further rail that fails is dropped with one warning, and the first takes its share") {
  Transport x;
  SecondRail second(x);
  x.t->protocols.pulls = true;
  const auto data = pattern(16384);
  for (int round = 0; round < 2; ++round) {
    std::vector<char> buffer(16384);
    Request r;
    x.receive(r, &x.one, 5, buffer.data(), buffer.size());
    auto ready = x.ready(6, 16384);
    ready.rails = 2;
    x.arrive(ready, 1, 5);
    CHECK(second.fabric.count(Call::read) == (round == 0 ? 2 : 0));
    while (second.fabric.count(Call::read))
      second.fabric.fail(second.fabric.take(Call::read).context, FI_EIO, 13);
    x.progress();
    REQUIRE(x.fabric.count(Call::read) == 4);
    read_all(x, r, 0, data, buffer);
  }
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("additional NIC fake1") && Contains("not used any more"));
}

TEST_CASE("A further rail whose endpoint breaks hands over the reads that wait for it, with one warning") {
  Transport x;
  SecondRail second(x);
  x.t->protocols.pulls = true;
  const auto data = pattern(16384);
  second.fabric.refuse.assign(1000, FI_EAGAIN);  // no handshake, and none will come
  std::vector<char> buffer(16384);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), buffer.size());
  auto ready = x.ready(6, 16384);
  ready.rails = 2;
  x.arrive(ready, 1, 5);
  CHECK(x.fabric.count(Call::read) == 2);
  CHECK(second.fabric.count(Call::read) == 0);
  second.fabric.events.assign(3, FI_ECANCELED);  // one for each buffer that the endpoint had posted
  x.progress();
  REQUIRE(x.fabric.count(Call::read) == 4);
  read_all(x, r, 0, data, buffer);
  CHECK(x.t->pending.empty());
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("additional NIC fake1") && Contains("not used any more"));
}

TEST_CASE("Where a further NIC cannot register the memory, the message goes over those that can") {
  Transport x;
  SecondRail second(x);
  x.t->protocols.pulls = true;
  second.fabric.refuse_registration = FI_ENOMEM;
  const auto data = pattern(16384);
  Request s;
  x.send(s, x.one, 5, data.data(), data.size());
  const Posted rts = x.fabric.take(Call::tagged_send);
  const auto offered = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(offered);
  CHECK(offered->rails == 1);
  CHECK(x.fabric.registrations == 1);
  x.fabric.complete(rts);
  x.arrive(x.control(ControlType::finished, x.one, s.ready_id, data.size()));
  CHECK(s.times == 1);
  CHECK(x.fabric.registrations == 0);

  std::vector<char> buffer(16384);
  Request r;
  x.receive(r, &x.one, 5, buffer.data(), buffer.size());
  auto ready = x.ready(6, 16384);
  ready.rails = 2;
  ready.keys[0] = 10, ready.keys[1] = 11;
  x.arrive(ready, 1, 5);
  CHECK(second.fabric.count(Call::read) == 0);
  read_all(x, r, 10, data, buffer);
  CHECK(x.fabric.registrations == 0);
  CHECK(x.reports.empty());
}

// Pull over several rails: the distribution of the message, and the failure of a rail.
#include "catch.hpp"
#include "fake_transport.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/wire.hpp"

using namespace fake;
using efa::ControlType;

namespace {

// Completes all reads with that key on rail 0 until the sender gets `finished`.
void read_all(Transport& fixture, const Request& request, uint64_t key, const std::vector<char>& data,
              const std::vector<char>& buffer) {
  while (fixture.fabric.count(Call::read)) {
    const Posted posted = fixture.fabric.take(Call::read);
    CHECK(posted.key == key);
    serve(fixture, posted, data, posted.address);
    fixture.progress();
  }
  CHECK(answer(fixture).failed == 0);
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(buffer == data);
}

}  // namespace

TEST_CASE("Two rails share a message, each with its own memory key and address") {
  Transport fixture;
  SecondRail second(fixture);
  fixture.t->protocols.pulls = true;
  const auto data = pattern(16384);
  std::vector<char> buffer(16384);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
  auto ready = fixture.ready(6, 16384);
  ready.rails = 2;
  ready.keys[0] = 10, ready.keys[1] = 11;
  fixture.arrive(ready, 1, 5);
  REQUIRE(fixture.fabric.count(Call::read) == 2);
  REQUIRE(second.fabric.count(Call::read) == 2);
  for (const size_t piece : {1, 3}) {
    const Posted posted = second.fabric.take(Call::read);
    CHECK(posted.key == 11);
    CHECK(posted.peer == 77);  // the address from the second rail's address vector
    CHECK(posted.address == piece * 4096);
    std::memcpy(posted.into[0].iov_base, data.data() + piece * 4096, 4096);
    second.fabric.complete(posted, 4096);
  }
  for (const size_t piece : {0, 2}) serve(fixture, fixture.fabric.take(Call::read), data, piece * 4096);
  fixture.progress();
  CHECK(answer(fixture).failed == 0);
  CHECK(request.times == 1);
  CHECK(buffer == data);
}

TEST_CASE("While several messages are read, each uses fewer rails, round robin") {
  Transport fixture;
  SecondRail second(fixture);
  fixture.t->protocols.pulls = true;
  fixture.t->protocols.read = 8 * 4096;
  const auto data = pattern(16384);
  std::vector<std::vector<char>> buffers(4, std::vector<char>(16384));
  Request request[4];
  for (int i = 0; i < 4; ++i) {
    fixture.receive(request[i], &fixture.one, 5, buffers[i].data(), buffers[i].size());
    auto ready = fixture.ready(6, 16384);
    ready.rails = 2;
    ready.keys[0] = 10, ready.keys[1] = 11;
    fixture.arrive(ready, 1, 5);
    // Alone: half of the message on each rail. With another message: shares of 8192 bytes, still two rails. With two
    // others: one rail for all of it.
    CHECK(fixture.fabric.count(Call::read) == (i == 0 ? 1u : i == 1 ? 2u : 3u));
    CHECK(second.fabric.count(Call::read) == (i == 0 ? 1u : i < 3 ? 2u : 3u));
  }
  for (Fabric* fabric : {&fixture.fabric, &second.fabric})
    while (fabric->count(Call::read)) {
      const Posted posted = fabric->take(Call::read);
      CHECK(posted.key == (fabric == &fixture.fabric ? 10u : 11u));
      std::memcpy(posted.into[0].iov_base, data.data() + posted.address, posted.into[0].iov_len);
      fabric->complete(posted, posted.into[0].iov_len);
    }
  fixture.progress();
  for (int i = 0; i < 4; ++i) {
    CHECK(answer(fixture).failed == 0);
    CHECK(request[i].times == 1);
    CHECK(buffers[i] == data);
  }
  CHECK(fixture.fabric.registrations + second.fabric.registrations == 0);

  // The substitute for a chosen rail that cannot register the memory.
  second.fabric.refuse_registration = FI_ENOMEM;
  for (int i = 0; i < 4; ++i) {
    fixture.receive(request[i], &fixture.one, 5, buffers[i].data(), buffers[i].size());
    auto ready = fixture.ready(6, 16384);
    ready.rails = 2;
    fixture.arrive(ready, 1, 5);
  }
  CHECK(fixture.fabric.count(Call::read) >= 4);
  CHECK(second.fabric.count(Call::read) == 0);
}

TEST_CASE("An additional rail that fails is dropped with one warning, and rail 0 takes its share") {
  Transport fixture;
  SecondRail second(fixture);
  fixture.t->protocols.pulls = true;
  const auto data = pattern(16384);
  for (int round = 0; round < 2; ++round) {
    std::vector<char> buffer(16384);
    Request request;
    fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
    auto ready = fixture.ready(6, 16384);
    ready.rails = 2;
    fixture.arrive(ready, 1, 5);
    CHECK(second.fabric.count(Call::read) == (round == 0 ? 2 : 0));
    while (second.fabric.count(Call::read))
      second.fabric.fail(second.fabric.take(Call::read).context, FI_EIO, 13);
    fixture.progress();
    REQUIRE(fixture.fabric.count(Call::read) == 4);
    read_all(fixture, request, 0, data, buffer);
  }
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("additional NIC fake1") && Contains("not used any more"));
}

TEST_CASE("An additional rail whose endpoint breaks passes its waiting reads to rail 0, with one warning") {
  Transport fixture;
  SecondRail second(fixture);
  fixture.t->protocols.pulls = true;
  const auto data = pattern(16384);
  second.fabric.refuse.assign(1000, FI_EAGAIN);  // the handshake never completes
  std::vector<char> buffer(16384);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
  auto ready = fixture.ready(6, 16384);
  ready.rails = 2;
  fixture.arrive(ready, 1, 5);
  CHECK(fixture.fabric.count(Call::read) == 2);
  CHECK(second.fabric.count(Call::read) == 0);
  second.fabric.events.assign(3, FI_ECANCELED);  // one for each posted buffer of the endpoint
  fixture.progress();
  REQUIRE(fixture.fabric.count(Call::read) == 4);
  read_all(fixture, request, 0, data, buffer);
  CHECK(fixture.t->pending.empty());
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("additional NIC fake1") && Contains("not used any more"));
}

TEST_CASE("If an additional NIC cannot register the memory, the others carry the message") {
  Transport fixture;
  SecondRail second(fixture);
  fixture.t->protocols.pulls = true;
  second.fabric.refuse_registration = FI_ENOMEM;
  const auto data = pattern(16384);
  Request sent;
  fixture.send(sent, fixture.one, 5, data.data(), data.size());
  const Posted rts = fixture.fabric.take(Call::tagged_send);
  const auto offered = efa::parse_ready_to_send(rts.bytes.data(), rts.bytes.size());
  REQUIRE(offered);
  CHECK(offered->rails == 1);
  CHECK(fixture.fabric.registrations == 1);
  fixture.fabric.complete(rts);
  fixture.arrive(fixture.control(ControlType::finished, fixture.one, sent.ready_id, data.size()));
  CHECK(sent.times == 1);
  CHECK(fixture.fabric.registrations == 0);

  std::vector<char> buffer(16384);
  Request request;
  fixture.receive(request, &fixture.one, 5, buffer.data(), buffer.size());
  auto ready = fixture.ready(6, 16384);
  ready.rails = 2;
  ready.keys[0] = 10, ready.keys[1] = 11;
  fixture.arrive(ready, 1, 5);
  CHECK(second.fabric.count(Call::read) == 0);
  read_all(fixture, request, 10, data, buffer);
  CHECK(fixture.fabric.registrations == 0);
  CHECK(fixture.reports.empty());
}

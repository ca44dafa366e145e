// Peers that do not answer pings while this process waits for them: a warning, then everything with them ends.
#include "health/liveness.hpp"

#include <cstdlib>
#include <cstring>
#include <set>

#include "catch.hpp"
#include "fake_transport.hpp"
#include "peers/card.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "peers/ping.hpp"

using namespace fake;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// Answers for the processes that are alive.
struct FakePinger : efa::Pinger {
  explicit FakePinger(std::set<uint64_t>& those_alive) : alive(those_alive) {}
  void ping(const efa::PingAddress&, uint64_t id) override {
    ++pings;
    if (alive.count(id)) answers.push_back({id, refusing.count(id) > 0});
  }
  std::vector<efa::PingAnswer> take_answers() override { return std::exchange(answers, {}); }
  void give_up(uint64_t secret) override { given_up.push_back(secret); }
  std::set<uint64_t>& alive;
  std::set<uint64_t> refusing;
  std::vector<efa::PingAnswer> answers;
  std::vector<uint64_t> given_up;
  unsigned pings = 0;
};

// Ranks 1 and 2 on host "there" can be asked; a peer fails after ten seconds, with a warning after four.
struct Alive : Transport {
  Alive() {
    t->liveness.~Liveness();
    new (&t->liveness) efa::Liveness(10 * kSecond, 4 * kSecond);
    auto made = std::make_unique<FakePinger>(alive);
    pinger = made.get();
    t->liveness.start(std::move(made));
    t->config.card = [](uint64_t uid, size_t* size) -> void* {
      efa::Card card;
      card.provider = "efa";
      card.address = {1};
      card.ping.port = static_cast<uint16_t>(uid);
      card.ping.secret = 7 * uid;
      const auto bytes = card.serialize();
      *size = bytes.size();
      void* copy = std::malloc(bytes.size());
      std::memcpy(copy, bytes.data(), bytes.size());
      return copy;
    };
    t->liveness.hello(one.hostname, address(), one.uid);
  }
  static efa::PingAddress address() {
    efa::PingAddress somewhere;
    somewhere.port = 1;
    return somewhere;
  }
  // Polls for this many seconds.
  void wait(unsigned seconds) {
    for (unsigned i = 0; i < seconds; ++i) {
      progress();
      t->liveness.look(t, now += kSecond);
      progress();
    }
  }
  std::set<uint64_t> alive{1001, 1002};
  FakePinger* pinger;
  uint64_t now = efa::monotonic_ns() + kSecond / 2;
};

char buffer[4096];

}  // namespace

TEST_CASE("Without another process on the host of a silent peer, nothing is said about such a process") {
  Alive fixture;
  fixture.two.hostname = "elsewhere";
  Request request;
  fixture.receive(request, &fixture.one, 3, buffer, 8);
  fixture.wait(10);  // a process of its host has answered
  fixture.alive.clear();
  fixture.wait(20);
  REQUIRE(fixture.reports.size() == 2);
  for (const auto& report : fixture.reports)
    CHECK_THAT(report,
               Contains("No other process of that host could be asked") && !Contains("nor has any other"));
}

TEST_CASE("A peer that answers is waited for, however long") {
  Alive fixture;
  Request request;
  fixture.receive(request, &fixture.one, 3, buffer, 8);
  fixture.wait(100000);
  CHECK(request.times == 0);
  CHECK(fixture.reports.empty());
  CHECK(fixture.pinger->pings > 1000);
}

TEST_CASE("Nothing is asked while operations complete, and while none is open") {
  Alive fixture;
  fixture.wait(100);
  CHECK(fixture.pinger->pings == 1);  // the first of the host
  for (int i = 0; i < 100; ++i) {
    Request request;
    fixture.receive(request, &fixture.one, 3, buffer, 8);
    fixture.wait(3);
    fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 3), 1, "12345678", 8);
    fixture.progress();
    CHECK(request.times == 1);
  }
  CHECK(fixture.pinger->pings == 1);
}

TEST_CASE("A peer that stops answering is warned about, then its operations fail; those of others go on") {
  Alive fixture;
  Request from_one, from_two, from_any, send, exact;
  const auto envelope = fixture.to(1, 9);
  exact.data = {buffer, 8, nullptr};
  REQUIRE(efa_try_recv(fixture.t, &exact, &fixture.one, &envelope));
  fixture.receive(from_one, &fixture.one, 3, buffer, 8);
  fixture.receive(from_two, &fixture.two, 3, buffer, 8);
  fixture.receive(from_any, nullptr, 4, buffer, 8);
  fixture.send(send, fixture.one, 5, buffer, 4096);  // a rendezvous
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.wait(20);
  fixture.alive = {1002};
  fixture.wait(6);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("rank 1 on host there (NIC fake9) has not answered for 4 s") &&
                                     Contains("Its host answers, so the process was stopped") &&
                                     Contains("mtl_efa_peer_timeout"));
  CHECK(from_one.times + from_any.times + send.times + exact.times == 0);
  fixture.wait(6);
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1], Contains("gives up a peer: rank 1 on host there") && Contains("for 10 s"));
  for (const Request* request : {&from_one, &from_any, &send, &exact}) {
    CHECK(request->times == 1);
    CHECK(request->status.result == EFA_UNREACHABLE);
  }
  CHECK(from_two.times == 0);
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 2, 3), 2, "12345678", 8);
  fixture.progress();
  CHECK(from_two.times == 1);
  CHECK(from_two.status.result == EFA_SUCCESS);
  // What begins later ends at once, on the short path too.
  Request later;
  fixture.receive(later, &fixture.one, 3, buffer, 8);
  CHECK(later.status.result == EFA_UNREACHABLE);
  CHECK_FALSE(efa_try_recv(fixture.t, &exact, &fixture.one, &envelope));
  CHECK(fixture.fatals.empty());
}

TEST_CASE("A peer that is given up is told so when it asks") {
  Alive fixture;
  Request from_one;
  fixture.receive(from_one, &fixture.one, 3, buffer, 8);
  fixture.wait(20);
  CHECK(fixture.pinger->given_up.empty());
  fixture.alive = {1002};
  fixture.wait(12);
  REQUIRE(from_one.times == 1);
  CHECK(fixture.pinger->given_up == std::vector<uint64_t>{7 * fixture.one.uid});
}

TEST_CASE("A peer that has given up this process fails at once; others go on") {
  Alive fixture;
  Request from_one, from_two, from_any;
  fixture.receive(from_one, &fixture.one, 3, buffer, 8);
  fixture.receive(from_two, &fixture.two, 3, buffer, 8);
  fixture.receive(from_any, nullptr, 4, buffer, 8);
  fixture.wait(20);
  CHECK(from_one.times == 0);
  fixture.pinger->refusing = {fixture.one.uid};
  fixture.wait(2);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("rank 1 on host there (NIC fake9) has given up Rank"));
  for (const Request* request : {&from_one, &from_any}) {
    CHECK(request->times == 1);
    CHECK(request->status.result == EFA_UNREACHABLE);
  }
  CHECK(from_two.times == 0);
  Request later;
  fixture.send(later, fixture.one, 3, buffer, 8);
  CHECK(later.status.result == EFA_UNREACHABLE);
  fixture.wait(20);
  CHECK(fixture.reports.size() == 1);
  CHECK(fixture.fatals.empty());
}

TEST_CASE("A control message that cannot be delivered fails its peer, which learns of it") {
  Alive fixture;
  const bool told = GENERATE(true, false);  // whether pings get through to its host
  if (!told) fixture.pinger->answers.clear();
  Request from_one, from_two;
  fixture.receive(from_one, &fixture.one, 3, buffer, sizeof buffer);
  fixture.receive(from_two, &fixture.two, 3, buffer, 8);
  const auto ready = fixture.ready(1, sizeof buffer);
  fixture.fabric.arrive(fixture.bits(efa::kKindRts, 1, 3), 1, &ready, ready.size());
  fixture.progress();
  fixture.fabric.fail(fixture.fabric.take(Call::send).context, FI_EHOSTUNREACH);  // the clear-to-send message
  fixture.progress();
  fixture.progress();  // the receives of pieces are cancelled
  if (!told) {
    REQUIRE(fixture.fatals.size() == 1);
    CHECK_THAT(fixture.fatals[0], Contains("could not be delivered"));
    return;
  }
  CHECK(fixture.fatals.empty());
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1],
             Contains("gives up rank 1 on host there") && Contains("could not be delivered"));
  CHECK(fixture.pinger->given_up == std::vector<uint64_t>{7 * fixture.one.uid});
  CHECK(from_one.times == 1);
  CHECK(from_one.status.result == EFA_UNREACHABLE);
  CHECK(from_two.times == 0);
}

TEST_CASE("A peer that answers again is forgiven, and that is said after a warning") {
  Alive fixture;
  Request request;
  fixture.receive(request, &fixture.one, 3, buffer, 8);
  fixture.wait(10);
  fixture.alive = {1002};
  fixture.wait(8);
  CHECK(fixture.reports.size() == 1);
  fixture.alive = {1001, 1002};
  fixture.wait(8);
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1], Contains("rank 1 on host there (NIC fake9) answers rank 0 again"));
  fixture.alive = {1002};
  fixture.wait(8);
  CHECK(fixture.reports.size() == 3);
  CHECK(request.times == 0);
}

TEST_CASE("If no process of a host answers any more, the host or its network is named") {
  Alive fixture;
  Request request;
  fixture.receive(request, &fixture.one, 3, buffer, 8);
  fixture.wait(10);
  fixture.alive.clear();
  fixture.wait(20);
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1],
             Contains("nor has any other process of that host") && Contains("the network to it is down"));
  CHECK(request.status.result == EFA_UNREACHABLE);
}

TEST_CASE("A host that never answered is not judged: a firewall may block UDP") {
  Alive fixture;
  fixture.alive.clear();
  fixture.pinger->answers.clear();
  Request request;
  fixture.receive(request, &fixture.one, 3, buffer, 8);
  fixture.wait(1000);
  CHECK(request.times == 0);
  CHECK(fixture.reports.empty());
}

TEST_CASE("A receive from any source does not depend on processes of other jobs, which may leave") {
  Alive fixture;
  fixture.one.own_job = false;
  Request request;
  fixture.receive(request, nullptr, 3, buffer, 8);
  fixture.wait(10);
  fixture.alive = {1002};
  fixture.wait(100);
  CHECK(request.times == 0);
  CHECK(fixture.reports.empty());
}

TEST_CASE("The job ends if the provider keeps the memory of a send to a peer that has failed") {
  Alive fixture;
  Request receive, send;
  fixture.receive(receive, &fixture.one, 3, buffer, 8);
  fixture.send(send, fixture.one, 5, buffer, 500);  // posted, and never completed
  fixture.wait(10);
  fixture.alive = {1002};
  fixture.wait(12);
  CHECK(receive.status.result == EFA_UNREACHABLE);
  CHECK(send.times == 0);
  CHECK(fixture.fatals.empty());
  fixture.wait(12);
  REQUIRE_FALSE(fixture.fatals.empty());
  CHECK_THAT(fixture.fatals[0], Contains("rank 1 on host there") && Contains("does not return the memory"));
}

TEST_CASE("More peers than are asked at once are asked by turns") {
  Alive fixture;
  std::vector<efa_peer*> peers;
  for (uint64_t i = 0; i < 500; ++i) {
    efa_peer* peer = fixture.t->peers.add();
    *peer = efa_peer{};
    peer->state = efa::PeerState::live;
    peer->uid = 5000 + i;
    peer->world_rank = static_cast<int32_t>(10 + i);
    peer->hostname = "there";
    peer->nic = "fake9";
    if (i != 333) fixture.alive.insert(peer->uid);
    peers.push_back(peer);
  }
  Request request;
  fixture.receive(request, nullptr, 3, buffer, 8);
  fixture.wait(15);
  const unsigned before = fixture.pinger->pings;
  fixture.wait(1);
  CHECK(fixture.pinger->pings - before <= 2 * efa::Liveness::kPingsPerTick);
  fixture.wait(60);
  REQUIRE_FALSE(fixture.reports.empty());
  CHECK_THAT(fixture.reports.back(), Contains("rank 343 on host there"));
  CHECK(request.status.result == EFA_UNREACHABLE);
}

// What is pending: each kind of operation in each state, with its peer and its age; on a signal, and after a time.
#include "health/watchdog.hpp"

#include <csignal>

#include "catch.hpp"
#include "fake_transport.hpp"
#include "peers/pending.hpp"
#include "protocol/wire.hpp"

using namespace fake;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

struct Watched : Transport {
  explicit Watched(uint64_t timeout = 0, int signal = 0) {
    t->watchdog = std::make_unique<efa::Watchdog>(timeout * kSecond, signal);
  }
  void wait(unsigned seconds) {
    for (unsigned i = 0; i < seconds; ++i) {
      progress();
      t->watchdog->look(t, now += kSecond);
    }
  }
  std::string describe() { return t->watchdog->describe(t); }
  uint64_t now = efa::monotonic_ns() + kSecond / 2;
};

char buffer[1 << 16];

}  // namespace

TEST_CASE("Each operation is described with its peer, tag, length, age and state") {
  Watched fixture;
  CHECK_THAT(fixture.describe(), Contains("Rank 0 on host here (efa, NIC fake0): no operation is pending"));

  Request exact, any, eager, synchronous, rendezvous;
  const auto envelope = fixture.to(1, 9);
  exact.data = {buffer, 8, nullptr};
  REQUIRE(efa_try_recv(fixture.t, &exact, &fixture.one, &envelope));
  fixture.receive(any, nullptr, EFA_ANY_TAG, buffer, 16);
  fixture.send(eager, fixture.one, 5, buffer, 500);
  fixture.send(synchronous, fixture.two, 6, buffer, 10, EFA_SEND_SYNCHRONOUS);
  fixture.send(rendezvous, fixture.two, -17, buffer, 50000);
  fixture.wait(5);
  const std::string text = fixture.describe();
  CHECK_THAT(text, Contains("5 operations are pending"));
  CHECK_THAT(text, Contains("receive from rank 1 on host there (NIC fake9), tag 9, up to 8 bytes, for 4 s: "
                            "no message has matched it"));
  CHECK_THAT(
      text, Contains("receive from any source, any tag, up to 16 bytes, for 4 s: no message has matched it"));
  CHECK_THAT(text, Contains("send to rank 1 on host there (NIC fake9), tag 5, 500 bytes, for 4 s: eager: the "
                            "provider has not"));
  CHECK_THAT(text, Contains("tag 6, 10 bytes, for 4 s: synchronous: sent, the receiver has not matched it"));
  CHECK_THAT(text, Contains("tag -17 (a collective operation), 50000 bytes, for 4 s: rendezvous: announced"));

  // The rendezvous goes on; the others end.
  while (fixture.fabric.count(Call::tagged_send))
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  fixture.arrive(fixture.control(efa::ControlType::acknowledge, fixture.two, synchronous.ready_id));
  fixture.arrive(fixture.control(efa::ControlType::clear_to_send, fixture.two, rendezvous.ready_id, 50000));
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 9), 1, "12345678", 8);
  fixture.progress();
  const std::string later = fixture.describe();
  CHECK_THAT(later,
             Contains("2 operations are pending") && Contains("any source") &&
                 Contains("rendezvous: the receiver has asked for the data, 0 of 13 pieces are complete"));
}

TEST_CASE("A receive of a rendezvous, and an operation that the provider refuses") {
  Watched fixture;
  Request receive, refused;
  fixture.receive(receive, &fixture.one, 3, buffer, 50000);
  fixture.arrive(fixture.ready(77, 50000), 1, 3);
  CHECK_THAT(fixture.describe(),
             Contains("tag 3, up to 50000 bytes, for less than 2 s: rendezvous: matched, the sender sends "
                      "the data, 0 of 13 pieces are complete"));
  fixture.fabric.full = [](const Posted& posted) { return posted.call == Call::tagged_send; };
  fixture.send(refused, fixture.two, 8, buffer, 200);
  CHECK_THAT(fixture.describe(),
             Contains("tag 8, 200 bytes, for less than 2 s: not posted: the provider takes no more"));
}

TEST_CASE("Many operations: some, and the number of the others") {
  Watched fixture;
  std::vector<Request> requests(1000);
  for (Request& request : requests) fixture.receive(request, &fixture.one, 3, buffer, 8);
  const std::string text = fixture.describe();
  CHECK_THAT(text, Contains("1000 operations are pending") && Contains("and 984 more"));
  CHECK(text.size() < 4096);  // the component's report has room for as much
}

TEST_CASE("After the time each late operation is reported once") {
  Watched fixture(10);
  Request one, two;
  fixture.receive(one, &fixture.one, 3, buffer, 8);
  fixture.wait(10);
  CHECK(fixture.reports.empty());
  fixture.wait(100);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("tag 3, up to 8 bytes, for 10 s"));
  fixture.receive(two, &fixture.two, 4, buffer, 8);
  fixture.wait(100);
  CHECK(fixture.reports.size() == 2);
}

TEST_CASE("On the signal it is printed at the next look, once; a program's own action stays") {
  {
    Watched fixture(0, SIGUSR2);
    Request request;
    fixture.receive(request, &fixture.one, 3, buffer, 8);
    fixture.wait(2);
    CHECK(fixture.reports.empty());
    raise(SIGUSR2);
    fixture.t->watchdog->look(fixture.t, fixture.now);
    fixture.wait(2);
    REQUIRE(fixture.reports.size() == 1);
    CHECK_THAT(fixture.reports[0], Contains("1 operation is pending"));
  }
  struct sigaction now;
  REQUIRE(sigaction(SIGUSR2, nullptr, &now) == 0);
  CHECK(now.sa_handler == SIG_DFL);  // it was taken away

  static int came = 0;
  signal(SIGUSR2, [](int) { ++came; });
  {
    Watched fixture(0, SIGUSR2);
    raise(SIGUSR2);
    fixture.wait(2);
    CHECK(fixture.reports.empty());
  }
  CHECK(came == 1);
  raise(SIGUSR2);
  CHECK(came == 2);
  signal(SIGUSR2, SIG_DFL);
}

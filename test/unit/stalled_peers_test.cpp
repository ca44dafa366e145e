// Stalled peers: operations wait for them, or their NICs do not acknowledge messages (unacknowledged.hpp). One warning names them, and at
// the user's deadline the peer fails as a whole.
#include "catch.hpp"
#include "fake_transport.hpp"
#include "health/stalled_peers.hpp"
#include "health/unacknowledged.hpp"
#include "peers/pending.hpp"
#include "protocol/wire.hpp"

using namespace fake;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// The provider refuses operations for blocked peers. Warnings come after two seconds.
struct Stalled : Transport {
  explicit Stalled(uint64_t deadline = 0) {
    t->stalls = efa::StalledPeers(2 * kSecond, deadline * kSecond);
    if (deadline != 0) t->slow_path = 1;
    fabric.full = [this](const Posted& posted) {
      const bool sends =
          posted.call == Call::send || posted.call == Call::tagged_send || posted.call == Call::inject;
      return (sends && (posted.peer == one.address ? one_blocked : two_blocked)) ||
             (posted.call == Call::tagged_receive && receives_blocked);
    };
  }
  bool one_blocked = true, two_blocked = false, receives_blocked = false;
  // Polls without progress for this many seconds.
  void wait(unsigned seconds) {
    for (unsigned i = 0; i < seconds; ++i) {
      efa_progress(t);
      t->stalls.look(t, now += kSecond);
    }
  }
  uint64_t now = efa::monotonic_ns() + kSecond / 2;
};

const auto data = pattern(5000);

}  // namespace

TEST_CASE("Refusals never fail a send; one warning names peer, operations and remedies") {
  Stalled fixture;
  std::vector<std::unique_ptr<Request>> requests;
  for (int i = 0; i < 1000; ++i) {
    requests.push_back(std::make_unique<Request>());
    fixture.send(*requests.back(), fixture.one, i, data.data(), 100);
  }
  Request synchronous;
  char byte = 0;
  const char message[1 + sizeof(efa::SyncTrailer)] = {};
  fixture.receive(synchronous, &fixture.one, 7, &byte, 1);
  fixture.fabric.arrive(fixture.bits(efa::kKindSync, 1, 7), 1, message,
                        sizeof message);  // to be acknowledged
  fixture.wait(2);
  CHECK(fixture.reports.empty());
  fixture.wait(100000);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0],
             Contains("Rank 0 on host here (efa, NIC fake0)") && Contains("for 2 s") &&
                 Contains("rank 1 on host there (NIC fake9): 1000 messages, 1 control message") &&
                 Contains("compute without calling MPI") && Contains("security group") &&
                 Contains("mtl_efa_stall_warning") && Contains("mtl_efa_send_timeout"));
  Request other;
  fixture.send(other, fixture.two, 1, data.data(), 100);  // another peer is not affected
  CHECK(fixture.fabric.count(Call::tagged_send) == 1);
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(other.times == 1);

  fixture.one_blocked = false;
  efa_progress(fixture.t);
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1], Contains("rank 1 on host there (NIC fake9) takes messages of rank 0 again"));
  for (int i = 0; i < 1000; ++i) {
    const Posted posted = fixture.fabric.take(Call::tagged_send);
    CHECK(fixture.t->tags.tag(posted.tag) == i);
    fixture.fabric.complete(posted);
  }
  fixture.progress();
  for (const auto& request : requests) CHECK((request->times == 1 && request->status.result == EFA_SUCCESS));
  CHECK(fixture.fatals.empty());
}

TEST_CASE("Progress of the peer, and time without polling, delay the warning") {
  Stalled fixture;
  const bool posts_another = GENERATE(true, false);
  Request first, second, third;
  fixture.one_blocked = false;
  fixture.send(first, fixture.one, 1, data.data(), 100);
  fixture.one_blocked = true;
  fixture.send(second, fixture.one, 2, data.data(), 100);
  fixture.send(third, fixture.one, 3, data.data(), 100);
  fixture.wait(2);
  bool once = true;
  if (posts_another) {  // one of the waiting sends
    fixture.fabric.full = [&](const Posted& posted) {
      return posted.call == Call::tagged_send && !std::exchange(once, false);
    };
  } else {
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  }
  fixture.wait(2);
  CHECK(fixture.reports.empty());
  fixture.now += 100 * kSecond;  // without polling
  fixture.t->stalls.look(fixture.t, fixture.now);
  CHECK(fixture.reports.size() == 1);  // one second of it counts
  fixture.wait(10);
  CHECK(fixture.reports.size() == 1);
}

TEST_CASE("Several stalled peers share a warning; a time of 0 switches it off") {
  Stalled fixture;
  const bool off = GENERATE(false, true);
  if (off) fixture.t->stalls = efa::StalledPeers(0, 0);
  fixture.two_blocked = true;
  Request first, second;
  fixture.send(first, fixture.one, 1, data.data(), 100);
  fixture.send(second, fixture.two, 1, data.data(), data.size());
  fixture.wait(10);
  REQUIRE(fixture.reports.size() == (off ? 0 : 1));
  if (!off)
    CHECK_THAT(fixture.reports[0], Contains("rank 1 on host there (NIC fake9): 1 message") &&
                                       Contains("rank 2 on host there (NIC fake9): 1 message"));
}

TEST_CASE("Control messages and receives never expire") {
  Stalled fixture;
  fixture.receives_blocked = true;
  char bytes[10];
  Request request;
  fixture.receive(request, &fixture.one, 3, bytes, 10);
  fixture.wait(100000);
  CHECK(request.times == 0);
  CHECK(fixture.reports.empty());
  fixture.receives_blocked = false;
  efa_progress(fixture.t);
  fixture.fabric.arrive(fixture.bits(efa::kKindSync, 1, 3), 1, bytes, 1 + sizeof(efa::SyncTrailer));
  fixture.wait(100000);  // the acknowledgement is refused
  CHECK(fixture.fatals.empty());
  CHECK(request.times == 1);
  fixture.one_blocked = false;
  efa_progress(fixture.t);
  CHECK(answer(fixture).type == efa::ControlType::acknowledge);
}

TEST_CASE("At the deadline the peer fails as a whole, with one report, and no later message is sent") {
  Stalled fixture(5);
  std::vector<std::unique_ptr<Request>> waiting;
  fixture.one_blocked = false;
  Request posted, synchronous, announced, received, any, other;
  fixture.send(posted, fixture.one, 1, data.data(), 100);
  fixture.send(synchronous, fixture.one, 2, data.data(), 100, EFA_SEND_SYNCHRONOUS);
  fixture.send(announced, fixture.one, 3, data.data(), data.size());
  for (int i = 0; i < 3; ++i) fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(posted.times == 1);
  std::vector<char> into(data.size()), from_any(data.size());
  fixture.receive(received, &fixture.one, 9, into.data(), into.size());
  fixture.receive(any, nullptr, 10, from_any.data(), from_any.size());
  fixture.one_blocked = true;
  for (const size_t size : {100, 5000, 200}) {
    waiting.push_back(std::make_unique<Request>());
    fixture.send(*waiting.back(), fixture.one, 4, data.data(), size);
  }
  fixture.wait(6);
  fixture.progress();                    // posted receives are cancelled
  REQUIRE(fixture.reports.size() == 2);  // the warning and the failure
  CHECK_THAT(fixture.reports[1], Contains("gives up rank 1 on host there (NIC fake9)") &&
                                     Contains("for 5 s") && Contains("mtl_efa_send_timeout"));
  for (const auto& request : waiting)
    CHECK((request->times == 1 && request->status.result == EFA_UNREACHABLE));
  for (Request* request : {&synchronous, &announced, &received})
    CHECK((request->times == 1 && request->status.result == EFA_UNREACHABLE));
  CHECK(any.times == 0);
  CHECK(fixture.t->pending.empty());

  // The provider would accept it now, but earlier messages are lost.
  fixture.one_blocked = false;
  Request later, later_received;
  fixture.send(later, fixture.one, 4, data.data(), 100);
  CHECK((later.times == 1 && later.status.result == EFA_UNREACHABLE));
  const auto envelope = fixture.to(1, 4);
  const char byte = 'x';
  CHECK_FALSE(efa_try_inject(fixture.t, &fixture.one, &envelope, &byte, 1));
  later_received.op.peer = &fixture.one;
  later_received.data = {into.data(), 1, nullptr};
  CHECK_FALSE(efa_try_recv(fixture.t, &later_received, &fixture.one, &envelope));
  fixture.receive(later_received, &fixture.one, 4, into.data(), 1);
  CHECK((later_received.times == 1 && later_received.status.result == EFA_UNREACHABLE));
  bool found = false;
  efa_status status{};
  CHECK(efa_probe(fixture.t, &fixture.one, nullptr, &envelope, &found, &status) == EFA_UNREACHABLE);
  CHECK(fixture.fabric.count(Call::tagged_send) + fixture.fabric.count(Call::inject) +
            fixture.fabric.count(Call::send) ==
        0);

  // Answers of the peer to operations that have ended are late, and no error.
  fixture.arrive(fixture.control(efa::ControlType::clear_to_send, fixture.one, announced.ready_id, 5000));
  fixture.arrive(fixture.control(efa::ControlType::acknowledge, fixture.one, synchronous.ready_id));
  // A receive from any source still matches its message, but fails if it needs an answer to the peer.
  fixture.arrive(fixture.ready(7, 5000), 1, 10);
  CHECK((any.times == 1 && any.status.result == EFA_UNREACHABLE));
  CHECK(fixture.fatals.empty());
  CHECK(fixture.reports.size() == 2);

  fixture.send(other, fixture.two, 1, data.data(), 100);  // other peers are not affected
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK((other.times == 1 && other.status.result == EFA_SUCCESS));
}

TEST_CASE("Transfers with a failed peer end when the provider has returned their memory") {
  Stalled fixture(3);
  fixture.one_blocked = false;
  std::vector<char> into(20000);
  const auto long_data = pattern(20000);
  Request receives, sends;
  fixture.receive(receives, &fixture.one, 5, into.data(), into.size());
  fixture.arrive(fixture.ready(6, into.size()), 1, 5);
  answer(fixture);
  fixture.send(sends, fixture.one, 6, long_data.data(), long_data.size());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  fixture.arrive(fixture.control(efa::ControlType::clear_to_send, fixture.one, sends.ready_id, 20000));
  REQUIRE(fixture.fabric.count(Call::tagged_send) == 2);  // pieces
  fixture.one_blocked = true;
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.wait(6);
  fixture.progress();
  CHECK(receives.times == 1);
  CHECK(receives.status.result == EFA_UNREACHABLE);
  CHECK(sends.times == 0);  // the provider still has its other piece
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(sends.times == 1);
  CHECK(sends.status.result == EFA_UNREACHABLE);
  CHECK(fixture.t->transfers == nullptr);
  CHECK(fixture.one.pieces_sent == 0);
  CHECK(fixture.t->pending.empty());
}

TEST_CASE("Reads that a further NIC refuses for long go over the first NIC") {
  Stalled fixture;
  SecondRail second(fixture);
  fixture.t->protocols.pulls = true;
  fixture.one_blocked = false;
  second.fabric.full = [](const Posted&) { return true; };
  std::vector<char> into(16384);
  Request request;
  fixture.receive(request, &fixture.one, 5, into.data(), into.size());
  auto ready = fixture.ready(6, into.size());
  ready.rails = 2;
  fixture.arrive(ready, 1, 5);
  CHECK(fixture.fabric.count(Call::read) == 2);
  fixture.wait(4);
  CHECK(fixture.fabric.count(Call::read) == 4);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("additional NIC fake1") && Contains("not used any more"));
}

TEST_CASE("A late first contact is not reported as stalled too") {
  Stalled fixture;
  fixture.one.pending.await_first();
  Request first, second;
  fixture.send(first, fixture.one, 1, data.data(), 100);
  fixture.send(second, fixture.one, 1, data.data(), 100);
  fixture.wait(10);
  CHECK(fixture.reports.empty());
}

// --- messages that the provider has taken ---

namespace {

// Warnings come after four seconds. Both peers are on another host.
struct Unacknowledged : Transport {
  explicit Unacknowledged(uint64_t deadline = 0) {
    t->unacknowledged = efa::UnacknowledgedSends(4 * kSecond, deadline * kSecond);
    if (deadline != 0) t->slow_path = 1;
  }
  void wait(unsigned seconds) {
    for (unsigned i = 0; i < seconds; ++i) {
      progress();
      t->unacknowledged.look(t, now += kSecond);
    }
  }
  uint64_t now = efa::monotonic_ns() + kSecond / 2;
};

}  // namespace

TEST_CASE(
    "A message that is not acknowledged: one warning with the peer and the cause, and a notice when it is") {
  Unacknowledged fixture;
  const size_t bytes = GENERATE(100, 5000);  // eager; announced for a rendezvous
  const auto mode = GENERATE(EFA_SEND_STANDARD, EFA_SEND_SYNCHRONOUS);
  Request request;
  fixture.send(request, fixture.one, 3, data.data(), bytes, mode);
  fixture.wait(4);
  CHECK(fixture.reports.empty());
  fixture.wait(1000);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("Rank 0 on host here (efa, NIC fake0) has sent messages that are "
                                          "not acknowledged for 4 s by the NIC of rank "
                                          "1 on host there (NIC fake9)") &&
                                     Contains("receiver not ready") && Contains("mtl_efa_stall_warning") &&
                                     Contains("mtl_efa_send_timeout"));
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.wait(2);
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1], Contains("acknowledged again"));
  fixture.wait(1000);  // for the receiver's answer, which may take as long as it likes
  CHECK(fixture.reports.size() == 2);
  CHECK(fixture.fatals.empty());
}

TEST_CASE("Messages that are acknowledged now and then, receives, and local peers do not count") {
  Unacknowledged fixture(8);
  const bool local = GENERATE(false, true);
  Request received, requests[50];
  char buffer[8];
  fixture.receive(received, &fixture.two, 3, buffer, 8);
  if (local) {
    fixture.one.hostname = "here";
    fixture.send(requests[0], fixture.one, 3, data.data(), 100);
    fixture.wait(1000);
  } else {
    for (auto& request : requests) fixture.send(request, fixture.one, 3, data.data(), 100);
    for (int i = 0; i < 50; ++i) {
      fixture.wait(3);
      fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    }
    fixture.wait(1000);
  }
  CHECK(fixture.reports.empty());
}

TEST_CASE("At the deadline the peer fails, and others go on") {
  Unacknowledged fixture(8);
  Request sent, received, other, later;
  char buffer[8];
  fixture.send(sent, fixture.one, 3, data.data(), 100);
  fixture.receive(received, &fixture.one, 3, buffer, 8);
  fixture.wait(9);
  fixture.progress();
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1], Contains("gives up rank 1 on host there (NIC fake9): for 8 s") &&
                                     Contains("receiver not ready") && Contains("mtl_efa_send_timeout"));
  CHECK(received.times == 1);
  CHECK(received.status.result == EFA_UNREACHABLE);
  fixture.send(later, fixture.one, 3, data.data(), 100);
  CHECK(later.times == 1);
  CHECK(later.status.result == EFA_UNREACHABLE);
  CHECK(sent.times == 0);  // its memory is the provider's
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_ECANCELED);
  fixture.progress();
  CHECK(sent.times == 1);
  fixture.send(other, fixture.two, 3, data.data(), 100);
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(other.times == 1);
  fixture.wait(100);
  CHECK(fixture.fatals.empty());
}

TEST_CASE("What the provider keeps of a failed peer for another deadline ends the job") {
  Unacknowledged fixture(8);
  Request sent;
  fixture.send(sent, fixture.one, 3, data.data(), 100);
  fixture.wait(16);
  CHECK(fixture.fatals.empty());
  fixture.wait(1);
  REQUIRE(fixture.fatals.size() == 1);
  CHECK_THAT(fixture.fatals[0],
             Contains("has given up rank 1 on host there") && Contains("does not return the memory"));
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_ECANCELED);
  fixture.progress();
}

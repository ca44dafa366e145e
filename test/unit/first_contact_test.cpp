// The first contact with a peer: it is watched until it completes, reported once if it is late, and again if it ends the
// job.
#include "catch.hpp"
#include "fake_transport.hpp"
#include "peers/card.hpp"
#include "peers/first_contact.hpp"
#include "peers/pending.hpp"
#include "protocol/wire.hpp"

using namespace fake;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// Two peers on another host without a first contact. A contact is late after two seconds.
struct Watched : Transport {
  Watched() {
    t->contacts = efa::FirstContacts(2 * kSecond);
    for (efa_peer* peer : {&one, &two}) peer->pending.await_first();
  }
  // Polls for the given number of seconds without a completion.
  void wait(unsigned seconds) {
    for (unsigned i = 0; i < seconds; ++i) t->contacts.look(this->t, now += kSecond);
  }
  uint64_t now = efa::monotonic_ns() + kSecond / 2;
};

}  // namespace

TEST_CASE("The first message to a peer is not injected, so that it can be watched; later ones are") {
  Watched fixture;
  const char byte = 'x';
  const auto envelope = fixture.to(1, 3);
  CHECK_FALSE(efa_try_inject(fixture.t, &fixture.one, &envelope, &byte, 1));
  Request request;
  fixture.send(request, fixture.one, 3, &byte, 1);
  CHECK(fixture.t->contacts.open());
  CHECK(fixture.t->counters.operations_deferred == 0);  // it was posted at once
  const Posted first = fixture.fabric.take(Call::tagged_send);
  CHECK(efa_try_inject(fixture.t, &fixture.one, &envelope, &byte,
                       1));  // the first one is posted: later ones do not wait for it
  fixture.fabric.complete(first);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK_FALSE(fixture.t->contacts.open());
  CHECK(fixture.one.contact == nullptr);
  CHECK(efa_try_inject(fixture.t, &fixture.one, &envelope, &byte, 1));
  fixture.wait(10);
  CHECK(fixture.reports.empty());
}

TEST_CASE("A first message without an answer: one warning with both NICs and the usual cause") {
  Watched fixture;
  const char byte = 'x';
  Request request, second;
  fixture.send(request, fixture.one, 3, &byte, 1);
  fixture.send(second, fixture.one, 3, &byte, 1);
  fixture.wait(1);
  CHECK(fixture.reports.empty());
  fixture.wait(1);
  CHECK(fixture.reports.size() == 1);
  fixture.wait(20);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0],
             Contains("Rank 0 on host here (efa, NIC fake0)") &&
                 Contains("to rank 1 on host there (NIC fake9)") && Contains("for 2 s") &&
                 Contains("may compute without calling MPI") &&
                 Contains("security group: it must allow all traffic from and to itself") &&
                 Contains("one subnet") && Contains("mtl_efa_contact_timeout"));

  SECTION("taken back when the answer arrives") {
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.progress();
    CHECK(request.times == 1);
    REQUIRE(fixture.reports.size() == 2);
    CHECK_THAT(fixture.reports[1], Contains("rank 1 on host there (NIC fake9) has answered after all"));
    CHECK(fixture.t->contacts.reminder(fixture.t).empty());
  }
  SECTION("repeated in the error that ends it") {
    fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO, 13);
    fixture.progress();
    CHECK(request.status.result == EFA_FAILED);
    REQUIRE(fixture.reports.size() == 2);
    CHECK_THAT(fixture.reports[1],
               Contains("sending 1 bytes with tag 3 to rank 1") && Contains("Unresponsive receiver") &&
                   Contains("first contact with that peer failed") && Contains("security group"));
  }
  SECTION("repeated in a fatal error that names no message") {
    fixture.fabric.fail(nullptr, FI_EIO, 13);
    fixture.progress();
    REQUIRE(fixture.fatals.size() == 1);
    CHECK_THAT(fixture.fatals[0],
               Contains("the endpoint failed") &&
                   Contains("never received an answer from rank 1 on host there (NIC fake9)") &&
                   Contains("security group"));
  }
  SECTION("forgotten with the peer") {
    efa_peer* gone = &fixture.one;
    fixture.t->contacts.end(gone);
    CHECK(fixture.t->contacts.reminder(fixture.t).empty());
    CHECK_FALSE(fixture.t->contacts.open());
  }
}

TEST_CASE("Many late contacts share one warning") {
  Watched fixture;
  std::vector<std::unique_ptr<efa_peer>> peers;
  std::vector<std::unique_ptr<Request>> requests;
  const char byte = 'x';
  for (int32_t rank = 1; rank <= 6; ++rank) {
    peers.push_back(std::make_unique<efa_peer>());
    efa_peer& peer = *peers.back();
    peer.eager_limit = 1024;
    peer.world_rank = rank;
    peer.hostname = rank == 1 ? "here" : "there";
    peer.nic = "fake9";
    peer.pending.await_first();
    requests.push_back(std::make_unique<Request>());
    fixture.send(*requests.back(), peer, 3, &byte, 1);
  }
  fixture.wait(9);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0],
             Contains("rank 1 on host here (NIC fake9), rank 2 on host there (NIC fake9), rank 3 on host "
                      "there (NIC fake9) and 3 more, and none of them has answered") &&
                 Contains("security group"));
}

TEST_CASE("The warning does not mention security groups for a peer on this host") {
  Watched fixture;
  fixture.one.hostname = "here";
  const char byte = 'x';
  Request request;
  fixture.send(request, fixture.one, 3, &byte, 1);
  fixture.wait(9);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("stopped (state T)") && !Contains("security group"));
}

TEST_CASE("Time in which this process did not poll does not count") {
  Watched fixture;
  const char byte = 'x';
  Request request;
  fixture.send(request, fixture.one, 3, &byte, 1);
  fixture.now += 100 * kSecond;  // the program computed
  fixture.wait(1);
  CHECK(fixture.reports.empty());
  fixture.now += 100 * kSecond;
  fixture.wait(1);
  CHECK(fixture.reports.size() <= 1);  // two polls, which count one second each at most
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(request.times == 1);
}

TEST_CASE("A receive is not a first contact, because the peer may send late") {
  Watched fixture;
  char byte;
  Request request;
  fixture.receive(request, &fixture.one, 3, &byte, 1);
  CHECK_FALSE(fixture.t->contacts.open());
  fixture.wait(30);
  CHECK(fixture.reports.empty());
  CHECK(fixture.one.pending.awaits_first());
}

TEST_CASE("A first operation that the provider refuses with FI_EAGAIN is watched too") {
  Watched fixture;
  const auto data = pattern(100);
  Request request;
  fixture.fabric.refuse.assign(2, FI_EAGAIN);
  fixture.send(request, fixture.one, 9, data.data(), 100);
  fixture.wait(3);
  CHECK(fixture.reports.size() == 1);
  fixture.progress();  // refused once more
  fixture.progress();  // accepted
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(fixture.reports.size() == 2);
  CHECK_FALSE(fixture.t->contacts.open());
}

TEST_CASE("Ready-to-send and control messages are first contacts") {
  Watched fixture;
  const auto data = pattern(5000);
  Request request;
  fixture.send(request, fixture.one, 3, data.data(), data.size());
  CHECK(fixture.t->contacts.open());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK_FALSE(fixture.t->contacts.open());
  CHECK(request.times == 0);  // only the ready-to-send message has completed
  fixture.arrive(fixture.control(efa::ControlType::clear_to_send, fixture.one, request.ready_id, 0));
  CHECK(request.times == 1);

  char into[16];
  Request received;
  fixture.receive(received, &fixture.two, 3, into, 16);
  const auto synchronous = pattern(1 + sizeof(efa::SyncTrailer));
  fixture.fabric.arrive(fixture.bits(efa::kKindSync, 2, 3), 2, synchronous.data(), synchronous.size());
  fixture.progress();
  CHECK(fixture.t->contacts.open());  // the acknowledgement is the first message to rank 2
  fixture.fabric.complete(fixture.fabric.take(Call::send));
  fixture.progress();
  CHECK_FALSE(fixture.t->contacts.open());
  CHECK(received.times == 1);
}

TEST_CASE("After a failed first contact the next operation is a first contact again") {
  Watched fixture;
  const char byte = 'x';
  Request failed, fine, late;
  fixture.send(failed, fixture.one, 3, &byte, 1);
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  fixture.progress();
  CHECK(fixture.reports.size() == 1);
  CHECK_FALSE(fixture.t->contacts.open());
  fixture.send(fine, fixture.one, 3, &byte, 1);
  CHECK(fixture.t->contacts.open());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  CHECK(fine.times == 1);
  fixture.send(late, fixture.one, 3, &byte, 1);
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  fixture.progress();
  REQUIRE(fixture.reports.size() == 2);
  CHECK_THAT(fixture.reports[1], !Contains("first contact"));
}

TEST_CASE("Several operations that fail before the first contact completes end once each") {
  Watched fixture;
  const char byte = 'x';
  Request a, b;
  fixture.fabric.refuse = {FI_EAGAIN, FI_EAGAIN, FI_EAGAIN, FI_EIO, FI_EIO};
  fixture.send(a, fixture.one, 3, &byte, 1);
  fixture.send(b, fixture.one, 3, &byte, 1);
  for (int i = 0; i < 4; ++i) efa_progress(fixture.t);
  CHECK(a.times == 1);
  CHECK(b.times == 1);
  CHECK(fixture.t->pending.empty());
}

TEST_CASE("Progress reads the clock only while a contact is open") {
  Watched fixture;
  fixture.t->contacts = efa::FirstContacts(1);
  const char byte = 'x';
  Request request;
  fixture.send(request, fixture.one, 3, &byte, 1);
  const uint64_t begin = efa::monotonic_ns();
  while (fixture.reports.empty() && efa::monotonic_ns() - begin < 10 * kSecond) efa_progress(fixture.t);
  CHECK(fixture.reports.size() == 1);
  CHECK(efa::monotonic_ns() - begin >= kSecond);
}

TEST_CASE("A new peer is watched unless the time is 0") {
  Watched fixture;
  efa::Card card;
  card.provider = "efa";
  card.host = "far";
  card.address = {1, 2, 3, 4};
  const auto bytes = card.serialize();
  const efa_identity who{55, 5, 0};
  efa_peer* peer = efa_peer_create(fixture.t, &who, bytes.data(), bytes.size());
  REQUIRE(peer);
  CHECK(peer->pending.awaits_first());
  efa_peer_destroy(fixture.t, peer);

  fixture.t->contacts = efa::FirstContacts(0);
  peer = efa_peer_create(fixture.t, &who, bytes.data(), bytes.size());
  REQUIRE(peer);
  CHECK(peer->pending.empty());
  efa_peer_destroy(fixture.t, peer);
}

TEST_CASE("A peer is removed while its first message is in flight") {
  const bool late = GENERATE(false, true);
  Watched fixture;
  efa::Card card;
  card.provider = "efa";
  card.host = "far";
  card.eager_limit = 700;
  card.address = {1, 2, 3, 4};
  const auto bytes = card.serialize();
  const efa_identity who{55, 5, 0};
  efa_peer* peer = efa_peer_create(fixture.t, &who, bytes.data(), bytes.size());
  REQUIRE(peer);
  const char byte = 'x';
  Request request;
  fixture.send(request, *peer, 3, &byte, 1);
  if (late) fixture.wait(9);
  efa_peer_destroy(fixture.t, peer);
  fixture.wait(9);
  CHECK(fixture.reports.size() == (late ? 1 : 0));  // no warning about a removed peer
  if (late)
    CHECK_THAT(fixture.t->contacts.reminder(fixture.t),
               Contains("never received an answer from rank 5 on host far"));
  else
    CHECK(fixture.t->contacts.reminder(fixture.t).empty());
  fixture.t->begin_draining();  // as efa_close begins
  const Posted first = fixture.fabric.take(Call::tagged_send);
  SECTION("an answer during closing") {
    fixture.fabric.complete(first);
    fixture.progress();
    CHECK(fixture.t->contacts.reminder(fixture.t).empty());
  }
  SECTION("an error during closing, because the peer has closed its endpoint") {
    fixture.fabric.fail(first.context, FI_EIO, 13);
    fixture.progress();
    CHECK(fixture.t->contacts.reminder(fixture.t).empty() == !late);
  }
  CHECK(fixture.reports.size() == (late ? 1 : 0));
  CHECK(fixture.t->sends_posted == 0);
}

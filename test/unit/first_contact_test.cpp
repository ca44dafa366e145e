// The first contact with a peer: watched until it completes, said to be late once, and again when it ends the job.
#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// Two peers on another host, that nothing was sent to yet; contacts are late after two seconds.
struct Watched : Transport {
  Watched() {
    t->contacts = efa::FirstContacts(2 * kSecond);
    for (efa_peer* peer : {&one, &two}) peer->pending.await_first();
  }
  // Polls in vain for so many seconds.
  void wait(unsigned seconds) {
    for (unsigned i = 0; i < seconds; ++i) t->contacts.look(this->t, now += kSecond);
  }
  uint64_t now = efa::monotonic_ns() + kSecond / 2;
};

}  // namespace

TEST_CASE("The first message to a peer is not injected, so that it can be watched; later ones are") {
  Watched x;
  const char byte = 'x';
  const auto e = x.to(1, 3);
  CHECK_FALSE(efa_try_inject(x.t, &x.one, &e, &byte, 1));
  Request r;
  x.send(r, x.one, 3, &byte, 1);
  CHECK(x.t->contacts.open());
  CHECK(x.t->stats.deferred == 0);  // it is posted at once all the same
  const Posted first = x.fabric.take(Call::tagged_send);
  CHECK(efa_try_inject(x.t, &x.one, &e, &byte, 1));  // the first is on its way: no need to wait
  x.fabric.complete(first);
  x.progress();
  CHECK(r.times == 1);
  CHECK(r.status.result == EFA_SUCCESS);
  CHECK_FALSE(x.t->contacts.open());
  CHECK(x.one.contact == nullptr);
  CHECK(efa_try_inject(x.t, &x.one, &e, &byte, 1));
  x.wait(10);
  CHECK(x.reports.empty());
}

TEST_CASE("A first message without an answer: one warning with both NICs and the usual cause") {
  Watched x;
  const char byte = 'x';
  Request r, second;
  x.send(r, x.one, 3, &byte, 1);
  x.send(second, x.one, 3, &byte, 1);
  x.wait(1);
  CHECK(x.reports.empty());
  x.wait(1);
  CHECK(x.reports.size() == 1);
  x.wait(20);
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("Rank 0 on host here (efa, NIC fake0)") &&
                               Contains("to rank 1 on host there (NIC fake9)") && Contains("for 2 s") &&
                               Contains("may compute without calling MPI") &&
                               Contains("security group: it must allow all traffic from and to itself") &&
                               Contains("one subnet") && Contains("mtl_efa_contact_timeout"));

  SECTION("that is taken back when the answer comes") {
    x.fabric.complete(x.fabric.take(Call::tagged_send));
    x.progress();
    CHECK(r.times == 1);
    REQUIRE(x.reports.size() == 2);
    CHECK_THAT(x.reports[1], Contains("rank 1 on host there (NIC fake9) has answered after all"));
    CHECK(x.t->contacts.reminder(x.t).empty());
  }
  SECTION("repeated in the error that ends it") {
    x.fabric.fail(x.fabric.take(Call::tagged_send).context, FI_EIO, 13);
    x.progress();
    CHECK(r.status.result == EFA_FAILED);
    REQUIRE(x.reports.size() == 2);
    CHECK_THAT(x.reports[1],
               Contains("sending 1 bytes with tag 3 to rank 1") && Contains("Unresponsive receiver") &&
                   Contains("first contact with that peer failed") && Contains("security group"));
  }
  SECTION("repeated in a fatal error that names no message") {
    x.fabric.fail(nullptr, FI_EIO, 13);
    x.progress();
    REQUIRE(x.fatals.size() == 1);
    CHECK_THAT(x.fatals[0], Contains("the endpoint failed") &&
                                Contains("never had an answer from rank 1 on host there (NIC fake9)") &&
                                Contains("security group"));
  }
  SECTION("forgotten with the peer") {
    efa_peer* gone = &x.one;
    x.t->contacts.end(gone);
    CHECK(x.t->contacts.reminder(x.t).empty());
    CHECK_FALSE(x.t->contacts.open());
  }
}

TEST_CASE("Many late contacts are one warning") {
  Watched x;
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
    x.send(*requests.back(), peer, 3, &byte, 1);
  }
  x.wait(9);
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0],
             Contains("rank 1 on host here (NIC fake9), rank 2 on host there (NIC fake9), rank 3 on host "
                      "there (NIC fake9) and 3 more, and none of them has answered") &&
                 Contains("security group"));
}

TEST_CASE("A peer on this host: nothing about security groups") {
  Watched x;
  x.one.hostname = "here";
  const char byte = 'x';
  Request r;
  x.send(r, x.one, 3, &byte, 1);
  x.wait(9);
  REQUIRE(x.reports.size() == 1);
  CHECK_THAT(x.reports[0], Contains("stopped (state T)") && !Contains("security group"));
}

TEST_CASE("Time in which this process did not poll does not count") {
  Watched x;
  const char byte = 'x';
  Request r;
  x.send(r, x.one, 3, &byte, 1);
  x.now += 100 * kSecond;  // it computed
  x.wait(1);
  CHECK(x.reports.empty());
  x.now += 100 * kSecond;
  x.wait(1);
  CHECK(x.reports.size() <= 1);  // two looks, which count a second each at most
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.progress();
  CHECK(r.times == 1);
}

TEST_CASE("A receive from a peer is no contact: the peer may just be late") {
  Watched x;
  char byte;
  Request r;
  x.receive(r, &x.one, 3, &byte, 1);
  CHECK_FALSE(x.t->contacts.open());
  x.wait(30);
  CHECK(x.reports.empty());
  CHECK(x.one.pending.awaits_first());
}

TEST_CASE("A first operation that the provider refuses for now is watched, too") {
  Watched x;
  const auto data = pattern(100);
  Request r;
  x.fabric.refuse.assign(2, FI_EAGAIN);
  x.send(r, x.one, 9, data.data(), 100);
  x.wait(3);
  CHECK(x.reports.size() == 1);
  x.progress();  // refused once more
  x.progress();  // accepted
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.progress();
  CHECK(r.times == 1);
  CHECK(x.reports.size() == 2);
  CHECK_FALSE(x.t->contacts.open());
}

TEST_CASE("A rendezvous's first message and a control message are contacts") {
  Watched x;
  const auto data = pattern(5000);
  Request r;
  x.send(r, x.one, 3, data.data(), data.size());
  CHECK(x.t->contacts.open());
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.progress();
  CHECK_FALSE(x.t->contacts.open());
  CHECK(r.times == 0);  // the ready-to-send has left, no more
  x.arrive(x.control(efa::ControlType::clear_to_send, x.one, r.ready_id, 0));
  CHECK(r.times == 1);

  char into[16];
  Request s;
  x.receive(s, &x.two, 3, into, 16);
  const char byte = 'x';
  x.fabric.arrive(x.bits(efa::kKindSync, 2, 3), 2, &byte, 1);
  x.progress();
  CHECK(x.t->contacts.open());  // the acknowledgement is the first that goes to rank 2
  x.fabric.complete(x.fabric.take(Call::send));
  x.progress();
  CHECK_FALSE(x.t->contacts.open());
  CHECK(s.times == 1);
}

TEST_CASE("After a failed first contact the next operation is a first contact again") {
  Watched x;
  const char byte = 'x';
  Request failed, fine, late;
  x.send(failed, x.one, 3, &byte, 1);
  x.fabric.fail(x.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  x.progress();
  CHECK(x.reports.size() == 1);
  CHECK_FALSE(x.t->contacts.open());
  x.send(fine, x.one, 3, &byte, 1);
  CHECK(x.t->contacts.open());
  x.fabric.complete(x.fabric.take(Call::tagged_send));
  x.progress();
  CHECK(fine.times == 1);
  x.send(late, x.one, 3, &byte, 1);
  x.fabric.fail(x.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  x.progress();
  REQUIRE(x.reports.size() == 2);
  CHECK_THAT(x.reports[1], !Contains("first contact"));
}

TEST_CASE("Several operations that fail for good before any arrived end once each") {
  Watched x;
  x.t->pending = efa::PendingQueue(0);  // a deadline that is always past
  const char byte = 'x';
  Request a, b;
  x.fabric.refuse.assign(4, FI_EAGAIN);
  x.send(a, x.one, 3, &byte, 1);
  x.send(b, x.one, 3, &byte, 1);
  for (int i = 0; i < 4; ++i) efa_progress(x.t);
  CHECK(a.times == 1);
  CHECK(b.times == 1);
  CHECK(x.t->pending.empty());
}

TEST_CASE("Polling looks at the clock, and only while a contact is open") {
  Watched x;
  x.t->contacts = efa::FirstContacts(1);
  const char byte = 'x';
  Request r;
  x.send(r, x.one, 3, &byte, 1);
  const uint64_t begin = efa::monotonic_ns();
  while (x.reports.empty() && efa::monotonic_ns() - begin < 10 * kSecond) efa_progress(x.t);
  CHECK(x.reports.size() == 1);
  CHECK(efa::monotonic_ns() - begin >= kSecond);
}

TEST_CASE("A new peer is watched unless the time is 0") {
  Watched x;
  efa::Card card;
  card.provider = "efa";
  card.host = "far";
  card.address = {1, 2, 3, 4};
  const auto bytes = card.serialize();
  const efa_identity who{55, 5};
  efa_peer* peer = efa_peer_create(x.t, &who, bytes.data(), bytes.size());
  REQUIRE(peer);
  CHECK(peer->pending.awaits_first());
  efa_peer_destroy(x.t, peer);

  x.t->contacts = efa::FirstContacts(0);
  peer = efa_peer_create(x.t, &who, bytes.data(), bytes.size());
  REQUIRE(peer);
  CHECK(peer->pending.empty());
  efa_peer_destroy(x.t, peer);
}

TEST_CASE("A peer that goes while its first message is in flight") {
  const bool late = GENERATE(false, true);
  Watched x;
  efa::Card card;
  card.provider = "efa";
  card.host = "far";
  card.eager_limit = 700;
  card.address = {1, 2, 3, 4};
  const auto bytes = card.serialize();
  const efa_identity who{55, 5};
  efa_peer* peer = efa_peer_create(x.t, &who, bytes.data(), bytes.size());
  REQUIRE(peer);
  const char byte = 'x';
  Request r;
  x.send(r, *peer, 3, &byte, 1);
  if (late) x.wait(9);
  efa_peer_destroy(x.t, peer);
  x.wait(9);
  CHECK(x.reports.size() == (late ? 1 : 0));  // nobody is warned of who is gone
  if (late)
    CHECK_THAT(x.t->contacts.reminder(x.t), Contains("never had an answer from rank 5 on host far"));
  else
    CHECK(x.t->contacts.reminder(x.t).empty());
  x.t->draining = true;  // as efa_close begins
  const Posted first = x.fabric.take(Call::tagged_send);
  SECTION("an answer at the last moment") {
    x.fabric.complete(first);
    x.progress();
    CHECK(x.t->contacts.reminder(x.t).empty());
  }
  SECTION("or an error then: the peer has closed its endpoint") {
    x.fabric.fail(first.context, FI_EIO, 13);
    x.progress();
    CHECK(x.t->contacts.reminder(x.t).empty() == !late);
  }
  CHECK(x.reports.size() == (late ? 1 : 0));
  CHECK(x.t->sends_posted == 0);
}

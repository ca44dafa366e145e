// Peers: made from their cards when they are first used, refused in words, gone without harm.
#include "catch.hpp"
#include "fake_fabric.hpp"

using namespace fake;

namespace {

efa::Card card() {
  efa::Card c;
  c.provider = "efa";
  c.eager_limit = 700;
  c.nic = "rdmap0s6";
  c.host = "far";
  c.address = {1, 2, 3, 4};
  return c;
}

efa_peer* make(Transport& x, const efa::Card& c, size_t cut = 0) {
  const auto bytes = c.serialize();
  const efa_identity who{55, 5};
  return efa_peer_create(x.t, &who, bytes.data(), bytes.size() - cut);
}

}  // namespace

TEST_CASE("A peer knows who it is and how long an eager message to it may be") {
  Transport x;
  efa_peer* peer = make(x, card());
  REQUIRE(peer);
  CHECK(peer->address == 77);
  CHECK(peer->uid == 55);
  CHECK(peer->eager_limit == 700);         // what it takes
  CHECK(peer->eager_limit_packed == 512);  // what we make
  CHECK(efa::to_string(peer) == "rank 5 on host far (NIC rdmap0s6)");
  CHECK(peer->addresses.empty());  // one rail: nothing more is kept
  efa_peer_destroy(x.t, peer);
  CHECK(x.t->peers.empty());
}

TEST_CASE("Cards that cannot be used are refused, naming rank and reason") {
  Transport x;
  const auto refused = [&](efa_peer* peer, const char* why) {
    CHECK(peer == nullptr);
    REQUIRE(x.reports.size() == 1);
    CHECK_THAT(x.reports[0], Contains("Rank 0 on host here cannot talk to rank 5") && Contains(why));
    x.reports.clear();
  };
  auto other = card();
  other.provider = "shm";
  refused(make(x, other), "provider shm");
  other = card();
  other.version = 99;
  refused(make(x, other), "wire format 99");
  other = card();
  other.address = {1, 2, 3};
  refused(make(x, other), "another format");
  const size_t size = card().serialize().size();
  for (size_t cut = 1; cut < size; ++cut) refused(make(x, card(), cut), ": ");
}

TEST_CASE("A peer that is inside the node is not read from, and gets short eager messages only") {
  Transport x;
  x.t->protocols.pulls = true;
  x.t->protocols.eager_limit = x.t->protocols.eager_limit_packed = 60000;
  auto near = card();
  near.host = "here";
  near.eager_limit = 60000;
  auto far = near;
  far.host = "far";
  far.address = {9, 9, 9, 9};
  efa_peer *local = make(x, near), *remote = make(x, far);
  CHECK_FALSE(local->pulls);
  CHECK(local->eager_limit == 4096);
  CHECK(local->piece == efa::kPieceLocal);
  CHECK(remote->pulls);
  CHECK(remote->piece == x.t->protocols.piece);
  CHECK(remote->eager_limit == 60000);
  efa_peer_destroy(x.t, local);
  efa_peer_destroy(x.t, remote);
}

TEST_CASE("Inside the node the bound holds only while memory is read across processes") {
  Transport x;
  x.t->protocols.eager_limit = x.t->protocols.eager_limit_packed = 60000;
  auto near = card();
  near.host = "here";
  near.eager_limit = 60000;
  setenv(efa::kCrossMemoryAttachOff, "1", 1);
  efa_peer* local = make(x, near);
  unsetenv(efa::kCrossMemoryAttachOff);
  CHECK(local->eager_limit == 60000);
  efa_peer_destroy(x.t, local);
}

TEST_CASE("A peer that goes while messages to it are on their way stays until the transport ends") {
  Transport x;
  efa_peer* peer = make(x, card());
  Request r;
  const auto data = pattern(100);
  x.send(r, *peer, 1, data.data(), 100);
  efa_peer_destroy(x.t, peer);
  CHECK(x.t->departed.size() == 1);
  x.fabric.fail(x.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  x.progress();
  CHECK(r.times == 1);
  CHECK_THAT(x.reports.at(0), Contains("rank 5 on host far"));
}

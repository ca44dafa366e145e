// Peers: made from their cards when they are first used, refused in words, gone without harm.
#include <set>

#include "catch.hpp"
#include "fake_transport.hpp"

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
  CHECK(peer->rails.capacity() == 0);
  efa_peer_destroy(x.t, peer);
  CHECK(x.t->peers.size() == 2);  // those that it has from the beginning
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
  CHECK(local->eager_limit_alone == 0);
  CHECK(local->piece == efa::kPieceLocal);
  CHECK(remote->pulls);
  CHECK(remote->piece == x.t->protocols.piece);
  CHECK(remote->eager_limit == 60000);
  x.t->protocols.eager_limit_alone = 70000;
  near.eager_limit = far.eager_limit = 80000;
  far.address = {9, 9, 9, 8};
  efa_peer* readable = make(x, far);
  x.t->protocols.pulls = false;
  far.address = {9, 9, 9, 7};
  efa_peer* pushed = make(x, far);
  CHECK(readable->eager_limit_alone == 70000);
  CHECK(pushed->eager_limit_alone == 70000);
  efa_peer_destroy(x.t, readable);
  efa_peer_destroy(x.t, pushed);
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
  CHECK(x.t->peers.departed() == 1);
  x.fabric.fail(x.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  x.progress();
  CHECK(r.times == 1);
  CHECK_THAT(x.reports.at(0), Contains("rank 5 on host far"));
}

TEST_CASE("Many peers share names, take whole blocks, and come and go without growing") {
  Transport x;
  std::vector<efa_peer*> peers;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1000; ++i) {
      auto c = card();
      c.host = "host" + std::to_string(i / 100);
      c.nic = "nic" + std::to_string(i % 4);
      peers.push_back(make(x, c));
      REQUIRE(peers.back());
      CHECK(reinterpret_cast<uintptr_t>(peers.back()) % 64 == 0);
    }
    CHECK(x.t->peers.size() == 1002);
    CHECK(x.t->peers.names() == 14);
    CHECK(std::set<efa_peer*>(peers.begin(), peers.end()).size() == 1000);
    CHECK(x.t->peers.places() == 1024);
    CHECK(peers[0]->hostname == peers[99]->hostname);
    CHECK(peers[0]->nic == peers[996]->nic);
    CHECK(efa::to_string(peers[250]) == "rank 5 on host host2 (NIC nic2)");
    for (efa_peer* peer : peers) efa_peer_destroy(x.t, peer);
    CHECK(x.t->peers.size() == 2);
    peers.clear();
  }
}

TEST_CASE("A peer that comes in a departed one's place knows nothing of it") {
  Transport x;
  efa_peer* first = make(x, card());
  first->rails = {1};
  efa_peer_destroy(x.t, first);
  efa_peer* second = make(x, card());
  CHECK(second == first);
  CHECK(second->rails.empty());
  CHECK(x.t->peers.find([](const efa_peer* each) { return each->uid == 55; }) == second);
  efa_peer_destroy(x.t, second);
  CHECK(x.t->peers.find([](const efa_peer* each) { return each->uid == 55; }) == nullptr);
}

TEST_CASE("An address that the provider does not take leaves no peer behind") {
  Transport x;
  fi_ops_av refusing = *x.fabric.av.ops;
  refusing.insert = [](fid_av*, const void*, size_t, fi_addr_t*, uint64_t, void*) { return -FI_ENOMEM; };
  x.fabric.av.ops = &refusing;
  CHECK(make(x, card()) == nullptr);
  CHECK_THAT(x.reports.at(0), Contains("fi_av_insert failed"));
  CHECK(x.t->peers.size() == 2);
}

TEST_CASE("The address on a further rail is looked up once, when it is needed") {
  Transport x;
  Fabric second;
  auto rail = std::make_unique<efa::Rail>();
  rail->av.reset(&second.av);
  rail->info.reset(fi_allocinfo());
  rail->info->domain_attr->name = strdup("fake1");
  x.t->more_rails.push_back(std::move(rail));
  efa_peer* peer = make(x, card());
  static int asked;
  static bool there;
  asked = 0;
  there = false;
  x.t->config.card = [](uint64_t uid, size_t* size) -> void* {
    ++asked;
    auto c = card();
    c.more = {5, 6, 7, 8};
    const auto bytes = c.serialize();
    *size = bytes.size();
    return there && uid == 55 ? std::memcpy(std::malloc(bytes.size()), bytes.data(), bytes.size()) : nullptr;
  };
  CHECK(efa::peer_rails(x.t, peer, 1) == std::vector<fi_addr_t>{77});
  CHECK(asked == 0);
  CHECK(efa::peer_rails(x.t, peer, 2).empty());  // it cannot be had
  CHECK_THAT(x.reports.at(0), Contains("not known any more for NIC fake1"));
  there = true;
  CHECK(efa::peer_rails(x.t, peer, 2) == std::vector<fi_addr_t>{77, 77});
  CHECK(efa::peer_rails(x.t, peer, 2).size() == 2);
  CHECK(asked == 2);
  efa_peer_destroy(x.t, peer);
}

// Peers: they are made from their cards at first use, refused with a reason, and removed safely.
#include <set>

#include "catch.hpp"
#include "errors/report.hpp"
#include "fake_transport.hpp"
#include "peers/card.hpp"
#include "peers/first_contact.hpp"
#include "peers/peers.hpp"

using namespace fake;

namespace {

efa::Card card() {
  efa::Card peer_card;
  peer_card.provider = "efa";
  peer_card.eager_limit = 700;
  peer_card.nic = "rdmap0s6";
  peer_card.host = "far";
  peer_card.address = {1, 2, 3, 4};
  return peer_card;
}

efa_peer* make(Transport& fixture, const efa::Card& peer_card, size_t cut = 0) {
  const auto bytes = peer_card.serialize();
  const efa_identity identity{55, 5, 0};
  return efa_peer_create(fixture.t, &identity, bytes.data(), bytes.size() - cut);
}

}  // namespace

TEST_CASE("A peer has its rank, host and eager limits") {
  Transport fixture;
  efa_peer* peer = make(fixture, card());
  REQUIRE(peer);
  CHECK(peer->address == 77);
  CHECK(peer->uid == 55);
  CHECK(peer->eager_limit == 700);         // the limit of the peer
  CHECK(peer->eager_limit_packed == 512);  // the limit of this process
  CHECK(efa::to_string(peer) == "rank 5 on host far (NIC rdmap0s6)");
  CHECK(peer->rails == nullptr);
  efa_peer_destroy(fixture.t, peer);
  CHECK(fixture.t->peers.size() == 2);  // the two peers of the fixture
}

TEST_CASE("Cards that cannot be used are refused with rank and reason") {
  Transport fixture;
  const auto refused = [&](efa_peer* peer, const char* why) {
    CHECK(peer == nullptr);
    REQUIRE(fixture.reports.size() == 1);
    CHECK_THAT(fixture.reports[0], Contains("Rank 0 on host here cannot talk to rank 5") && Contains(why));
    fixture.reports.clear();
  };
  auto other = card();
  other.provider = "shm";
  refused(make(fixture, other), "provider shm");
  fixture.t->config.self.job = 7;
  refused(make(fixture, other), "another job (MPI_Comm_spawn or MPI_Comm_connect)");
  fixture.t->config.mpi = "Open MPI 5.0.7";
  refused(make(fixture, other), "mpirun -x");
  fixture.t->config.mpi = nullptr;
  fixture.t->config.self.job = 0;
  other = card();
  other.version = 99;
  refused(make(fixture, other), "wire format 99");
  other = card();
  other.address = {1, 2, 3};
  refused(make(fixture, other), "another format");
  const size_t size = card().serialize().size();
  for (size_t cut = 1; cut < size; ++cut) refused(make(fixture, card(), cut), ": ");
}

TEST_CASE("Addresses that are text may have any length, but end where they say") {
  Transport fixture;
  fixture.t->rails.first.info->addr_format = FI_ADDR_STR;  // as shm, whose addresses hold the process's id
  const auto named = [](const std::string& text) {
    auto peer_card = card();
    peer_card.address.assign(text.begin(), text.end());
    return peer_card;
  };
  using namespace std::string_literals;
  const size_t size = fixture.t->address_size;
  CHECK(make(fixture, named(std::string(size - 2, 'a') + "\0"s)));
  CHECK(make(fixture, named(std::string(size + 5, 'b') + "\0"s)));
  CHECK(fixture.reports.empty());
  for (const auto& text : {"unended"s, "ended\0early\0"s, "\0"s}) {
    CHECK(!make(fixture, named(text)));
    REQUIRE(!fixture.reports.empty());
    CHECK_THAT(fixture.reports.back(), Contains("another format"));
  }
}

TEST_CASE("A peer inside the node is not read by RDMA, and its eager limit is that of shared memory") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  fixture.t->protocols.eager_limit = fixture.t->protocols.eager_limit_packed = 60000;
  auto near = card();
  near.host = "here";
  near.eager_limit = 60000;
  auto far = near;
  far.host = "far";
  far.address = {9, 9, 9, 9};
  efa_peer *local = make(fixture, near), *remote = make(fixture, far);
  CHECK_FALSE(local->pulls);
  CHECK(local->eager_limit == 4096);
  CHECK(local->eager_limit_alone == 0);
  CHECK(local->piece == efa::kPieceLocal);
  CHECK(remote->pulls);
  CHECK(remote->piece == fixture.t->protocols.piece);
  CHECK(remote->eager_limit == 60000);
  fixture.t->protocols.eager_limit_alone = 70000;
  near.eager_limit = far.eager_limit = 80000;
  far.address = {9, 9, 9, 8};
  efa_peer* readable = make(fixture, far);
  fixture.t->protocols.pulls = false;
  far.address = {9, 9, 9, 7};
  efa_peer* pushed = make(fixture, far);
  CHECK(readable->eager_limit_alone == 70000);
  CHECK(pushed->eager_limit_alone == 70000);
  efa_peer_destroy(fixture.t, readable);
  efa_peer_destroy(fixture.t, pushed);
  efa_peer_destroy(fixture.t, local);
  efa_peer_destroy(fixture.t, remote);
}

TEST_CASE("A peer is read by RDMA only if the provider does not emulate reads between the two kinds of NIC") {
  Transport fixture;
  fixture.t->protocols.pulls = true;
  fixture.t->protocols.read_family = efa::ReadFamily::first_generation;
  auto other = card();
  other.read_family = efa::ReadFamily::first_generation;
  efa_peer* same = make(fixture, other);
  CHECK(same->pulls);
  other.read_family = efa::ReadFamily::later;
  other.address = {9, 9, 9, 9};
  efa_peer* later = make(fixture, other);
  CHECK_FALSE(later->pulls);
  other.read_family = efa::ReadFamily::none;
  other.address = {9, 9, 9, 8};
  efa_peer* none = make(fixture, other);
  CHECK_FALSE(none->pulls);
  for (efa_peer* peer : {same, later, none}) efa_peer_destroy(fixture.t, peer);
}

TEST_CASE("Inside the node the eager limit is low only with cross-memory attach") {
  Transport fixture;
  fixture.t->protocols.eager_limit = fixture.t->protocols.eager_limit_packed = 60000;
  auto near = card();
  near.host = "here";
  near.eager_limit = 60000;
  setenv(efa::kCrossMemoryAttachOff, "1", 1);
  efa_peer* local = make(fixture, near);
  unsetenv(efa::kCrossMemoryAttachOff);
  CHECK(local->eager_limit == 60000);
  efa_peer_destroy(fixture.t, local);
}

TEST_CASE("A peer that is removed while messages to it are in flight is freed when the transport closes") {
  Transport fixture;
  efa_peer* peer = make(fixture, card());
  Request request;
  const auto data = pattern(100);
  fixture.send(request, *peer, 1, data.data(), 100);
  efa_peer_destroy(fixture.t, peer);
  CHECK(fixture.t->peers.departed() == 1);
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK_THAT(fixture.reports.at(0), Contains("rank 5 on host far"));
}

TEST_CASE("An injected message has no completion: a peer that was sent to keeps its address when it goes") {
  const bool watched = GENERATE(true, false);
  Transport x;
  if (!watched) x.t->contacts = efa::FirstContacts(0);
  efa_peer* peer = make(x, card());
  const char byte = 'x';
  if (watched) {  // the first message is not injected, and it completes
    Request first;
    x.send(first, *peer, 1, &byte, 1);
    x.fabric.complete(x.fabric.take(Call::tagged_send));
    x.progress();
    REQUIRE(first.times == 1);
  }
  const auto e = x.to(5, 1);
  REQUIRE(efa_try_inject(x.t, peer, &e, &byte, 1));
  REQUIRE(x.t->sends_posted == 0);
  efa_peer_destroy(x.t, peer);
  CHECK(x.fabric.addresses_removed == 0);
  CHECK(x.t->peers.departed() == 1);
  CHECK(x.t->peers.size() == 2);
  CHECK(x.t->peers.find([](const efa_peer* each) { return each->uid == 55; }) == nullptr);
}

TEST_CASE("The address of a peer to which nothing was sent is removed with it") {
  Transport x;
  efa_peer_destroy(x.t, make(x, card()));
  CHECK(x.fabric.addresses_removed == 1);
  CHECK(x.t->peers.departed() == 0);
}

TEST_CASE("Many peers share host names and blocks, and their memory is reused") {
  Transport fixture;
  std::vector<efa_peer*> peers;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1000; ++i) {
      auto peer_card = card();
      peer_card.host = "host" + std::to_string(i / 100);
      peer_card.nic = "nic" + std::to_string(i % 4);
      peers.push_back(make(fixture, peer_card));
      REQUIRE(peers.back());
      CHECK(reinterpret_cast<uintptr_t>(peers.back()) % 64 == 0);
    }
    CHECK(fixture.t->peers.size() == 1002);
    CHECK(fixture.t->peers.names() == 14);
    CHECK(std::set<efa_peer*>(peers.begin(), peers.end()).size() == 1000);
    CHECK(fixture.t->peers.places() == 1024);
    CHECK(peers[0]->hostname == peers[99]->hostname);
    CHECK(peers[0]->nic == peers[996]->nic);
    CHECK(efa::to_string(peers[250]) == "rank 5 on host host2 (NIC nic2)");
    for (efa_peer* peer : peers) efa_peer_destroy(fixture.t, peer);
    CHECK(fixture.t->peers.size() == 2);
    peers.clear();
  }
}

TEST_CASE("A peer that reuses the memory of a removed one starts with a clean state") {
  Transport fixture;
  efa_peer* first = make(fixture, card());
  first->rails = std::make_unique<std::vector<fi_addr_t>>(1, 1);
  efa_peer_destroy(fixture.t, first);
  efa_peer* second = make(fixture, card());
  CHECK(second == first);
  CHECK(second->rails == nullptr);
  CHECK(fixture.t->peers.find([](const efa_peer* each) { return each->uid == 55; }) == second);
  efa_peer_destroy(fixture.t, second);
  CHECK(fixture.t->peers.find([](const efa_peer* each) { return each->uid == 55; }) == nullptr);
}

TEST_CASE("No peer is made if the provider refuses its address") {
  Transport fixture;
  fi_ops_av refusing = *fixture.fabric.av.ops;
  refusing.insert = [](fid_av*, const void*, size_t, fi_addr_t*, uint64_t, void*) { return -FI_ENOMEM; };
  fixture.fabric.av.ops = &refusing;
  CHECK(make(fixture, card()) == nullptr);
  CHECK_THAT(
      fixture.reports.at(0),
      Contains("Rank 0 on host here cannot talk to rank 5 on host far: fi_av_insert failed on fake0") &&
          Contains("Cannot allocate memory"));
  CHECK(fixture.t->peers.size() == 2);
}

TEST_CASE("An address that the provider accepts when it is asked again makes a peer") {
  Transport fixture;
  static int refusals;
  refusals = 1;
  fi_ops_av refusing = *fixture.fabric.av.ops;
  refusing.insert = [](fid_av*, const void*, size_t, fi_addr_t* to, uint64_t, void*) {
    *to = 77;
    return refusals-- > 0 ? 0 : 1;
  };
  fixture.fabric.av.ops = &refusing;
  efa_peer* peer = make(fixture, card());
  REQUIRE(peer);
  CHECK(peer->address == 77);
  CHECK(fixture.reports.empty());
  efa_peer_destroy(fixture.t, peer);
}

TEST_CASE("The address on an additional rail is inserted once, when it is needed") {
  Transport fixture;
  Fabric second;
  auto rail = std::make_unique<efa::OpenRail>();
  rail->av.reset(&second.av);
  rail->info.reset(fi_allocinfo());
  rail->info->domain_attr->name = strdup("fake1");
  fixture.t->rails.more.push_back(std::move(rail));
  efa_peer* peer = make(fixture, card());
  static int asked;
  static bool there;
  asked = 0;
  there = false;
  fixture.t->config.card = [](uint64_t uid, size_t* size) -> void* {
    ++asked;
    auto peer_card = card();
    peer_card.more = {5, 6, 7, 8};
    const auto bytes = peer_card.serialize();
    *size = bytes.size();
    return there && uid == 55 ? std::memcpy(std::malloc(bytes.size()), bytes.data(), bytes.size()) : nullptr;
  };
  CHECK(efa::peer_rails(fixture.t, peer, 1) == std::vector<fi_addr_t>{77});
  CHECK(asked == 0);
  CHECK(efa::peer_rails(fixture.t, peer, 2).empty());  // the address cannot be inserted
  CHECK_THAT(fixture.reports.at(0), Contains("not known any more for NIC fake1"));
  there = true;
  CHECK(efa::peer_rails(fixture.t, peer, 2) == std::vector<fi_addr_t>{77, 77});
  CHECK(efa::peer_rails(fixture.t, peer, 2).size() == 2);
  CHECK(asked == 2);
  efa_peer_destroy(fixture.t, peer);
}

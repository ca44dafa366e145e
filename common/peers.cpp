// Making peers from their cards, finding them on further rails, letting them go.
#include "peers.hpp"

#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "transport.hpp"

namespace efa {

efa_peer* Peers::add() {
  if (!unused_) {
    blocks_.emplace_back(new efa_peer[kBlock]);
    for (size_t i = kBlock; i-- > 0;) give_back(&blocks_.back()[i]);
  }
  efa_peer* peer = unused_;
  unused_ = peer->next_unused;
  peer->waiting = nullptr;
  peer->state = PeerState::live;
  ++live_;
  return peer;
}

void Peers::remove(efa_peer* peer) {
  *peer = efa_peer();
  give_back(peer);
  --live_;
}

void Peers::retire(efa_peer* peer) {
  peer->state = PeerState::departed;
  --live_;
  ++departed_;
}

bool shares_memory(const ProviderTraits& traits) {
  if (traits.one_node) return true;
  const char* set = std::getenv("FI_EFA_ENABLE_SHM_TRANSFER");  // efa's switch; on unless it says no
  constexpr std::string_view kNo[] = {"0", "no", "off", "false"};
  return traits.name == "efa" && (!set || std::find(std::begin(kNo), std::end(kNo), set) == std::end(kNo));
}

namespace {

// Also in containers with host names of their own: an efa address begins with the NIC's 16-byte GID, and efa
// itself takes peers with the GID of a local NIC for local.
bool on_this_node(const efa_transport* t, const Card& card) {
  if (card.host == t->config.hostname) return true;
  constexpr size_t kGid = 16;
  return t->traits->name == "efa" && t->address.size() >= kGid && card.address.size() >= kGid &&
         std::equal(t->address.begin(), t->address.begin() + kGid, card.address.begin());
}

}  // namespace
}  // namespace efa

extern "C" efa_peer* efa_peer_create(efa_transport* t, const efa_identity* identity, const void* bytes,
                                     size_t size) {
  using namespace efa;
  Guard guard(t);
  const auto refuse = [&](const std::string& why) -> efa_peer* {
    t->report(EFA_REPORT_ERROR, "Rank " + std::to_string(t->config.self.world_rank) + " on host " +
                                    t->config.hostname + " cannot talk to rank " +
                                    std::to_string(identity->world_rank) + ": " + why + ".");
    return nullptr;
  };
  std::string why;
  const auto card = Card::parse(bytes, size, why);
  if (!card) return refuse(why);
  if (card->provider != t->rail.provider())
    return refuse("it uses libfabric's provider " + card->provider + ", this process uses " +
                  t->rail.provider() +
                  "; name one that all processes have with the parameter mtl_efa_provider_include");

  if (card->address.size() != t->address_size) return refuse("its address has another format");

  fi_addr_t address = FI_ADDR_UNSPEC;
  const int inserted = fi_av_insert(t->rail.av.get(), card->address.data(), 1, &address, 0, nullptr);
  if (inserted != 1)
    return refuse(std::string("fi_av_insert failed on ") + t->rail.nic() + ": " +
                  (inserted < 0 ? fi_strerror(-inserted) : "the provider does not take the address"));

  efa_peer* peer = t->peers.add();
  peer->address = address;
  peer->uid = identity->uid;
  peer->world_rank = identity->world_rank;
  peer->hostname = t->peers.intern(card->host);
  peer->nic = t->peers.intern(card->nic);
  // Inside a node the provider's shared memory has rules of its own, and copies as fast as a NIC reads.
  const bool shared = on_this_node(t, *card) && shares_memory(*t->traits);
  const uint64_t longest = shared && !switched_on(kCrossMemoryAttachOff)
                               ? std::min(card->eager_limit, t->traits->eager_limit_local)
                               : card->eager_limit;
  peer->piece = shared && t->config.options.chunk_size < 0 ? kPieceLocal : t->protocols.piece;
  peer->pulls = t->protocols.pulls && !shared;
  const auto limit = [&](uint64_t ours) {
    return static_cast<uint32_t>(std::min(ours, longest));
  };  // at most 1 GiB
  peer->eager_limit = limit(t->protocols.eager_limit);
  peer->eager_limit_packed = limit(t->protocols.eager_limit_packed);
  peer->eager_limit_alone = shared ? 0 : limit(t->protocols.eager_limit_alone);
  if (t->contacts.enabled()) peer->pending.await_first();
  return peer;
}

extern "C" efa_peer* efa_peer_create_once(efa_transport* t, const efa_identity* identity, const void* bytes,
                                          size_t size, void** place) {
  efa::Guard guard(t);
  if (!*place) {
    efa_peer* peer = efa_peer_create(t, identity, bytes, size);
    std::atomic_thread_fence(std::memory_order_release);  // others read `place` without the lock
    *place = peer;
  }
  return static_cast<efa_peer*>(*place);
}

namespace efa {
namespace {

// The raw addresses of all the peer's rails, one after the other; empty if nobody knows them any more.
std::vector<uint8_t> raw_addresses(const efa_transport* t, const efa_peer* peer) {
  size_t size = 0;
  void* bytes = t->config.card ? t->config.card(peer->uid, &size) : nullptr;
  std::string why;
  const auto card = bytes ? Card::parse(bytes, size, why) : std::nullopt;
  std::free(bytes);
  if (!card || card->address.size() != t->address_size) return {};
  auto addresses = card->address;
  addresses.insert(addresses.end(), card->more.begin(), card->more.end());
  return addresses;
}

}  // namespace

std::vector<fi_addr_t> peer_rails(efa_transport* t, efa_peer* peer, unsigned count) {
  if (count <= 1) return {peer->address};
  if (peer->rails.empty()) peer->rails.push_back(peer->address);
  if (peer->rails.size() < count) {
    // All at once, so that the card is not looked up again.
    const auto addresses = raw_addresses(t, peer);
    const size_t size = t->address_size;
    for (auto mine = static_cast<unsigned>(peer->rails.size()); mine < t->rail_count(); ++mine) {
      // Our rail i talks to the peer's rail i, modulo the number that it has.
      const uint8_t* raw =
          addresses.empty() ? nullptr : addresses.data() + mine % (addresses.size() / size) * size;
      fi_addr_t address = FI_ADDR_UNSPEC;
      const Rail& rail = t->rail_at(mine);
      if (!raw || fi_av_insert(rail.av.get(), raw, 1, &address, 0, nullptr) != 1) {
        t->report(EFA_REPORT_WARNING, "The address of " + to_string(peer) + " is not " +
                                          (raw ? "taken by" : "known any more for") + " NIC " + rail.nic() +
                                          ", so long messages from it are not read by RDMA.");
        return {};
      }
      peer->rails.push_back(address);
    }
  }
  return {peer->rails.begin(), peer->rails.begin() + count};
}

}  // namespace efa

extern "C" void efa_peer_destroy(efa_transport* t, efa_peer* peer) {
  efa::Guard guard(t);
  // Operations in flight still refer to it, and a provider may still acknowledge packets to the address.
  const bool referred_to = t->sends_posted || !t->pending.empty() || t->ready_to_send.size();
  // MPI_Finalize lets all peers go before efa_close, which is to say who never answered.
  if (!referred_to || !peer->contact || !peer->contact->warned) t->contacts.end(peer);
  if (referred_to) {
    t->peers.retire(peer);
    return;
  }
  fi_av_remove(t->rail.av.get(), &peer->address, 1, 0);
  for (unsigned i = 1; i < peer->rails.size(); ++i)
    fi_av_remove(t->rail_at(i).av.get(), &peer->rails[i], 1, 0);
  t->peers.remove(peer);
}

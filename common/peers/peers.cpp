// Creating peers from their cards, addresses on further rails, destroying peers.

#include "peers/peers.hpp"

#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "channel/process_memory.hpp"
#include "channel/shm_words.hpp"
#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/provider_words.hpp"
#include "peers/card.hpp"
#include "state.hpp"

namespace efa {

efa_peer* Peers::add() {
  reserve();
  efa_peer* peer = unused_;
  unused_ = peer->next_unused;
  peer->waiting = nullptr;
  peer->state = PeerState::live;
  ++live_;
  return peer;
}

void Peers::reserve() {
  if (unused_) return;
  blocks_.push_back(std::make_unique<efa_peer[]>(kBlock));
  for (size_t i = kBlock; i-- > 0;) give_back(&blocks_.back()[i]);
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

bool shares_memory(const efa_transport* t) {
  return t->traits->one_node || (t->traits->name == "efa" && !t->without_shared_memory);
}

uint64_t longest_eager_inside(const efa_transport* t) {
  return shares_memory(t) && !switched_on(kCrossMemoryAttachOff) ? t->traits->eager_limit_local : UINT64_MAX;
}

bool speaks_for_node(const efa_transport* t) {
  return t->config.local_rank == 0;
}

namespace {

// Variables decide what libfabric has; who started the other job decides about its variables.
MessagePart cause_in_spawned(const efa_transport* t, const efa_identity& identity) {
  if (identity.job == t->config.self.job) return {};
  const bool drops_variables = t->config.mpi && std::string_view(t->config.mpi).starts_with("Open MPI 5");
  return drops_variables ? msg::peer_other_job_variables() : msg::peer_other_job();
}

// Containers may have different host names. So the GID decides as well: an efa address begins with the NIC's 16-byte GID,
// and efa treats peers with the GID of a local NIC as local.
bool on_this_node(const efa_transport* t, const Card& card) {
  if (card.host == t->config.hostname) return true;
  constexpr size_t kGid = 16;
  return t->traits->name == "efa" && t->address.size() >= kGid && card.address.size() >= kGid &&
         std::equal(t->address.begin(), t->address.begin() + kGid, card.address.begin());
}

// Repeats an insertion that has failed, to know why: efa writes the reason only to libfabric's log. False with a reason.
bool insert_again(efa_transport* t, const uint8_t* raw, fi_addr_t& address, MessagePart& why) {
  const ProviderWords words;
  const int inserted = fi_av_insert(t->rails.first.av.get(), raw, 1, &address, 0, nullptr);
  if (inserted == 1) return true;
  why = inserted < 0 ? msg::peer_address_failed(t->rails.first.nic(), fi_strerror(-inserted))
                     : msg::peer_address_refused(t->rails.first.nic());
  if (const std::string said = words.of(t->rails.first.provider()); !said.empty())
    why.append(msg::peer_address_said(said));
  if (words.contain("ibv_create_ah failed")) why.append(msg::peer_no_address_handle());
  return false;
}

// Whether the provider can read the card's address. Text, such as the name of a shm endpoint, differs in length from
// process to process, and the provider reads it up to its end.
bool address_is_readable(const efa_transport* t, const Card& card) {
  const auto& address = card.address;
  if (t->rails.first.info->addr_format != FI_ADDR_STR) return address.size() == t->address_size;
  const auto end = std::find(address.begin(), address.end(), 0);
  return end != address.begin() && end + 1 == address.end();
}

}  // namespace
}  // namespace efa

namespace efa {
namespace {

// A notice for the first such peer, by one process of the node.
efa_severity severity_once(const efa_transport* t, bool& told) {
  const bool first = !told && speaks_for_node(t);
  told = true;
  return first ? EFA_REPORT_NOTICE : EFA_REPORT_VERBOSE;
}

// Needs memory, which may be missing: then nothing is said.
void say_why_no_memory_is_shared(efa_transport* t, const efa_peer* peer, const ShmFailure& failure) {
  if_memory_allows([&] {
    t->report(msg::shm_peer_refused(this_process(t), to_string(peer), to_string(failure),
                                    t->rails.first.provider(), remedy_for(failure)),
              severity_once(t, t->packets->told_of_shm_peer));
  });
}
void say_why_no_memory_is_read(efa_transport* t, const efa_peer* peer, int error) {
  if_memory_allows([&] {
    t->report(msg::memory_unreadable(this_process(t), to_string(peer), std::strerror(error), kMostShmPayload,
                                     t->rails.first.provider(), remedy_for_reading()),
              severity_once(t, t->packets->told_of_memory));
  });
}

void connect_shared_memory(efa_transport* t, efa_peer* peer, const ShmAddress& address) {
  ShmFailure failure;
  peer->shm.reset(ShmChannel::connect(address, t->config.self.uid, failure));
  peer->pid = address.pid;
  if (!peer->shm) {
    say_why_no_memory_is_shared(t, peer, failure);
    return;
  }
  const int error = probe_process_memory(address.pid, address.cookie_address, address.cookie);
  peer->reads_memory = error == 0;
  if (error) say_why_no_memory_is_read(t, peer, error);
}

// Longer messages inside the node are copied once, by the receiver out of the sender's memory, which takes a system call
// and two packets; shorter ones are copied twice through the ring. Where the call is cheap, that pays from here on
// (docs/performance.md#the-packet-path).
constexpr uint64_t kLongestBesideReads = 4096;  // bytes
constexpr uint64_t kCheapRead = 1000;           // ns

// Packet path: shared memory if the peer is on this node and its memory can be opened; otherwise the provider.
void connect_for_packets(efa_transport* t, efa_peer* peer, const Card& card) {
  const Protocols& protocols = t->protocols;
  if (t->packets->shm.is_open() && same_node_possible(card.shm)) connect_shared_memory(t, peer, card.shm);
  const bool reads_soon = peer->reads_memory && cost_of_reading(card.shm.pid, card.shm.cookie_address) <= kCheapRead;
  const uint64_t longest = !peer->shm ? card.eager_limit : reads_soon ? kLongestBesideReads : kMostShmPayload;
  peer->eager_limit = static_cast<uint32_t>(std::min(protocols.eager_limit, longest));
  peer->eager_limit_packed = static_cast<uint32_t>(std::min(protocols.eager_limit_packed, longest));
  peer->window = t->packets->budget.half;
  peer->piece = protocols.piece;
  peer->pulls = protocols.pulls && !peer->shm && card.read_family == protocols.read_family;
  if_memory_allows([&] { t->liveness.hello(peer->hostname, card.ping, peer->uid); });
  if (peer->shm) {
    peer->sent_to = true;
    return;
  }
  ++t->packets->distant_peers;
  if (t->contacts.enabled())
    peer->pending.await_first();
  else
    peer->sent_to = true;
}

efa_peer* create_peer(efa_transport* t, const efa_identity* identity, const void* bytes, size_t size) {
  MessagePart where;  // the peer's host, as soon as it is known
  const auto refuse = [&](const MessagePart& why) -> efa_peer* {
    t->report(
        msg::peer_refused(t->config.self.world_rank, t->config.hostname, identity->world_rank, where, why));
    return nullptr;
  };
  MessagePart why;
  const auto card = Card::parse(bytes, size, why);
  if (!card) return refuse(why);
  where = msg::peer_on_host(card->host);
  if (card->provider != t->rails.first.provider())
    return refuse(
        msg::peer_other_provider(card->provider, t->rails.first.provider(), cause_in_spawned(t, *identity)));

  if (card->path != t->path->name) return refuse(msg::peer_other_path(card->path, t->path->name));

  if (!address_is_readable(t, *card)) return refuse(msg::peer_address_format());

  const char* const hostname = t->peers.intern(card->host);
  const char* const nic = t->peers.intern(card->nic);
  t->peers.reserve();
  fi_addr_t address = FI_ADDR_UNSPEC;
  if (fi_av_insert(t->rails.first.av.get(), card->address.data(), 1, &address, 0, nullptr) != 1 &&
      !insert_again(t, card->address.data(), address, why))
    return refuse(why);

  efa_peer* peer = t->peers.add();  // from here on nothing is allocated
  peer->address = address;
  peer->uid = identity->uid;
  peer->world_rank = identity->world_rank;
  peer->own_job = identity->job == t->config.self.job;
  peer->hostname = hostname;
  peer->nic = nic;
  if (t->packets) {
    connect_for_packets(t, peer, *card);
    return peer;
  }
  // Inside a node the provider's shared memory has its own limits, and RDMA read would not be faster.
  const bool shared = on_this_node(t, *card) && shares_memory(t);
  const uint64_t longest = shared ? std::min(card->eager_limit, longest_eager_inside(t)) : card->eager_limit;
  peer->piece = shared && t->config.options.chunk_size < 0 ? kPieceLocal : t->protocols.piece;
  peer->pulls = t->protocols.pulls && !shared && card->read_family == t->protocols.read_family;
  const auto limit = [&](uint64_t ours) {
    return static_cast<uint32_t>(std::min(ours, longest));
  };  // at most 1 GiB
  peer->eager_limit = limit(t->protocols.eager_limit);
  peer->eager_limit_packed = limit(t->protocols.eager_limit_packed);
  peer->eager_limit_alone = shared ? 0 : limit(t->protocols.eager_limit_alone);
  if_memory_allows([&] { t->liveness.hello(hostname, card->ping, identity->uid); });
  if (t->contacts.enabled())
    peer->pending.await_first();
  else
    peer->sent_to = true;  // its first message may be injected, which nothing marks
  return peer;
}

}  // namespace
}  // namespace efa

extern "C" efa_peer* efa_peer_create(efa_transport* t, const efa_identity* identity, const void* bytes,
                                     size_t size) try {
  efa::Guard guard(t);
  return efa::create_peer(t, identity, bytes, size);
} catch (...) {
  efa::report_exception(t, efa::msg::op_connect.without_memory(identity->world_rank));
  return nullptr;
}

extern "C" efa_peer* efa_peer_create_once(efa_transport* t, const efa_identity* identity, const void* bytes,
                                          size_t size, void** place) {
  efa::Guard guard(t);
  if (!*place) {
    efa_peer* peer = efa_peer_create(t, identity, bytes, size);
    std::atomic_ref(*place).store(peer, std::memory_order_release);  // others load it without the lock
  }
  return static_cast<efa_peer*>(*place);
}

namespace efa {

std::optional<Card> card_of(const efa_transport* t, uint64_t uid) {
  size_t size = 0;
  void* bytes = t->config.card ? t->config.card(uid, &size) : nullptr;
  MessagePart why;
  auto card = bytes ? Card::parse(bytes, size, why) : std::nullopt;
  std::free(bytes);
  return card;
}

namespace {

// The raw addresses of all the peer's rails, one after the other; empty if the card is not available any more.
std::vector<uint8_t> raw_addresses(const efa_transport* t, const efa_peer* peer) {
  const auto card = card_of(t, peer->uid);
  if (!card || card->address.size() != t->address_size) return {};
  auto addresses = card->address;
  addresses.insert(addresses.end(), card->more.begin(), card->more.end());
  return addresses;
}

}  // namespace

efa_peer* known_peer(const efa_transport* t, uint64_t uid) {
  return const_cast<efa_peer*>(t->peers.find([&](const efa_peer* each) { return each->uid == uid; }));
}

efa_peer* peer_of(efa_transport* t, uint64_t uid) {
  if (efa_peer* known = known_peer(t, uid)) return known;
  return t->config.find ? t->config.find(uid) : nullptr;
}

bool has_failed(const efa_transport* t, uint64_t uid) {
  return t->failed_peers &&
         t->peers.find([&](const efa_peer* peer) { return peer->uid == uid && peer->pending.failed(); });
}

std::vector<fi_addr_t> peer_rails(efa_transport* t, efa_peer* peer, unsigned count) {
  if (count <= 1) return {peer->address};
  if (!peer->rails) peer->rails = std::make_unique<std::vector<fi_addr_t>>(1, peer->address);
  std::vector<fi_addr_t>& rails = *peer->rails;
  if (rails.size() < count) {
    // All rails at once, so that the card is read once.
    const auto addresses = raw_addresses(t, peer);
    rails.reserve(t->rails.count());
    const size_t size = t->address_size;
    for (auto mine = static_cast<unsigned>(rails.size()); mine < t->rails.count(); ++mine) {
      // Our rail i uses the peer's rail i, modulo the number of the peer's rails.
      const uint8_t* raw =
          addresses.empty() ? nullptr : addresses.data() + mine % (addresses.size() / size) * size;
      fi_addr_t address = FI_ADDR_UNSPEC;
      const Rail& rail = t->rails.at(mine);
      if (!raw || fi_av_insert(rail.av.get(), raw, 1, &address, 0, nullptr) != 1) {
        t->report(raw ? msg::peer_rail_refused(to_string(peer), rail.nic())
                      : msg::peer_rail_unknown(to_string(peer), rail.nic()));
        return {};
      }
      rails.push_back(address);
    }
  }
  return {rails.begin(), rails.begin() + count};
}

}  // namespace efa

extern "C" void efa_peer_destroy(efa_transport* t, efa_peer* peer) {
  efa::Guard guard(t);
  t->path->forget_peer(t, peer);
  t->stalls.forget(peer);
  t->liveness.forget(peer);
  t->pulls_open -= std::erase(t->undeliverable, peer);
  for (efa::AloneSend& sent : t->alone)
    if (sent.peer == peer) sent.peer = nullptr;
  const bool referred_to = t->sends_posted || !t->pending.empty() || t->ready_to_send.size();
  // MPI_Finalize destroys all peers before efa_close, which reports the peers that never answered.
  if (!referred_to || !peer->contact || !peer->contact->warned) t->contacts.end(peer);
  // Operations in flight refer to it. Injected messages have no completion, so nothing tells when the last one has left,
  // and fi_av_remove drops those that the provider still holds (libfabric's efa: efa_rdm_peer_destruct). So an address
  // that was sent to stays until the address vector is closed, after the endpoint, whose fi_close waits for what efa has
  // queued. Open MPI destroys peers in MPI_Finalize only, so they do not accumulate.
  if (referred_to || peer->sent_to) {
    t->peers.retire(peer);
    return;
  }
  fi_av_remove(t->rails.first.av.get(), &peer->address, 1, 0);
  for (unsigned i = 1; peer->rails && i < peer->rails->size(); ++i)
    fi_av_remove(t->rails.at(i).av.get(), &(*peer->rails)[i], 1, 0);
  t->peers.remove(peer);
}

// Peers: the processes that this one has communicated with. Other processes need no memory in common/.
//
// A job may have a million ranks, so a peer has two cache lines, of which an operation reads the first. Names are shared.
// Addresses on further rails are looked up when a message is first read over them.
#pragma once

#include <rdma/fabric.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "channel/shm_channel.hpp"
#include "interface/transport.h"
#include "peers/card.hpp"
#include "peers/first_contact.hpp"
#include "peers/pending.hpp"

namespace efa {

enum class PeerState : uint8_t { unused, live, departed };
struct ShmDisconnect {
  void operator()(ShmSender* sender) const { ShmChannel::disconnect(sender); }
};
struct Transfer;

}  // namespace efa

struct alignas(64) efa_peer {
  // Read by every operation.
  fi_addr_t address = FI_ADDR_UNSPEC;
  efa::PendingList pending;
  uint32_t eager_limit = 0;         // of contiguous messages to this peer, bytes
  uint32_t eager_limit_packed = 0;  // of noncontiguous ones
  union {
    uint32_t eager_limit_alone = 0;  // tagged path: of both while no other long message is being sent; 0: no more then
    int32_t window;  // packet path: what messages to it may cost, bytes; negative: see packets/flow.hpp
  };
  uint16_t steps = 0;  // operations that were posted or completed while others waited, modulo 2^16: see stalled_peers.hpp
  bool unmatched_alone = false;  // it has not said yet that it matched the last message sent by eager_limit_alone
  bool sent_to : 1 = false;      // something was, or may have been, sent to it
  bool own_job : 1 = true;       // it belongs to this process's job
  std::unique_ptr<efa::ShmSender, efa::ShmDisconnect> shm;  // packet path, on the same node: what packets go through
  int32_t world_rank = -1;
  bool pulls = false;  // it may be read from by RDMA
  efa::PeerState state = efa::PeerState::unused;
  uint16_t pieces_sent = 0;  // pieces of pushes to it that are in flight
  // For messages, acknowledgements and set-up.
  uint64_t uid = 0;
  uint64_t piece = 0;        // of a contiguous rendezvous
  uint32_t pid = 0;          // with `shm`
  bool reads_memory = false;  // with `shm`: this process may read the peer's memory
  const char* hostname = "";  // both belong to Peers, or are literals
  const char* nic = "";
  std::unique_ptr<std::vector<fi_addr_t>> rails;  // its address on each of our rails, as far as they were needed
  std::unique_ptr<efa::Contact> contact;  // the first, until it completes; stays after an error
  union {
    efa_peer* next_unused = nullptr;
    efa::Transfer* waiting;  // of a live one: see transfer.hpp; the last of a ring
  };
};
static_assert(sizeof(efa_peer) == 128);

namespace efa {

// Storage of peers in blocks: a peer needs no allocation of its own, and adding and removing take constant time. Not
// thread-safe: the transport's lock covers it.
class Peers {
 public:
  Peers() = default;
  Peers(const Peers&) = delete;

  efa_peer* add();
  void reserve();  // so that the next add() allocates nothing
  void remove(efa_peer* peer);
  // The peer is gone, but operations may still refer to it: its memory is kept, and it no longer counts as live.
  void retire(efa_peer* peer);
  size_t size() const { return live_; }
  bool empty() const { return live_ == 0; }
  size_t departed() const { return departed_; }
  // The first live peer for which `condition` holds, or null. Visits all peers: for error messages only.
  template <class Condition>
  const efa_peer* find(Condition condition) const {
    for (const auto& block : blocks_)
      for (size_t i = 0; i < kBlock; ++i)
        if (block[i].state == PeerState::live && condition(&block[i])) return &block[i];
    return nullptr;
  }
  // A copy of the text, shared by all peers that have it; lives as long as this object.
  const char* intern(const std::string& text) { return names_.insert(text).first->c_str(); }
  size_t names() const { return names_.size(); }
  size_t places() const { return blocks_.size() * kBlock; }  // used or not

 private:
  void give_back(efa_peer* peer) {
    peer->next_unused = unused_;
    unused_ = peer;
  }

  static constexpr size_t kBlock = 64;  // peers; 8 KiB

  std::vector<std::unique_ptr<efa_peer[]>> blocks_;
  efa_peer* unused_ = nullptr;
  size_t live_ = 0, departed_ = 0;
  std::unordered_set<std::string> names_;
};


// Whether the provider moves messages inside the node through shared memory.
bool shares_memory(const efa_transport* t);
// Tagged path: bytes that a message to a peer on this node must not exceed to be sent eagerly; UINT64_MAX: as elsewhere.
uint64_t longest_eager_inside(const efa_transport* t);
// Whether this process prints what concerns all processes of its node.
bool speaks_for_node(const efa_transport* t);
// The card of the peer with this uid; nullopt if it is not available any more.
std::optional<Card> card_of(const efa_transport* t, uint64_t uid);
// The peer with this uid; null if there is none.
efa_peer* known_peer(const efa_transport* t, uint64_t uid);
// The same, created if necessary; null if its card is not known.
efa_peer* peer_of(efa_transport* t, uint64_t uid);
// The addresses of `peer` on our first `count` rails; empty, after a report, if it cannot be reached on one.
std::vector<fi_addr_t> peer_rails(efa_transport* t, efa_peer* peer, unsigned count);
// Whether the peer with this uid has failed: its messages about earlier operations are then late, and no error.
bool has_failed(const efa_transport* t, uint64_t uid);

}  // namespace efa

// Peers: the processes that this one has met. A process it has not met costs common/ nothing.
//
// A job may have a million ranks, so what is kept for each is counted: two cache lines, of which an operation reads the
// first. Names are shared, and addresses on further rails are looked up when a message is first read over them.
#pragma once

#include <rdma/fabric.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "first_contact.hpp"
#include "pending.hpp"

namespace efa {

enum class PeerState : uint8_t { unused, live, departed };
struct Transfer;

}  // namespace efa

struct alignas(64) efa_peer {
  // Read by every operation.
  fi_addr_t address = FI_ADDR_UNSPEC;
  efa::PendingList pending;
  uint32_t eager_limit = 0;         // of contiguous messages to this peer, bytes
  uint32_t eager_limit_packed = 0;  // of noncontiguous ones
  uint32_t eager_limit_alone = 0;   // of both while no other long message is being sent; 0: no more then
  uint64_t piece = 0;               // of a contiguous rendezvous
  int32_t world_rank = -1;
  bool pulls = false;  // it may be read from by RDMA
  efa::PeerState state = efa::PeerState::unused;
  uint16_t pieces_sent = 0;  // pieces of pushes to it that are under way
  // For messages, acknowledgements and set-up.
  uint64_t uid = 0;
  const char* hostname = "";  // both belong to Peers, or are literals
  const char* nic = "";
  std::vector<fi_addr_t> rails;           // its address on each of our rails, as far as they were needed
  std::unique_ptr<efa::Contact> contact;  // the first, until it completes; stays after an error
  union {
    efa_peer* next_unused = nullptr;
    efa::Transfer* waiting;  // of a live one: see transfer.hpp; the last of a ring
  };
};
static_assert(sizeof(efa_peer) == 128);

namespace efa {

// Where peers live: in blocks, so that each costs its own bytes and no allocation, and coming and going takes the same
// time however many there are. Not thread-safe: the transport's lock covers it.
class Peers {
 public:
  Peers() = default;
  Peers(const Peers&) = delete;

  efa_peer* add();
  void remove(efa_peer* peer);
  // It is gone, but operations still refer to it: it is kept as it is, and no longer among those that are live.
  void retire(efa_peer* peer);
  size_t size() const { return live_; }
  bool empty() const { return live_ == 0; }
  size_t departed() const { return departed_; }
  // The first live peer that `condition` holds for, or null. Visits them all: for messages only.
  template <class Condition>
  const efa_peer* find(Condition condition) const {
    for (const auto& block : blocks_)
      for (size_t i = 0; i < kBlock; ++i)
        if (block[i].state == PeerState::live && condition(&block[i])) return &block[i];
    return nullptr;
  }
  // The text, kept once however many peers have it, as long as this object lives.
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

}  // namespace efa

// The state of the packet path: what has been posted and what has arrived, and the channels.
#pragma once

#include <rdma/fi_eq.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "channel/packet.hpp"
#include "channel/shm_channel.hpp"
#include "interface/transport.h"
#include "packets/asks.hpp"
#include "packets/communicators.hpp"
#include "packets/flow.hpp"
#include "packets/held_sends.hpp"

namespace efa {

struct PacketReceive;

// Completions that were read from the completion queue and not handled yet. A handler may make progress again; then the
// inner call goes on with the next of them, so that packets are matched in the order of arrival.
struct CompletionBatch {
  static constexpr size_t kMost = 64;
  size_t next = 0, count = 0;
  fi_cq_tagged_entry entries[kMost];
};

// When to read the provider's completion queue while nothing is expected of it: some providers make system calls for that,
// each as long as many messages of the node. A process that has only sent to its own node must still notice when another
// one sends to it.
class ProviderPolls {
 public:
  // Once for each progress call.
  bool due() { return --left_ == 0; }
  // After the queue was read: the longer it has been quiet, the more seldom.
  void read(bool found_something) {
    interval_ = found_something ? kLeast : interval_ < kMost ? interval_ * 2 : kMost;
    left_ = interval_;
  }

 private:
  static constexpr unsigned kLeast = 32, kMost = 4096;  // progress calls
  unsigned interval_ = kLeast, left_ = kLeast;
};

struct Packets {
  Packets();
  Packets(const Packets&) = delete;
  ~Packets();

  Communicators communicators;
  ShmChannel shm;
  ShmFailure shm_failure;            // why it is not open although mtl_efa_shm allows it; no `call`: it is open, or not allowed
  bool told_of_shm_peer = false;     // a notice has named a peer of the node whose memory cannot be opened
  bool told_of_memory = false;       // or read
  uint64_t distant_peers = 0;  // those that packets reach by the provider
  uint64_t kept = 0;           // unmatched messages in memory, also those that a matched probe has taken
  uint64_t kept_most = 0;      // the greatest number so far
  uint64_t kept_bytes = 0;     // their data
  Budget budget;
  SendFlows send_flows;
  Asks asks;
  bool peers_destroyed = false;  // at least one: MPI_Finalize has begun
  CompletionBatch batch;
  ProviderPolls provider_polls;
  std::vector<std::unique_ptr<PacketReceive>> receives;  // posted to the provider: see message_channel.hpp
};

}  // namespace efa

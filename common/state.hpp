// The transport's own state. One object per process and endpoint, no globals.
//
// Lock: with threads every entry from outside holds `lock` (recursive, since progress may be made inside a call). All
// other functions here assume that it is held. So libfabric is only called by one thread at a time, and FI_THREAD_DOMAIN is
// enough.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer_pool.hpp"
#include "base/id_table.hpp"
#include "base/user_message.hpp"
#include "fabric/medium_limit.hpp"
#include "fabric/provider_table.hpp"
#include "health/liveness.hpp"
#include "health/stalled_peers.hpp"
#include "health/unacknowledged.hpp"
#include "health/watchdog.hpp"
#include "interface/counters.h"
#include "interface/transport.h"
#include "matching/tag.hpp"
#include "packets/packets.hpp"
#include "peers/first_contact.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "protocol/control.hpp"
#include "protocol/failed_transfers.hpp"
#include "protocol/lock.hpp"
#include "protocol/open_requests.hpp"
#include "protocol/overflow.hpp"
#include "protocol/path.hpp"
#include "protocol/rails.hpp"
#include "protocol/registration.hpp"
#include "protocol/synchronous.hpp"
#include "protocol/thresholds.hpp"
#include "protocol/wire.hpp"
#include "tagged/claims.hpp"
#include "tagged/waiting_receives.hpp"

namespace efa {

struct Transfer;

}  // namespace efa

struct alignas(64) efa_transport {
  efa_transport(const efa_config& from, const efa::TagLayout& layout);
  efa_transport(const efa_transport&) = delete;
  ~efa_transport();

  // Read on every operation.
  fid_ep* ep = nullptr;
  fid_cq* cq = nullptr;
  uint64_t inject_limit = 0;
  bool threads = false;
  bool progress_otherwise = false;  // threads, or the packet path
  bool slow_packets = true;    // packet path: threads, or a peer has failed
  bool tells_at_once = true;  // `done` is called where the request ends: no threads, and not closing
  // 0: no threads, a wide tag layout, and no peer has failed; as wide as a register is read (efa_try_recv).
  uint32_t slow_path = 1;
  efa_counters counters{};  // its first four, which the fast path counts, end the first cache line
  efa::TagLayout tags;
  efa::PendingQueue pending;
  efa::PendingList pending_receives;  // the user's
  uint64_t sends_posted = 0;          // that libfabric has not completed
  uint32_t long_sends = 0;            // sends beyond the eager limit that have not ended
  uint64_t pulls_open =
      0;  // transfers of either side that need progress of the further rails, `withdrawals`, `undeliverable`
  unsigned batch = 32;
  efa::Overflow overflow;
  efa::FirstContacts contacts;
  efa::StalledPeers stalls;
  efa::UnacknowledgedSends unacknowledged;
  uint64_t completions = 0;  // entries of completion queues, errors not counted
  unsigned idle_polls = 0;
  efa::Liveness liveness;
  efa::Claims claims;
  efa::OpenRequests requests;
  efa::Lock lock;

  // Control path.
  efa_config config;
  std::vector<efa::UserMessage> usage;  // until efa_say_what_is_used()
  const efa::Path* path = nullptr;
  std::unique_ptr<efa::Packets> packets;  // of the packet path; null on the tagged path
  const efa::ProviderTraits* traits = nullptr;
  bool without_shared_memory =
      false;  // efa: too old, switched off by the user, or libfabric could not open shm
  uint64_t medium_limit = efa::kLongestMedium;  // bytes: longest message that efa sends without a handshake
  efa::Protocols protocols;
  efa::Rails rails;
  efa::Registrations registrations;
  std::vector<uint8_t> card;
  size_t address_size = 0;       // bytes of an endpoint's address
  std::vector<uint8_t> address;  // of rail 0's
  std::unique_ptr<efa::Watchdog> watchdog;
  efa::BufferPool buffers;   // packed data of sends and rendezvous, and messages that were claimed
  efa::BufferPool landings;  // what receives into layouts land in
  efa::IdTable<efa_request>
      ready_to_send;                  // rendezvous and eager synchronous sends that wait for their receiver
  std::vector<efa::AloneSend> alone;  // in the order of sending
  std::vector<efa::Control> withdrawals;  // requested by peers, served by progress
  std::vector<efa_peer*> undeliverable;   // a control message to them was not delivered: progress gives them up
  efa::PendingList pending_internal;      // of pieces and claimed messages
  efa::KeptReceives kept_receives;
  efa::Transfer* transfers = nullptr;  // open transfers; see transfer.hpp
  unsigned failed_peers = 0;
  efa::Controls controls;
  efa::Peers peers;
  std::vector<efa::FailedSend> failed_sends;
  uint32_t next_handle = 0;
  unsigned next_rail = 0;    // first rail of the next message that does not use all rails
  bool making_room = false;  // submit_from_call polls; prevents recursion
  bool draining = false;  // efa_close has begun: requests and their memory may be freed, `done` is not called
  bool closing = false;   // nothing is posted any more
  bool broken = false;    // a fatal error was reported

  // The first step of efa_close: from now on no request's `done` is called.
  void begin_draining();
  void report(const efa::UserMessage& message) const;
  void report(const efa::UserMessage& message, efa_severity severity) const;
  // An error while the program runs. While closing its cause is that others have left MPI already: only verbose.
  void report_unless_draining(const efa::UserMessage& message) const;
  // Ends the job.
  void fatal(const efa::FatalMessage& message);
};

// GCC supports offsetof here, and warns of it in builds with sanitizers only.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
static_assert(offsetof(efa_transport, counters) + 4 * sizeof(uint64_t) <= 64 &&
              offsetof(efa_counters, received_eager_bytes) == 3 * sizeof(uint64_t));
#pragma GCC diagnostic pop

namespace efa {

// Holds the transport's lock for a scope if there are threads.
class Guard {
 public:
  explicit Guard(efa_transport* t) : lock_(t->threads ? &t->lock : nullptr) {
    if (lock_) lock_->lock();
  }
  ~Guard() {
    if (lock_) lock_->unlock();
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Lock* lock_;
};

}  // namespace efa

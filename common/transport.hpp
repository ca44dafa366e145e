// The transport's own state. One object per process and endpoint, no globals.
//
// Lock: with MPI_THREAD_MULTIPLE every entry from outside holds `mutex` (recursive, since a completion
// callback may start the next operation); everything else here assumes that it is held. libfabric is
// therefore only ever called by one thread at a time, and FI_THREAD_DOMAIN is enough.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "buffer_pool.hpp"
#include "completion.hpp"
#include "first_contact.hpp"
#include "id_table.hpp"
#include "peers.hpp"
#include "pending.hpp"
#include "rail.hpp"
#include "registration.hpp"
#include "tag.hpp"
#include "transport.h"
#include "wire.hpp"

namespace efa {

enum RequestKind : uint8_t { kNoRequest = 0, kSendRequest, kRecvRequest, kMatchedRequest };

struct ControlOperation;

inline efa_request* request_of(efa_operation* op) {
  return reinterpret_cast<efa_request*>(op);
}
static_assert(offsetof(efa_request, op) == 0 && offsetof(efa_operation, context) == 0);

// Memory areas that one operation of ours may have, if the provider takes as many.
constexpr size_t kMostParts = 4;

// How the transport sends, decided once at set-up.
struct Protocols {
  uint64_t inject_limit = 0;  // bytes, as all below
  uint64_t eager_limit = 0;
  uint64_t eager_limit_packed = 0;
  uint64_t eager_limit_alone = 0;   // of both while no other long message is being sent; 0: no more then
  uint64_t longest_eager = 0;       // the greatest of the three: what every receive has room for
  uint64_t piece = 0;               // of a contiguous rendezvous
  uint64_t piece_among_others = 0;  // the least, while other long messages are sent
  uint64_t staging = 0;             // of a noncontiguous one
  unsigned window = 0;              // pieces in flight for one message
  unsigned peer_window = 0;         // pieces in flight of all messages that are pushed to one peer
  bool pulls = false;               // rendezvous data can be read by RDMA
  uint64_t pull_limit = 0;          // from this length on
  uint64_t read = 0;                // greatest length of one read
  uint64_t stripe = 0;              // least length of a rail's share of a message
  size_t parts = 1;                 // memory areas that one send or receive may have
  bool truncates = false;           // the provider survives a message that is longer than its receive
};

// Counted where it costs nothing; for tests, the tool and error reports.
struct Stats {
  uint64_t eager_sent = 0, rendezvous_sent = 0, rendezvous_received = 0;
  uint64_t deferred = 0;  // operations that had to wait in the pending queue
  uint64_t claimed = 0;   // messages taken out of matching by a probe
};

}  // namespace efa

struct efa_transport {
  efa_transport(const efa_config& from, const efa::TagLayout& layout);
  efa_transport(const efa_transport&) = delete;
  ~efa_transport();

  // Read on every operation.
  fid_ep* ep = nullptr;
  fid_cq* cq = nullptr;
  uint64_t inject_limit = 0;
  bool threads = false;
  bool usual = false;  // no threads and a wide tag layout: what the shortest code path is for
  efa::TagLayout tags;
  efa::PendingQueue pending;
  efa::PendingList pending_receives;
  uint64_t sends_posted = 0;  // that libfabric has not completed
  uint32_t long_sends = 0;    // sends beyond the eager limit that have not ended
  uint64_t pulls_open = 0;    // transfers that need the further rails to progress, on either side
  unsigned batch = 32;
  iovec overflow_short{};   // what a receive of at most EFA_BOUNCE_SIZE bytes has beside its bounce
  size_t parts_short = 1;   // 2 if it has that
  size_t receive_room = 0;  // bytes that every receive must have, with the overflow's help; 0: its own do
  efa::FirstContacts contacts;
  efa_message* claimed_first = nullptr;  // taken out of matching by a probe, in the order of arrival
  efa_message* claimed_last = nullptr;
  std::recursive_mutex mutex;

  // Control path.
  efa_config config;
  const efa::ProviderTraits* traits = nullptr;
  efa::Protocols protocols;
  efa::Rail rail;                                      // rail 0, which does all matching
  std::vector<std::unique_ptr<efa::Rail>> more_rails;  // for rendezvous data only
  efa::Registrations registrations;
  std::vector<uint8_t> card;
  size_t address_size = 0;       // bytes of an endpoint's address
  std::vector<uint8_t> address;  // of rail 0's
  efa::Stats stats;
  efa::BufferPool buffers;
  std::unique_ptr<char[]> overflow;              // takes what is behind a receive's end; nobody reads it
  efa::IdTable<efa_request> ready_to_send;       // rendezvous sends that wait for their receiver
  std::vector<efa_request*> synchronous;         // eager synchronous sends that wait for theirs
  std::vector<efa::ControlOperation*> controls;  // unused ones
  std::vector<efa::ControlOperation*> all_controls;
  efa::Peers peers;
  uint32_t next_handle = 0;
  unsigned next_rail = 0;    // where the next message begins that does not take all of them
  bool making_room = false;  // submit_from_call polls; so that it does not recurse
  bool draining = false;  // efa_close has begun: requests and their memory may be gone, `done` is not called
  bool closing = false;   // nothing is posted any more
  bool broken = false;    // a fatal error was reported

  efa::Rail& rail_at(unsigned i) { return i == 0 ? rail : *more_rails[i - 1]; }
  unsigned rail_count() const { return 1 + static_cast<unsigned>(more_rails.size()); }
  void report(efa_severity severity, const std::string& text) const;
  void fatal(const std::string& text);
};

namespace efa {

// Holds the transport's lock for a scope if there are threads.
class Guard {
 public:
  explicit Guard(efa_transport* t) : mutex_(t->threads ? &t->mutex : nullptr) {
    if (mutex_) mutex_->lock();
  }
  ~Guard() {
    if (mutex_) mutex_->unlock();
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  std::recursive_mutex* mutex_;
};

// --- progress.cpp -------------------------------------------------------------------------------------

// Posts `op`, or lets it wait behind what waits in `list` already. If it fails for good its handler is
// called with the error, before this returns.
void submit(efa_transport* t, PendingList& list, efa_operation* op);
// The same from a call of the user. If `op` has to wait, the queue is read once, which mostly makes room: a program
// that sends and then waits outside MPI would otherwise keep its message to itself.
void submit_from_call(efa_transport* t, PendingList& list, efa_operation* op);
// The rest of it, for who has called the post himself: `error` is its answer, 0 if others wait already.
void submit_refused(efa_transport* t, PendingList& list, efa_operation* op, int error);

// --- report.cpp ---------------------------------------------------------------------------------------

// "rank 3 on host b (NIC rdmap0s6)"; for null "any source".
std::string to_string(const efa_peer* peer);
// The same for whoever calls itself by this uid in a message; words if there is no such peer.
std::string sender_named(const efa_transport* t, uint64_t uid);
// Why something failed, with the provider's own words and what can be done. `what`: "the endpoint".
std::string describe_failure(const efa_transport* t, const std::string& what, const efa_failure& failure);
// Reports that for an operation with a peer; `what`: "sending 8 bytes with tag 5 to". The result that the
// request ends with.
efa_result report_failure(efa_transport* t, const std::string& what, const efa_peer* peer,
                          const efa_failure& failure);

// --- control.cpp --------------------------------------------------------------------------------------

// Posts the receives for control messages; false with a reason.
bool start_control(efa_transport* t, std::string& why);
// Sends a control message. The job ends if it cannot be delivered: the peer would wait for ever.
void send_control(efa_transport* t, efa_peer* peer, const Control& message);
// Acts on a control message as it came from the network.
void handle_control(efa_transport* t, const void* bytes, size_t size);
void free_control(ControlOperation* control);

// --- transport.cpp ------------------------------------------------------------------------------------

// Makes receives take messages of up to `longest` bytes, however short they are: see recv.cpp.
void make_overflow(efa_transport* t, size_t longest);

// --- peers.cpp ----------------------------------------------------------------------------------------

// Whether the provider moves messages inside the node through shared memory.
bool shares_memory(const ProviderTraits& traits);
// The addresses of `peer` on our first `count` rails; empty, after a report, if it cannot be reached on one.
std::vector<fi_addr_t> peer_rails(efa_transport* t, efa_peer* peer, unsigned count);

// --- send.cpp -----------------------------------------------------------------------------------------

void acknowledge(efa_transport* t, const Control& message);

int post_eager(efa_transport* t, efa_operation* op);
std::string describe_send(const efa_transport* t, const efa_request* r);

// --- recv.cpp -----------------------------------------------------------------------------------------

// Ends a request: gives pool memory back and calls its `done`.
void finish(efa_transport* t, efa_request* r, efa_result result);
// The same for one that holds none.
inline void finish_bare(efa_transport* t, efa_request* r, efa_result result) {
  r->status.result = result;
  r->kind = kNoRequest;
  if (!t->draining) [[likely]]
    r->done(r);
}
// A message with this envelope has landed; completes or continues the receive.
void deliver(efa_transport* t, efa_request* r, uint64_t bits, uint64_t data, size_t length);
// Who sent what `r` received from `source`; null, after a report, if that cannot be found out.
efa_peer* sender_of(efa_transport* t, const efa_request* r, int32_t source);

// --- match.cpp ----------------------------------------------------------------------------------------

// A message that a probe took out of matching and that these bits match; it is not unlinked.
efa_message* find_claimed(const efa_transport* t, uint64_t bits, uint64_t ignore, int32_t rank);
void unlink_claimed(efa_transport* t, efa_message* m);
void free_claimed(efa_transport* t);
// Throws away what arrived and nobody received, until there is nothing more or the time has come.
void discard_unexpected(efa_transport* t, uint64_t until_ns);
void receive_unexpected(efa_transport* t, uint64_t until_ns);  // the same, by receiving it

// --- rendezvous.cpp -----------------------------------------------------------------------------------

void send_ready(efa_transport* t, efa_request* r);
void clear_to_send(efa_transport* t, const Control& message);
void finished(efa_transport* t, const Control& message);
// The status of `r` already has source and tag; its landing buffer is free for use.
void receive_rendezvous(efa_transport* t, efa_request* r, efa_peer* peer, const ReadyToSend& ready);

}  // namespace efa

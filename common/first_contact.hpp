// The first contact with a peer: has anything that this process sent ever arrived there?
//
// A security group that lets nothing through shows in no error for a long time: sends wait, and the job hangs
// without a word. So the first operation to each peer is watched until it completes, and said to be late after
// the parameter mtl_efa_contact_timeout. What a completion proves depends on the provider: on efa that the peer's
// NIC acknowledged, on tcp;ofi_rxm that the two are connected. Receives prove nothing, the peer may just be late.
//
// It costs those that follow nothing: a new peer's PendingList says that it is not empty, so that the first
// operation is not injected (which has no completion) and takes the slow path of submit(), where begin() puts its
// own completion handler before the operation's. The list of open contacts is looked at in idle polls only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "transport.h"

struct fi_cq_tagged_entry;
struct efa_failure;

namespace efa {

struct Contact {
  void (*completed)(efa_transport*, efa_operation*, const fi_cq_tagged_entry*,
                    const efa_failure*);  // the operation's own
  uint64_t since_ns;                      // by FirstContacts::watched_ns_
  bool warned = false;
};

class FirstContacts {
 public:
  // `timeout_ns` 0: nothing is watched.
  explicit FirstContacts(uint64_t timeout_ns) : timeout_ns_(timeout_ns) {}

  bool enabled() const { return timeout_ns_ != 0; }
  bool open() const { return !open_.empty(); }
  // `op` is the first to op->peer, about to be posted.
  void begin(efa_operation* op);
  // To be called in idle polls while open(): warns of contacts that are late, each peer once.
  void poll(efa_transport* t) {
    if (++polls_ % kPollsPerLook == 0) look(t, now());
  }
  // What poll() does at the time `now_ns`, at most once in kLookEvery_ns.
  void look(efa_transport* t, uint64_t now_ns);
  // The peer is no longer watched: it answered, failed or is gone.
  void end(efa_peer* peer);
  // What to add to an error about `peer`: " Nothing has ever ...", or nothing if it has answered once.
  static std::string words(const efa_transport* t, const efa_peer* peer);
  // What to add to an error that ends the job, or to say at its end; empty if no contact is late.
  std::string reminder(const efa_transport* t) const;

  static constexpr uint64_t kLookEvery_ns = 1'000'000'000;

 private:
  static constexpr unsigned kPollsPerLook = 16;  // reads of the clock that are saved
  static uint64_t now();

  std::vector<efa_peer*> open_;
  uint64_t timeout_ns_;
  // Time that this process spent polling while a contact was open: one that computes meanwhile could not have
  // noticed an answer.
  uint64_t watched_ns_ = 0;
  uint64_t looked_ns_ = 0;  // when watched_ns_ was brought up to date
  unsigned polls_ = 0;
};

}  // namespace efa

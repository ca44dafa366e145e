// The first contact with a peer: detects that nothing that this process sends arrives there.
//
// If a security group blocks the traffic, no error is reported for a long time: sends wait, and the job hangs without a
// message. So the first operation to each peer is watched until it completes; after mtl_efa_contact_timeout a warning is
// printed. The meaning of the completion depends on the provider: on efa the peer's NIC has acknowledged, on tcp;ofi_rxm
// the two are connected. Receives are not watched, because the sender may be late.
//
// Later operations pay nothing: the PendingList of a new peer reports that it is not empty, so the first operation is not
// injected (an inject has no completion) and takes the slow path of submit(), where begin() inserts its own completion
// handler. The list of open contacts is checked in idle polls only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/polled_clock.hpp"
#include "base/user_message.hpp"
#include "interface/transport.h"

struct fi_cq_tagged_entry;
struct efa_failure;

namespace efa {

struct Contact {
  void (*completed)(efa_transport*, efa_operation*, const fi_cq_tagged_entry*,
                    const efa_failure*);  // the operation's own
  uint64_t since_ns;                      // by FirstContacts::clock_
  bool warned = false;
};

class FirstContacts {
 public:
  // `timeout_ns` 0: nothing is watched.
  explicit FirstContacts(uint64_t timeout_ns) : timeout_ns_(timeout_ns) {}

  bool enabled() const { return timeout_ns_ != 0; }
  bool open() const { return !open_.empty(); }
  // `op` is the first to op->peer, about to be posted.
  void begin(efa_transport* t, efa_operation* op);
  // What an idle poll does while open(), at the time `now_ns`, at most once in a tick of the clock: warns about late contacts,
  // once per peer.
  void look(efa_transport* t, uint64_t now_ns);
  // Stops watching the peer: it answered, failed or was destroyed.
  void end(efa_peer* peer);
  // Text to append to an error about `peer`; empty if it has answered once.
  static MessagePart words(const efa_transport* t, const efa_peer* peer);
  // Text to append to an error that ends the job, or to print at its end; empty if no contact is late.
  UserMessage reminder(const efa_transport* t) const;

 private:
  static uint64_t now();

  std::vector<efa_peer*> open_;
  uint64_t timeout_ns_;
  PolledClock clock_;  // runs while a contact is open
};

}  // namespace efa

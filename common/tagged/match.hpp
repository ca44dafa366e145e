// A probed or claimed message: see match.cpp.
#pragma once

#include "fabric/completion.hpp"
#include "interface/transport.h"
#include "protocol/wire.hpp"

struct efa_message {
  efa_operation op;  // first: libfabric identifies a claimed message by the context of its peek
  enum State { asking, absent, found, fetching, ready } state;
  uint64_t bits, ignore;  // of the request; once found, `bits` are the message's
  uint64_t data;
  size_t length;          // of the provider's message
  uint64_t flags;         // of the peek
  efa_request* receiver;  // set when it is being received
  efa_message* next;      // in the list of claimed messages
  uint64_t order;         // ascending in that list
  uint8_t header[EFA_BOUNCE_SIZE];
  efa::ReadyToSend rts;  // of a rendezvous; set when fetched
  uint64_t id;           // the sender's, if it waits for an answer; set when fetched
};

namespace efa {

inline efa_message* message_of(efa_operation* op) {
  return reinterpret_cast<efa_message*>(op);
}

// Calls fi_trecvmsg with the bits and source of `message`; returns its error.
int post_tagged(efa_transport* t, efa_message* message, void* to, size_t size, uint64_t flags);
// Handles the provider's answer to FI_PEEK: fills in the message of `op`.
void peeked(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry, const efa_failure* failure);
// Allocates a message before the claim. If memory is short, `result` is EFA_OUT_OF_MEMORY, the return value is null, and
// the message stays at the provider.
efa_message* new_message(efa_peer* peer, uint64_t bits, uint64_t ignore, efa_result& result);
// Searches for a message at the provider; with FI_CLAIM in `flags` it is claimed.
bool find(efa_transport* t, efa_message* message, uint64_t flags, efa_result& result);
// Reads a claimed message whose sender waits for an answer: it is short, and holds the sender's id. Others stay at the
// provider.
void fetch(efa_transport* t, efa_message* message);
// Receives a claimed message that is still at the provider. If the receive is too short, it uses a staging buffer. False if
// there is no memory.
bool receive_claimed(efa_transport* t, efa_request* request, efa_message* message);
// efa_probe, efa_match and efa_recv_matched.
efa_result probe(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* envelope, bool* found,
                 efa_status* status);
efa_result match(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* envelope,
                 efa_message** found, efa_status* status);
efa_result receive_matched(efa_transport* t, efa_request* request, efa_message* message);
// Discards unexpected messages until none is left or the time is reached. It receives them, because libfabric's providers
// have faults in FI_DISCARD.
void receive_unexpected(efa_transport* t, uint64_t until_ns);

}  // namespace efa

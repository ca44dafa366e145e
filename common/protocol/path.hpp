// The way on which messages are matched with receives. What happens after the match does not depend on it: rendezvous,
// transfers, failures and the watch over peers reach the path by this table only.
#pragma once

#include <vector>

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

struct Path {
  const char* name;
  // Posts the message of a request from its `landing`: an eager one or a ready-to-send message. An efa_operation.post.
  int (*post_message)(efa_transport* t, efa_operation* op);
  // Sends a contiguous message at once and without a request, off the fast path. False: it was not sent.
  bool (*inject)(efa_transport* t, efa_peer* peer, const efa_envelope& envelope, const void* buffer,
                 size_t length);
  // Submits such a message for a call from MPI, or holds it back. May throw std::bad_alloc; then nothing has changed.
  void (*send_message)(efa_transport* t, efa_request* request);
  // Whether the message of this send is held back, so that nobody need be told of its cancellation; then it is cancelled
  // if that is possible.
  bool (*cancel_held)(efa_transport* t, efa_request* request);
  // A control message about messages that are held back; false if the path knows none.
  bool (*flow_control)(efa_transport* t, const Control& message);
  // A peer has failed: what is held back for it, and what it was asked for, ends.
  void (*end_held)(efa_transport* t, efa_peer* peer);
  // A peer is destroyed: forgets it, and abandons the requests that are held back for it.
  void (*forget_peer)(efa_transport* t, efa_peer* peer);
  // Posts a control message, which stays where it is until the operation completes. Like an efa_operation.post.
  int (*post_control)(efa_transport* t, efa_operation* op, const Control& message);

  // efa_recv; if it returns an error or throws, the request was not started.
  efa_result (*start_receive)(efa_transport* t, efa_request* request, const efa_envelope* envelope);
  // efa_cancel of a receive: ends it unless a message has matched it.
  void (*cancel_receive)(efa_transport* t, efa_request* request);
  // efa_probe, efa_match and efa_recv_matched.
  efa_result (*probe)(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* envelope,
                      bool* found, efa_status* status);
  efa_result (*match)(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* envelope,
                      efa_message** found, efa_status* status);
  efa_result (*receive_matched)(efa_transport* t, efa_request* request, efa_message* message);

  // A peer asks for its message to be withdrawn (MPI_Cancel of a send).
  void (*withdraw)(efa_transport* t, const Control& message);
  // The receives that are open, each once.
  std::vector<efa_request*> (*open_receives)(efa_transport* t);
  // Ends the receives from this source that no message has matched, with EFA_UNREACHABLE; null: those from any source.
  void (*end_receives)(efa_transport* t, const efa_peer* source);
};

}  // namespace efa

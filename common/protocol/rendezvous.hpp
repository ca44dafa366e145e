// Rendezvous: the data of a long or synchronous message moves only after its match is known.
#pragma once

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

struct Transfer;

// Sends a ready-to-send message. Throws std::bad_alloc before anything is posted; then call undo_send_ready if the request
// has an id.
void send_ready(efa_transport* t, efa_request* request);
// Undoes a synchronous or rendezvous send that has an id and could not be posted.
void undo_send_ready(efa_transport* t, efa_request* request);
// Ends a send that waits for its receiver: releases the registration of a rendezvous. The request ends when its own message
// has completed.
void end_unsent(efa_transport* t, efa_request* request, efa_result result);
// The send that a control message names; null, after a fatal report, if the message is not possible.
efa_request* send_named(efa_transport* t, const Control& message);
// Ends the sends to a peer that has failed and that wait for its answer.
void end_sends(efa_transport* t, efa_peer* peer);
void clear_to_send(efa_transport* t, const Control& message);
void finished(efa_transport* t, const Control& message);
// Receives the data of a rendezvous. `request` already has source and tag in its status and needs its landing buffer no
// more.
void receive_rendezvous(efa_transport* t, efa_request* request, efa_peer* peer, const ReadyToSend& ready);
// Called when all pieces of a transfer are retired: deletes it and completes its request.
void transfer_ended(efa_transport* t, Transfer* transfer);

}  // namespace efa

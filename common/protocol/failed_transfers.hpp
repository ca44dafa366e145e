// Messages between the two sides of a matched message when one side fails, and of a send that is withdrawn.
#pragma once

#include <cstdint>

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

// A message whose send failed, but which may have arrived.
struct FailedSend {
  uint64_t id, uid;  // the message's id and its receiver's uid
};

// Notifies the peer that its message `id` was matched and cannot be received; `handle`: of the clear-to-send.
void send_receive_failed(efa_transport* t, efa_peer* peer, uint64_t id, uint32_t handle);
// Notifies the peer that only the first `posted` pieces of our message `id` arrive, without those in `lost` (Transfer).
void send_send_failed(efa_transport* t, efa_peer* peer, uint64_t id, uint32_t handle, uint64_t posted,
                      uint64_t lost, uint64_t lost_from);
// Handle these messages from a peer.
void receive_failed(efa_transport* t, const Control& message);
void send_failed(efa_transport* t, const Control& message);
// Such a message could not be delivered: a transfer that failed here no longer waits for that peer.
void could_not_notify(efa_transport* t, efa_peer* peer, const Control& message);
// Records a failed send whose message may have arrived.
void remember_failed_send(efa_transport* t, const efa_request* request);
bool is_failed_send(const efa_transport* t, const Control& message);

// Handles a peer's answer to `withdraw`.
void withdrawn(efa_transport* t, const Control& message);
// efa_cancel of a send: asks the receiver to withdraw the message.
void withdraw_send(efa_transport* t, efa_request* request);

}  // namespace efa

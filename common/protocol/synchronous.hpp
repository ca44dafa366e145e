// Sends that wait for the acknowledgement of their match: synchronous ones, and those that are sent eagerly although they are
// long.
#pragma once

#include <cstdint>

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

// A message of kind kKindAlone whose match has not been acknowledged.
struct AloneSend {
  uint64_t bits;
  uint64_t uid;    // of the peer
  efa_peer* peer;  // null when the peer was destroyed
};

// A receiver has matched a synchronous message.
void acknowledge(efa_transport* t, const Control& message);
// A receiver has matched a message that was sent under eager_limit_alone.
void alone_matched(efa_transport* t, const Control& message);
// Undoes the bookkeeping of a message that was sent under eager_limit_alone and has failed.
void forget_alone(efa_transport* t, efa_peer* peer, uint64_t bits);
// Ends the wait for the acknowledgement of a synchronous send: it was matched, withdrawn, or has failed.
void end_synchronous(efa_transport* t, efa_request* request, efa_result result);

}  // namespace efa

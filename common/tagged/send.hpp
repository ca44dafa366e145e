// Sending a message that the provider matches.
#pragma once

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

// Posts the message of a request from its `landing`.
int post_message(efa_transport* t, efa_operation* op);
// Posts a control message, as an untagged message.
int post_control(efa_transport* t, efa_operation* op, const Control& message);
// Sends a contiguous message at once and without a request, off the fast path. False: it was not sent. Errors are not
// handled: any error, FI_EAGAIN included, recurs when the caller sends with a request.
bool inject_message(efa_transport* t, efa_peer* peer, const efa_envelope& envelope, const void* buffer,
                    size_t length);

}  // namespace efa

// Sending a message on either path.
#pragma once

#include "interface/transport.h"

namespace efa {

// Chooses the protocol and submits the message. If it returns an error, the request was not started. May throw
// std::bad_alloc.
efa_result start_send(efa_transport* t, efa_request* request, const efa_envelope* envelope,
                      efa_send_mode mode);

}  // namespace efa

// Sending packets: the channel of each peer.
#pragma once

#include <cstddef>

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

// Path::post_message, ::inject and ::post_control.
int post_packet(efa_transport* t, efa_operation* op);
bool inject_as_packet(efa_transport* t, efa_peer* peer, const efa_envelope& envelope, const void* buffer,
                      size_t length);
int post_control_packet(efa_transport* t, efa_operation* op, const Control& message);

}  // namespace efa

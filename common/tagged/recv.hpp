// Receives that the provider matches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "interface/transport.h"

namespace efa {

// A message with this envelope has arrived; completes or continues the receive.
void deliver(efa_transport* t, efa_request* request, uint64_t bits, uint64_t data, size_t length);
// Posts a receive, or begins the receive of a claimed message. If it returns an error or throws, the request was not started.
efa_result start_receive(efa_transport* t, efa_request* request, const efa_envelope* envelope);
// Cancels a receive that no message has matched.
void cancel_receive(efa_transport* t, efa_request* request);
// The receives that are open, each once.
std::vector<efa_request*> open_receives(efa_transport* t);
// Ends the receives from this source that no message has matched, with EFA_UNREACHABLE; null: those from any source.
void end_receives(efa_transport* t, const efa_peer* source);

}  // namespace efa

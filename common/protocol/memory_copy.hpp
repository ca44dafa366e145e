// A rendezvous inside a node: the receiver copies the data out of the sender's memory.
#pragma once

#include <cstdint>

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

// Copies the data and ends the request, whose status has been set. False if the memory cannot be read, or there is no
// memory for a buffer: then the data has to come in pieces. `peer` is one with `shm`, or the answer is false.
bool copy_from_memory(efa_transport* t, efa_request* request, efa_peer* peer, const ReadyToSend& ready,
                      uint64_t length);
// Tells the sender that `length` bytes of its data were read, or could not be.
void send_finished(efa_transport* t, efa_peer* peer, uint64_t request, uint64_t length, bool failed);

}  // namespace efa

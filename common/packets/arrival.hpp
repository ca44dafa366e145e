// Packets that have arrived: matched with a posted receive, or kept.
#pragma once

#include <cstddef>
#include <cstdint>

#include "channel/packet.hpp"
#include "interface/transport.h"
#include "matching/engine.hpp"
#include "packets/kept_message.hpp"

namespace efa {

// The receive of an entry in the posted queue. Such a receive is never posted to the provider, so the entry is in the memory of its
// libfabric context.
static_assert(sizeof(PostedReceive) <= sizeof(fi_context2) &&
              alignof(PostedReceive) <= alignof(efa_operation));
inline PostedReceive* entry_of(efa_request* request) {
  return reinterpret_cast<PostedReceive*>(&request->op.context);
}
inline efa_request* request_of(PostedReceive* entry) {
  return reinterpret_cast<efa_request*>(entry);
}

// Handles a packet. `from`: the sender, or null if the channel does not tell. `payload`: header.length bytes, valid during the call.
// Nothing in either has been checked but the length.
void packet_arrived(efa_transport* t, efa_peer* from, const PacketHeader& header, const uint8_t* payload);
// Takes packets that have come through shared memory; returns their number.
int poll_shared_memory(efa_transport* t);
// Ends the job for a packet that no process of this version sends.
void packet_impossible(efa_transport* t, const efa_peer* from, const PacketHeader& header);
// Delivers a matched message; frees it.
void deliver_kept(efa_transport* t, efa_request* request, KeptPointer message);
// Copies a message that a matched probe takes, and counts it; null, after an error that ends the job, without memory.
KeptPointer keep_apart(efa_transport* t, efa_peer* from, const PacketHeader& header, const uint8_t* payload);
// Delivers a message to the receive that asked for it.
void deliver_answer(efa_transport* t, efa_request* request, const PacketHeader& header, const uint8_t* payload);
// Counts and frees a message that was in memory.
void drop_kept(efa_transport* t, KeptPointer message);

}  // namespace efa

// The channel over untagged messages of the provider: a packet is one message, from rail 0 to rail 0, in the order of sending.
//
// For peers on other nodes, and for all peers where processes share no memory. The endpoint is the one over which the pieces
// of rendezvous data go, which are tagged, so they do not meet.
#pragma once

#include <cstddef>

#include "base/user_message.hpp"
#include "channel/packet.hpp"
#include "interface/transport.h"

namespace efa {

// The longest payload of a packet, bytes. With its header it is what libfabric's tcp;ofi_rxm sends without a rendezvous of
// its own, and two packets of the NIC on efa.
constexpr size_t kMostMessagePayload = 16 * 1024 - sizeof(PacketHeader);

// The longest payload that inject_packet() takes, bytes.
size_t most_injected(const efa_transport* t);

// Posts the receives; false with a reason.
bool start_message_channel(efa_transport* t, UserMessage& why);
// Sends a packet at once, without a completion. 0 or a negative fi_errno; -FI_EMSGSIZE if it is too long for that.
int inject_packet(efa_transport* t, const efa_peer* peer, const PacketHeader& header, const void* payload);
// Sends a packet; header and payload must stay until the operation completes. 0 or a negative fi_errno.
int send_packet(efa_transport* t, efa_operation* op, const PacketHeader& header, const void* payload);

}  // namespace efa

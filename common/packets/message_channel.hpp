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
// its own.
constexpr size_t kMostMessagePayload = 16 * 1024 - sizeof(PacketHeader);
// That of this transport's provider. Packets match in the order of their completions. efa sends a longer message in several
// packets of the NIC, which reorders them; it completes when the last one has arrived, possibly after messages that were sent
// later. So there a packet fits into one of the NIC's: libfabric keeps the order of those.
size_t most_message_payload(const efa_transport* t);

// The longest payload that inject_packet() takes, bytes.
size_t most_injected(const efa_transport* t);

// Posts the receives; false with a reason.
bool start_message_channel(efa_transport* t, UserMessage& why);
// Sends a packet at once, without a completion. 0 or a negative fi_errno; -FI_EMSGSIZE if it is too long for that.
int inject_packet(efa_transport* t, const efa_peer* peer, const PacketHeader& header, const void* payload);
// Sends a packet; header and payload must stay until the operation completes. 0 or a negative fi_errno.
int send_packet(efa_transport* t, efa_operation* op, const void* header, const void* payload, size_t length);

}  // namespace efa

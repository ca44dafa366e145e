// Receives and probes on the packet path, which the matching engine answers.
#pragma once

#include <vector>

#include "interface/transport.h"
#include "matching/unexpected.hpp"
#include "protocol/wire.hpp"

namespace efa {

// The functions of Path with these names, for kPacketPath.
efa_result post_receive_entry(efa_transport* t, efa_request* request, const efa_envelope* envelope);
void cancel_receive_entry(efa_transport* t, efa_request* request);
efa_result probe_kept(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* envelope,
                      bool* found, efa_status* status);
efa_result match_kept(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* envelope,
                      efa_message** found, efa_status* status);
efa_result receive_kept(efa_transport* t, efa_request* request, efa_message* message);
void withdraw_kept(efa_transport* t, const Control& message);
std::vector<efa_request*> posted_receives(efa_transport* t);
void end_posted_receives(efa_transport* t, const efa_peer* source);

// A receive has matched a message that is in memory. Not inlined: it is called from the fast path.
[[gnu::noinline]] void receive_kept_at_once(efa_transport* t, efa_request* request,
                                            UnexpectedMessage* message) noexcept;
// A communicator is freed: drops the messages that nobody has received. Its receives have ended.
void forget_communicator(efa_transport* t, uint32_t context);
// While closing: drops all messages, and takes all receives out of the queues.
void empty_queues(efa_transport* t);

}  // namespace efa

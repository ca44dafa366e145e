// A peer that fails as a whole: it took nothing for as long as the user allows (stalled_peers.hpp), or it is not alive any
// more (liveness.hpp).
#pragma once

#include "base/user_message.hpp"
#include "interface/transport.h"

namespace efa {

// Fails a peer for the reason that the message gives.
void fail_peer(efa_transport* t, efa_peer* peer, const UserMessage& why);
// Fails the peers in `undeliverable`.
void fail_undeliverable(efa_transport* t);
// Ends the receives from any source that no message has matched: the failed peer may be the one that would send it.
void end_receives_from_anyone(efa_transport* t);

}  // namespace efa

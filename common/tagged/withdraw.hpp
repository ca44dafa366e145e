// Withdrawn messages (MPI_Cancel of a send): the receiver's side. See failed_transfers.hpp.
#pragma once

#include "interface/transport.h"
#include "protocol/wire.hpp"

namespace efa {

// Handles the request of a peer to withdraw its message.
void withdraw_asked(efa_transport* t, const Control& message);
// Serves these requests, unless a claim is in progress.
void serve_withdrawals(efa_transport* t);

}  // namespace efa

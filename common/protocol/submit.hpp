// Posting operations: at once, or after those that wait before them.
#pragma once

#include "interface/transport.h"
#include "peers/pending.hpp"

namespace efa {

// Posts `op`, or appends it to `list` if operations wait there. If it fails with another error than FI_EAGAIN, or its peer
// has failed, its handler is called with the error before this returns.
void submit(efa_transport* t, PendingList& list, efa_operation* op);
// The same for a call from MPI. If `op` has to wait, progress is made once, which usually makes room: otherwise a program
// that sends and then leaves MPI would delay its message.
void submit_from_call(efa_transport* t, PendingList& list, efa_operation* op);
// That progress. Not while it is being made, nor from within a chain of `done`.
void make_room(efa_transport* t);
// For callers that have posted themselves: `error` is the result of the post, or 0 if operations wait already.
void submit_refused(efa_transport* t, PendingList& list, efa_operation* op, int error);
// Makes progress until the completion queue is empty, because a provider may read the network only then.
void progress_until_idle(efa_transport* t);

}  // namespace efa

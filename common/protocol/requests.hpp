// The end of a request, and the pool memory that it holds.
#pragma once

#include <cstddef>

#include "base/user_message.hpp"
#include "interface/transport.h"
#include "state.hpp"

namespace efa {

inline efa_request* request_of(efa_operation* op) {
  return reinterpret_cast<efa_request*>(op);
}
static_assert(offsetof(efa_request, op) == 0 && offsetof(efa_operation, context) == 0);

// Returns the pool memory that a request is received into or sent from.
void give_landing(efa_transport* t, efa_request* request);
// Ends a request: returns pool memory and calls its `done`, with threads when the lock is released.
void finish(efa_transport* t, efa_request* request, efa_result result);
// The slow path of finish_bare: `done` is called when the lock is released, or never while closing.
void tell_later(efa_transport* t, efa_request* request);
// The same as finish() for a request that holds no pool memory.
inline void finish_bare(efa_transport* t, efa_request* request, efa_result result) {
  request->status.result = result;
  request->kind = kNoRequest;
  if (t->tells_at_once) [[likely]]
    request->done(request);
  else
    tell_later(t, request);
}
// A send in a message about its failure.
MessagePart describe_send(const efa_transport* t, const efa_request* request);

}  // namespace efa

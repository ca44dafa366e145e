#include "protocol/submit.hpp"

#include <rdma/fi_errno.h>

#include "fabric/completion.hpp"
#include "peers/pending.hpp"
#include "protocol/lock.hpp"
#include "state.hpp"

namespace efa {

[[gnu::noinline]] void submit_refused(efa_transport* t, PendingList& list, efa_operation* op, int error) {
  if (error != 0 && error != -FI_EAGAIN) {
    const efa_failure failure{-error};
    op->completed(t, op, &kNoEntry, &failure);
    return;
  }
  if (error) ++t->counters.retries;
  ++t->counters.operations_deferred;
  t->pending.add(list, op);
}

void submit(efa_transport* t, PendingList& list, efa_operation* op) {
  int error = 0;
  if (!list.empty()) [[unlikely]] {
    if (list.awaits_first()) {
      t->contacts.begin(t, op);
    } else if (list.failed()) {
      op->completed(t, op, &kNoEntry, &kPeerFailed);
      return;
    }
  }
  if (list.empty()) {
    error = op->post(t, op);
    if (error == 0) return;
  }
  submit_refused(t, list, op, error);
}

void submit_from_call(efa_transport* t, PendingList& list, efa_operation* op) {
  const uint64_t deferred = t->counters.operations_deferred;
  submit(t, list, op);
  if (t->counters.operations_deferred != deferred) [[unlikely]]
    make_room(t);
}

void make_room(efa_transport* t) {
  if (t->making_room || Lock::telling() > 1) return;  // a chain of `done` that begins operations must end
  t->making_room = true;
  efa_progress(t);
  t->making_room = false;
}

void progress_until_idle(efa_transport* t) {
  constexpr int kMostReads = 64;  // so that a stream of completions does not block the caller
  for (int i = 0; i < kMostReads && efa_progress(t) > 0 && !t->broken; ++i) {
  }
}

}  // namespace efa

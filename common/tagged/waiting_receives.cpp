// Receives that wait, because the provider takes only so many (tcp;ofi_rxm: 2047 of an endpoint), or because the bound on
// the memory in which receives into layouts land is reached.
//
// A posted receive may stay for as long as the program likes, so that those that wait cannot wait for it:
//
// - Our own receives, of control messages, pieces and claimed messages, come first. Those of control messages wait for no
//   other, since what others wait for may be told by one. Where the provider bounds the number of tagged receives, some of
//   them are kept by receives that nothing matches, and taken back when one of ours is refused.
// - The user's receives that wait are matched here (claim_for_waiting): every message that no posted receive has matched is
//   claimed in the order of arrival, and goes to the oldest waiting receive that matches. A claimed message that none
//   matches is found by later receives and by probes before anything at the provider.
#include "tagged/waiting_receives.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include "fabric/completion.hpp"
#include "state.hpp"
#include "tagged/claims.hpp"

namespace efa {

namespace {

KeptReceive* kept_of(efa_operation* op) {
  return reinterpret_cast<KeptReceive*>(op);
}

int post_kept(efa_transport* t, efa_operation* op) {
  KeptReceive* kept = kept_of(op);
  const int error = static_cast<int>(
      fi_trecv(t->ep, nullptr, 0, nullptr, FI_ADDR_UNSPEC, kept->bits, 0, &op->context));
  kept->posted = error == 0;
  return error;
}

// Taken back. It is posted again after our receives that wait, and before the user's.
void kept_ended(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure*) {
  if (t->closing) return;
  kept_of(op)->posted = false;
  t->pending.add(t->kept_receives.pending, op);
}

void give_room(efa_transport* t) {
  for (auto& kept : t->kept_receives.all) {
    if (!kept->posted) continue;
    kept->posted = false;
    fi_cancel(&t->ep->fid, &kept->op.context);
    return;
  }
}

}  // namespace

bool keep_receives(efa_transport* t, unsigned count, UserMessage& why) {
  for (unsigned i = 0; i < count; ++i) {
    auto kept = std::make_unique<KeptReceive>();
    kept->op.post = post_kept;
    kept->op.completed = kept_ended;
    // As a piece with a number that none has: a transfer has fewer pieces.
    kept->bits = t->tags.piece_bits(0, UINT32_MAX - i);
    if (const int error = post_kept(t, &kept->op)) {
      why = msg::rail_open_failed("fi_trecv", t->rails.first.provider(), t->rails.first.nic(), fi_strerror(-error), error);
      return false;
    }
    t->kept_receives.all.push_back(std::move(kept));
  }
  return true;
}

int serve_receives(efa_transport* t) {
  int done = t->pending.serve(t, t->controls.pending) + t->pending.serve(t, t->pending_internal);
  if (!t->pending_internal.empty()) {
    give_room(t);
    done += t->pending.serve(t, t->pending_internal);
  } else {
    done += t->pending.serve(t, t->kept_receives.pending);
    // While the provider is asked for a message for one of them, none may be posted and match another.
    if (t->kept_receives.pending.empty() && !t->claims.open) done += t->pending.serve(t, t->pending_receives);
  }
  if (!t->pending_receives.empty()) claim_for_waiting(t);
  return done;
}

}  // namespace efa

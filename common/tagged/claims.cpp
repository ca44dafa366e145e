// The list of claimed messages that have not been matched, and claims for receives that wait to be posted.
//
// A provider may refuse a receive for a long time (FI_EAGAIN). Such a receive waits in a list here, and messages that
// arrive meanwhile are claimed and matched with the waiting receives, oldest first. match.cpp explains claims.
#include "tagged/claims.hpp"

#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <new>
#include <utility>

#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "protocol/requests.hpp"
#include "protocol/submit.hpp"
#include "state.hpp"
#include "tagged/match.hpp"

namespace efa {

// ---- the list, in the order of the messages ----------------------------------------------------------

namespace {

void count_claimed(efa_transport* t) {
  efa_counters& counters = t->counters;
  counters.unexpected_claimed_most =
      std::max(counters.unexpected_claimed_most, ++counters.unexpected_claimed);
}

}  // namespace

void append_claimed(efa_transport* t, efa_message* message) {
  message->next = nullptr;
  message->order = t->counters.messages_claimed;
  (t->claims.last ? t->claims.last->next : t->claims.first) = message;
  t->claims.last = message;
  ++t->counters.messages_claimed;
  count_claimed(t);
}

efa_message* find_claimed(const efa_transport* t, uint64_t bits, uint64_t ignore, int32_t rank) {
  for (efa_message* message = t->claims.first; message; message = message->next)
    if (((message->bits ^ bits) & ~ignore) == 0 &&
        (rank < 0 || t->tags.rank(message->bits, message->data) == rank))
      return message;
  return nullptr;
}

void unlink_claimed(efa_transport* t, efa_message* message) {
  efa_message* before = nullptr;
  for (efa_message* at = t->claims.first; at != message; at = at->next) before = at;
  (before ? before->next : t->claims.first) = message->next;
  if (t->claims.last == message) t->claims.last = before;
  message->next = nullptr;
  --t->counters.unexpected_claimed;
}

// Puts a message that could not be received back into its place in the list.
void relink_claimed(efa_transport* t, efa_message* message) {
  efa_message* before = nullptr;
  for (efa_message* at = t->claims.first; at && at->order < message->order; at = at->next) before = at;
  efa_message*& link = before ? before->next : t->claims.first;
  message->next = link;
  link = message;
  if (!message->next) t->claims.last = message;
  count_claimed(t);
}

void free_claimed(efa_transport* t) {
  while (efa_message* message = t->claims.first) {
    unlink_claimed(t, message);
    delete message;
  }
  delete t->claims.open;
}

// ---- for waiting receives ----------------------------------------------------------------------------

namespace {

// The oldest waiting receive that matches the message.
efa_request* waiting_receive(const efa_transport* t, const efa_message* message) {
  const int32_t source = t->tags.rank(message->bits, message->data);
  for (efa_operation* op = t->pending_receives.first(); op; op = op->next) {
    efa_request* request = request_of(op);
    if (((message->bits ^ request->bits) & ~request->ignore) == 0 &&
        (request->status.source < 0 || request->status.source == source))
      return request;
  }
  return nullptr;
}

}  // namespace

// Gives a newly claimed message to the oldest waiting receive that matches, or appends it to the list.
void keep_claimed(efa_transport* t, efa_message* message) {
  efa_request* request = waiting_receive(t, message);
  if (request) {
    t->pending.remove(t->pending_receives, &request->op);
    give_landing(t, request);
    if (receive_claimed(t, request, message)) return;
  }
  append_claimed(t, message);
  fetch(t, message);
  if (request) finish(t, request, EFA_OUT_OF_MEMORY);  // the message stays in the list for another receive
}

namespace {

void claimed(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
             const efa_failure* failure) {
  efa_message* message = message_of(op);
  t->claims.open = nullptr;
  if (failure) {
    ++t->claims.in_vain;
    ++t->claims.ended;
    if (failure->error != FI_ENOMSG && !t->closing)
      report_failure(t, msg::op_claim(msg::any_source()), nullptr, *failure);
    delete message;
    return;
  }
  peeked(t, op, entry, failure);
  keep_claimed(t, message);
  claim_for_waiting(t);
}

}  // namespace

void claim_for_waiting(efa_transport* t) {
  if (t->claims.open || t->claims.settling || t->closing || t->pending_receives.empty()) return;
  auto* message = new (std::nothrow) efa_message{};
  if (!message) return;  // repeated later
  message->ignore = t->tags.any_message_ignore();
  message->op.completed = claimed;
  if (post_tagged(t, message, nullptr, 0, FI_PEEK | FI_CLAIM)) {  // no message, or FI_EAGAIN
    delete message;
    return;
  }
  t->claims.open = message;
}

void settle_claim(efa_transport* t) {
  const bool outer = std::exchange(t->claims.settling, true);
  while (t->claims.open && !t->broken) efa_progress(t);
  t->claims.settling = outer;
}

// Receives that wait to be posted are older than any probe, and may match the message that it would find. If there are any,
// all messages that have arrived are claimed and given to them. True then: the other messages are in the list.
bool claims_all(efa_transport* t) {
  if (t->pending_receives.empty() && !t->claims.open) return false;
  progress_until_idle(t);
  settle_claim(t);  // an earlier claim may have been answered before the message arrived
  const uint64_t before = t->claims.ended;
  while (!t->pending_receives.empty() && t->claims.ended == before && !t->broken) {
    if (!t->claims.open) claim_for_waiting(t);
    if (!t->claims.open) break;  // the provider answered at once that there is no message
    efa_progress(t);
  }
  if (!t->pending_receives.empty()) return true;
  settle_claim(t);
  return false;
}

}  // namespace efa

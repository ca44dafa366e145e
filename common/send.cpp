// Sending: what is decided before anything is posted, and what eager sends do afterwards.
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstring>

#include "transfer.hpp"

namespace efa {

int post_eager(efa_transport* t, efa_operation* op) {
  efa_request* r = request_of(op);
  const ssize_t error =
      t->tags.rank_in_tag()
          ? fi_tsend(t->ep, r->landing, r->landing_size, nullptr, op->peer->address, r->bits, &op->context)
          : fi_tsenddata(t->ep, r->landing, r->landing_size, nullptr, static_cast<uint32_t>(r->self_rank),
                         op->peer->address, r->bits, &op->context);
  if (error == 0) ++t->sends_posted;
  return static_cast<int>(error);
}

std::string describe_send(const efa_transport* t, const efa_request* r) {
  return "sending " + std::to_string(r->data.length) + " bytes with tag " +
         std::to_string(t->tags.tag(r->bits)) + " to";
}

namespace {

void eager_sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure* failure) {
  efa_request* r = request_of(op);
  if (failure) [[unlikely]] {
    if (failure->entry) --t->sends_posted;  // otherwise it was never posted
    std::erase(t->synchronous, r);
    finish(t, r, t->closing ? EFA_CANCELED : report_failure(t, describe_send(t, r), op->peer, *failure));
    return;
  }
  --t->sends_posted;
  if (--r->awaited == 0) finish(t, r, EFA_SUCCESS);
}

void long_eager_sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                     const efa_failure* failure) {
  --t->long_sends;
  eager_sent(t, op, entry, failure);
}

// Whether a message beyond the eager limit is sent at once: the only long one is spared the rendezvous' round trip, a
// stream would flood the receiver. Where the receiver can read it, only if it has to be packed: else neither side copies.
bool goes_alone(const efa_transport* t, const efa_request* r) {
  const efa_peer* peer = r->op.peer;
  return r->data.length <= peer->eager_limit_alone && t->long_sends == 0 &&
         (!peer->pulls || side_of(t, r).staged);
}

// Any error, FI_EAGAIN included, shows again when the caller sends with a request.
[[gnu::noinline]] bool inject_otherwise(efa_transport* t, efa_peer* peer, efa_envelope e, const void* buffer,
                                        size_t length) {
  Guard guard(t);
  if (!peer->pending.empty()) return false;
  const uint64_t bits = t->tags.send_bits(e.context, kKindEager, e.self_rank, e.tag);
  return (t->tags.rank_in_tag() ? fi_tinject(t->ep, buffer, length, peer->address, bits)
                                : fi_tinjectdata(t->ep, buffer, length, static_cast<uint32_t>(e.self_rank),
                                                 peer->address, bits)) == 0;
}

}  // namespace

// A receiver says that it has matched a synchronous message. Messages with equal bits to one peer are
// matched in the order they were sent, so the oldest is meant.
void acknowledge(efa_transport* t, const Control& message) {
  const auto at = std::find_if(t->synchronous.begin(), t->synchronous.end(), [&](const efa_request* r) {
    return r->bits == message.request && r->op.peer->uid == message.sender;
  });
  if (at == t->synchronous.end()) {
    t->fatal("An impossible message arrived from " + sender_named(t, message.sender) + ": " +
             to_string(message) + ", about a message that does not exist.");
    return;
  }
  efa_request* r = *at;
  t->synchronous.erase(at);
  if (--r->awaited == 0) finish(t, r, EFA_SUCCESS);
}

}  // namespace efa

extern "C" bool efa_try_inject(efa_transport* t, efa_peer* peer, const efa_envelope* e, const void* buffer,
                               size_t length) {
  if (length > t->inject_limit) return false;
  if (!t->usual) [[unlikely]]
    return efa::inject_otherwise(t, peer, *e, buffer, length);
  return peer->pending.empty() &&
         fi_tinjectdata(t->ep, buffer, length, static_cast<uint32_t>(e->self_rank), peer->address,
                        efa::TagLayout::wide_bits(e->context, e->tag)) == 0;
}

extern "C" efa_result efa_send(efa_transport* t, efa_request* r, const efa_envelope* e, efa_send_mode mode) {
  efa::Guard guard(t);
  efa_peer* peer = r->op.peer;
  const size_t length = r->data.length;
  const bool packed = r->data.layout != nullptr;
  const bool synchronous = mode == EFA_SEND_SYNCHRONOUS;
  r->kind = efa::kSendRequest;
  r->self_rank = e->self_rank;
  r->status.result = EFA_SUCCESS;
  r->awaited = 1;

  // A synchronous send must learn of its match. Up to EFA_BOUNCE_SIZE bytes a receive of any length takes
  // the message whole, so that it can always be acknowledged; a longer one needs the rendezvous.
  const uint64_t standard_limit = packed ? peer->eager_limit_packed : peer->eager_limit;
  const uint64_t limit = synchronous ? uint64_t{EFA_BOUNCE_SIZE} : standard_limit;
  const bool long_eager = length > limit && !synchronous && efa::goes_alone(t, r);
  if (length > limit && !long_eager) {
    r->bits = t->tags.send_bits(e->context, efa::kKindRts, e->self_rank, e->tag);
    efa::send_ready(t, r);
    return EFA_SUCCESS;
  }

  r->bits =
      t->tags.send_bits(e->context, synchronous ? efa::kKindSync : efa::kKindEager, e->self_rank, e->tag);
  r->landing = r->data.buffer;
  r->landing_size = length;
  if (packed) {
    r->landing = length <= EFA_BOUNCE_SIZE ? r->bounce : t->buffers.take(length);
    if (!r->landing) return EFA_OUT_OF_MEMORY;
    if (!t->config.pack(r->data.layout, 0, r->landing, length)) {
      if (r->landing != r->bounce) t->buffers.give(r->landing, length);
      return EFA_FAILED;
    }
  }
  if (synchronous) {
    r->awaited = 2;
    t->synchronous.push_back(r);
  }
  ++t->stats.eager_sent;
  t->long_sends += long_eager;
  r->op.completed = long_eager ? efa::long_eager_sent : efa::eager_sent;
  r->op.post = efa::post_eager;
  efa::submit_from_call(t, peer->pending, &r->op);
  return EFA_SUCCESS;
}

// Sending: the choice of the protocol, and eager sends.
#include "protocol/send.hpp"

#include <cstring>
#include <new>

#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "protocol/failed_transfers.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/requests.hpp"
#include "protocol/submit.hpp"
#include "protocol/synchronous.hpp"
#include "protocol/transfer.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {
namespace {

// The message of a synchronous send has completed or failed; its acknowledgement is awaited too.
void synchronous_sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry*,
                      const efa_failure* failure) {
  efa_request* request = request_of(op);
  if (failure) [[unlikely]] {
    if (failure->entry) --t->sends_posted;  // without an entry it was never posted
    if (t->ready_to_send.find(request->ready_id)) {
      t->ready_to_send.remove(request->ready_id);
      if (failure->entry) remember_failed_send(t, request);
    }
    finish(t, request,
           t->closing ? EFA_CANCELED : report_failure(t, describe_send(t, request), op->peer, *failure));
    return;
  }
  --t->sends_posted;
  if (--request->awaited == 0) finish(t, request, request->status.result);
}

void eager_sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                const efa_failure* failure) {
  if (!failure) [[likely]] {
    ++t->counters.sent_eager;
    t->counters.sent_eager_bytes += request_of(op)->data.length;
  }
  synchronous_sent(t, op, entry, failure);
}

void alone_sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                const efa_failure* failure) {
  --t->long_sends;
  if (failure) forget_alone(t, op->peer, request_of(op)->bits);
  eager_sent(t, op, entry, failure);
}

// Whether a message beyond the eager limit is sent eagerly. A single message saves the round trip of the rendezvous; a
// stream would fill the receiver's memory. A message is single if no other long message is being sent, and the peer has
// acknowledged the match of the last one that was sent to it eagerly. If the receiver can read the data by RDMA, this is
// done only for data that has to be packed: otherwise a read avoids copies on both sides.
bool goes_alone(const efa_transport* t, const efa_request* request) {
  const efa_peer* peer = request->op.peer;
  return !t->packets && request->data.length <= peer->eager_limit_alone && t->long_sends == 0 && !peer->unmatched_alone &&
         (!peer->pulls || side_of(t, request).staged);
}

// Copies the data of a synchronous message and its id, which the acknowledgement contains, to the request's bounce. The
// message is sent from there.
efa_result prepare_synchronous(efa_transport* t, efa_request* request) {
  const size_t length = request->data.length;
  if (request->data.layout && !t->config.pack(request->data.layout, 0, request->bounce, length))
    return EFA_FAILED;
  if (!request->data.layout && length) std::memcpy(request->bounce, request->data.buffer, length);
  const SyncTrailer trailer{request->ready_id = t->ready_to_send.add(request)};
  std::memcpy(request->bounce + length, &trailer, sizeof trailer);
  request->landing = request->bounce;
  request->landing_size = length + sizeof trailer;
  request->awaited = 2;
  return EFA_SUCCESS;
}

}  // namespace

efa_result start_send(efa_transport* t, efa_request* request, const efa_envelope* envelope,
                      efa_send_mode mode) {
  efa_peer* peer = request->op.peer;
  const size_t length = request->data.length;
  const bool packed = request->data.layout != nullptr;
  const bool synchronous = mode == EFA_SEND_SYNCHRONOUS;
  request->kind = kSendRequest;
  t->requests.add(request);
  request->self_rank = envelope->self_rank;
  request->status.result = EFA_SUCCESS;
  request->awaited = 1;
  request->ready_id = 0;  // none
  request->withdrawing = false;

  // A synchronous send waits for its match. Up to EFA_BOUNCE_SIZE bytes, a receive of any length has room for the whole
  // message, so it can always be acknowledged; a longer message needs the rendezvous.
  const uint64_t standard_limit = packed ? peer->eager_limit_packed : peer->eager_limit;
  const uint64_t limit = synchronous ? kLongestSynchronous : standard_limit;
  const bool alone = length > limit && !synchronous && goes_alone(t, request);
  if (length > limit && !alone) {
    request->bits = t->tags.send_bits(envelope->context, kKindRts, envelope->self_rank, envelope->tag);
    send_ready(t, request);
    return EFA_SUCCESS;
  }

  const uint64_t kind = synchronous ? kKindSync : alone ? kKindAlone : kKindEager;
  request->bits = t->tags.send_bits(envelope->context, kind, envelope->self_rank, envelope->tag);
  request->landing = request->data.buffer;
  request->landing_size = length;
  if (synchronous) {
    const efa_result result = prepare_synchronous(t, request);
    if (result != EFA_SUCCESS) return result;
  } else if (packed) {
    request->landing = length <= EFA_BOUNCE_SIZE ? request->bounce : t->buffers.take(length);
    if (!request->landing) return EFA_OUT_OF_MEMORY;
    if (!t->config.pack(request->data.layout, 0, request->landing, length)) {
      if (request->landing != request->bounce) t->buffers.give(request->landing, length);
      return EFA_FAILED;
    }
  }
  if (alone) t->alone.push_back({request->bits, peer->uid, peer});
  if (alone) {
    ++t->long_sends;
    peer->unmatched_alone = true;
  }
  request->op.completed = synchronous ? synchronous_sent : alone ? alone_sent : eager_sent;
  request->op.post = t->path->post_message;
  t->path->send_message(t, request);
  return EFA_SUCCESS;
}

}  // namespace efa

// Receiving.
//
// The first EFA_BOUNCE_SIZE bytes of every message are received into the request (the bounce) and copied. So a
// ready-to-send message, and an eager synchronous one, always arrive completely and outside user memory: memory behind a
// short message is not written, and programs that post one buffer several times (OSU's bandwidth test) do not overwrite a
// ready-to-send message. The rest is received into the user's buffer. For a noncontiguous layout the whole message is
// received into a pool buffer and unpacked.
#include "tagged/recv.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstring>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "protocol/deliver.hpp"
#include "protocol/requests.hpp"
#include "protocol/submit.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"
#include "tagged/claims.hpp"
#include "tagged/match.hpp"

namespace efa {
namespace {

inline fi_addr_t source_of(const efa_operation* op) {
  return op->peer ? op->peer->address : FI_ADDR_UNSPEC;
}

// Where the first bytes of the message are.
inline const void* landed(const efa_request* request) {
  return request->landing ? request->landing : request->bounce;
}

// For a provider that does not handle truncation reliably, the bytes beyond the end of the receive go to the overflow
// buffer; truncation is detected by the length. Returns the number of parts.
inline size_t with_overflow(const efa_transport* t, iovec* iov, size_t count, size_t room) {
  if (room < t->overflow.receive_room) [[likely]]
    iov[count++] = {t->overflow.memory.get(), t->overflow.receive_room - room};
  return count;
}

// Posts a receive into the bounce, with the rest in the user's memory.
[[gnu::always_inline]] inline int post_in_place(efa_transport* t, efa_request* request, fi_addr_t from) {
  iovec iov[3];
  size_t count = 1, room = EFA_BOUNCE_SIZE;
  iov[0] = {request->bounce, EFA_BOUNCE_SIZE};
  if (request->data.length > EFA_BOUNCE_SIZE) {
    room = request->data.length;
    iov[count++] = {static_cast<char*>(request->data.buffer) + EFA_BOUNCE_SIZE, room - EFA_BOUNCE_SIZE};
  }
  count = with_overflow(t, iov, count, room);
  return static_cast<int>(
      fi_trecvv(t->ep, iov, nullptr, count, from, request->bits, request->ignore, &request->op.context));
}

// The same for a receive that fits into the bounce.
[[gnu::always_inline]] inline int post_short(efa_transport* t, efa_request* request, fi_addr_t from) {
  const iovec iov[2] = {{request->bounce, EFA_BOUNCE_SIZE}, t->overflow.part_short};
  return static_cast<int>(fi_trecvv(t->ep, iov, nullptr, t->overflow.parts_short, from, request->bits, request->ignore,
                                    &request->op.context));
}

int post_receive(efa_transport* t, efa_operation* op) {
  efa_request* request = request_of(op);
  if (!request->landing) return post_in_place(t, request, source_of(op));
  iovec iov[2] = {{request->landing, request->landing_size}};
  const size_t count = with_overflow(t, iov, 1, request->landing_size);
  return static_cast<int>(
      fi_trecvv(t->ep, iov, nullptr, count, source_of(op), request->bits, request->ignore, &op->context));
}

[[gnu::noinline]] void fail_receive(efa_transport* t, efa_request* request, const fi_cq_tagged_entry* entry,
                                    const efa_failure* failure) {
  const bool known =
      ((entry->tag ^ request->bits) & ~request->ignore) == 0;  // the provider reported which message it was
  request->status.length = 0;
  if (failure->error == FI_ECANCELED || t->closing) {
    finish(t, request,
           request->withdrawing || (request->op.peer && request->op.peer->pending.failed()) ? EFA_UNREACHABLE
                                                                                            : EFA_CANCELED);
    return;
  }
  if (known) {
    request->status.tag = t->tags.tag(entry->tag);
    request->status.source = t->tags.rank(entry->tag, entry->data);
  }
  if (known && t->tags.is_answered(entry->tag)) {
    // The message's id did not arrive, so the sender cannot be notified.
    report_failure(t, msg::op_receive(request->data.length, to_string(request->op.peer)), request->op.peer,
                   *failure);
    cannot_answer(t, request, request->op.peer, 0);
    return;
  }
  if (failure->error == FI_ETRUNC && request->landing && request->landing_size < request->data.length) {
    // A noncontiguous receive has room for any eager message that our card allows, so the peer violated that limit.
    efa_peer* peer = known || request->op.peer ? sender_of(t, request, request->status.source) : nullptr;
    t->fatal(msg::eager_too_long(request->landing_size, to_string(peer)));
    finish(t, request, EFA_FAILED);
    return;
  }
  if (failure->error == FI_ETRUNC) {
    ++t->counters.received_eager;
    t->counters.received_eager_bytes += request->data.length;
    request->status.length = request->data.length;
    store(t, request, landed(request),
          std::min(request->data.length, request->landing ? request->landing_size : request->data.length));
    finish(t, request, EFA_TRUNCATED);
    return;
  }
  finish(t, request,
         report_failure(t, msg::op_receive(request->data.length, to_string(request->op.peer)),
                        request->op.peer, *failure));
}

// Not inlined, so that received_exact needs no stack frame.
[[gnu::noinline]] void received(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                                const efa_failure* failure) {
  efa_request* request = request_of(op);
  if (failure)
    fail_receive(t, request, entry, failure);
  else
    deliver(t, request, entry->tag, entry->data, entry->len);
}

// The same for a contiguous receive from one source with one tag, which its status already has.
void received_exact(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                    const efa_failure* failure) {
  efa_request* request = request_of(op);
  const size_t length = entry->len;
  if (failure || !t->tags.plain(entry->tag) || length > request->data.length) [[unlikely]] {
    received(t, op, entry, failure);
    return;
  }
  ++t->counters.received_eager;
  t->counters.received_eager_bytes += length;
  request->status.length = length;
  copy_head(request->data.buffer, request->bounce, length);
  finish_bare(t, request, EFA_SUCCESS);
}

}  // namespace

void deliver(efa_transport* t, efa_request* request, uint64_t bits, uint64_t data, size_t length) {
  request->status.tag = t->tags.tag(bits);
  request->status.source = t->tags.rank(bits, data);
  deliver_matched(t, request, bits, landed(request), length);
}

namespace {

// Allocates the buffer of a noncontiguous receive. 0, or a negative fi_errno: -FI_EAGAIN beyond the limit of their memory.
int allocate_landing(efa_transport* t, efa_request* request) {
  if (request->data.length <= EFA_BOUNCE_SIZE) {
    request->landing = request->bounce;
    request->landing_size = EFA_BOUNCE_SIZE;
    return 0;
  }
  // Messages longer than the eager limit on our card arrive by rendezvous.
  const size_t size = std::min<size_t>(request->data.length, t->protocols.longest_eager);
  if (t->landings.is_full(size)) return -FI_EAGAIN;
  request->landing_size = size;
  request->landing = t->landings.take(size);
  return request->landing ? 0 : -FI_ENOMEM;
}

int post_layout_receive(efa_transport* t, efa_operation* op) {
  efa_request* request = request_of(op);
  if (!request->landing)
    if (const int error = allocate_landing(t, request)) return error;
  return post_receive(t, op);
}

// Not inlined: receive_exact is on the fast path.
[[gnu::noinline]] void refused_exact(efa_transport* t, efa_request* request, int error) noexcept {
  request->op.post = post_receive;
  try {
    submit_refused(t, t->pending_receives, &request->op, error);
  } catch (...) {
    finish(t, request, report_exception(t, msg::op_call_receive));
  }
}

// A contiguous receive from one source with one tag. It does not need the request's `communicator`.
[[gnu::always_inline]] inline void receive_exact(efa_transport* t, efa_request* request, efa_peer* peer,
                                                 const efa_envelope& envelope) {
  const size_t length = request->data.length;
  request->op.completed = received_exact;
  request->op.peer = peer;
  request->landing = nullptr;
  request->kind = kRecvRequest;  // these four are stored as one word
  request->listed = request->withdrawing = false;
  request->awaited = 0;
  request->status.source = envelope.rank;
  request->status.tag = envelope.tag;
  request->bits = TagLayout::wide_bits(envelope.context, envelope.tag);
  request->ignore = t->tags.recv_ignore_exact();
  t->requests.remember(request);
  const int error = length <= EFA_BOUNCE_SIZE ? post_short(t, request, peer->address)
                                              : post_in_place(t, request, peer->address);
  if (error) [[unlikely]]
    refused_exact(t, request, error);
}

}  // namespace

std::vector<efa_request*> open_receives(efa_transport* t) {
  std::vector<efa_request*> open = t->requests.remembered(received_exact);
  for (efa_request* request = t->requests.first(); request; request = request->next_open)
    if (request->kind != kSendRequest) open.push_back(request);
  return open;
}

void end_receives(efa_transport* t, const efa_peer* source) {
  settle_claim(t);
  std::vector<efa_request*> ended;
  for (efa_operation* op = t->pending_receives.first(); op; op = op->next)
    if (op->peer == source) ended.push_back(request_of(op));
  for (efa_request* request : ended) t->pending.remove(t->pending_receives, &request->op);
  for (efa_request* request : ended) finish(t, request, EFA_UNREACHABLE);
  for (efa_request* request : open_receives(t)) {
    if (request->op.peer != source || request->kind != kRecvRequest) continue;
    request->withdrawing = true;
    fi_cancel(&t->ep->fid, &request->op.context);
  }
}

}  // namespace efa

// One test for all three. With threads slow_path is set, so what another thread is storing in the other two does not matter.
extern "C" [[gnu::no_sanitize("thread")]] bool efa_try_recv(efa_transport* t, efa_request* request,
                                                            efa_peer* peer, const efa_envelope* envelope) {
  if (uint64_t{t->slow_path} | reinterpret_cast<uintptr_t>(t->claims.first) |
      reinterpret_cast<uintptr_t>(t->pending_receives.first_or_mark())) [[unlikely]]
    return false;
  efa::receive_exact(t, request, peer, *envelope);
  return true;
}

namespace efa {

efa_result start_receive(efa_transport* t, efa_request* request, const efa_envelope* envelope) {
  request->op.completed = received;
  request->op.post = request->data.layout ? post_layout_receive : post_receive;
  request->landing = nullptr;
  request->kind = kRecvRequest;
  request->listed = false;
  request->withdrawing = false;
  request->status.source = envelope->rank;
  request->status.tag = envelope->tag;
  request->bits = t->tags.recv_bits(envelope->context, envelope->rank, envelope->tag, envelope->any_tag);
  request->ignore = t->tags.recv_ignore(envelope->rank, envelope->any_tag);
  if (request->op.peer && request->op.peer->pending.failed()) {
    finish(t, request, EFA_UNREACHABLE);
    return EFA_SUCCESS;
  }
  if (efa_message* message = find_claimed(t, request->bits, request->ignore, envelope->rank)) {
    unlink_claimed(t, message);
    const efa_result result = efa_recv_matched(t, request, message);
    if (result != EFA_SUCCESS) relink_claimed(t, message);
    return result;
  }
  // A receive that waits behind others allocates its buffer when it is posted; otherwise the first could wait for that memory.
  if (request->data.layout && t->pending_receives.empty() && allocate_landing(t, request) == -FI_ENOMEM)
    return EFA_OUT_OF_MEMORY;
  t->requests.add(request);
  submit(t, t->pending_receives, &request->op);
  return EFA_SUCCESS;
}

void cancel_receive(efa_transport* t, efa_request* request) {
  if (!t->pending_receives.empty()) settle_claim(t);
  if (request->kind != kRecvRequest) return;
  if (t->pending.remove(t->pending_receives, &request->op)) {
    finish(t, request, EFA_CANCELED);
    return;
  }
  // The provider does not cancel a receive that has matched; it completes normally.
  fi_cancel(&t->ep->fid, &request->op.context);
}

}  // namespace efa

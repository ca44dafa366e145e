// Receiving: where a message lands, and what becomes of it there.
//
// The first EFA_BOUNCE_SIZE bytes of every message land in the request and are copied on. So a ready-to-send
// message, and an eager synchronous one, always arrive whole and apart from user memory: nothing behind a
// short message is touched, and benchmarks that post one buffer many times (OSU's bandwidth test does) get
// each message's own. What follows lands in the user's buffer, or, if its layout has gaps, in a pool buffer
// that is unpacked; such a buffer is private, and takes the beginning as well.
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstring>

#include "transport.hpp"

namespace efa {
namespace {

static_assert(sizeof(ReadyToSend) <= EFA_BOUNCE_SIZE);

int post_receive(efa_transport* t, efa_operation* op) {
  efa_request* r = request_of(op);
  const fi_addr_t from = op->peer ? op->peer->address : FI_ADDR_UNSPEC;
  iovec iov[3];
  size_t count = 0;
  if (r->headed) {
    iov[count++] = {r->bounce, EFA_BOUNCE_SIZE};
    iov[count++] = {static_cast<char*>(r->landing) + EFA_BOUNCE_SIZE, r->landing_size - EFA_BOUNCE_SIZE};
  } else {
    iov[count++] = {r->landing, r->landing_size};
  }
  // With a provider that must not truncate, whatever a receive is too short for goes to the overflow buffer,
  // and the length that arrived tells.
  if (t->overflow && r->landing_size < t->protocols.eager_limit)
    iov[count++] = {t->overflow.get(), t->protocols.eager_limit - r->landing_size};
  return static_cast<int>(
      count == 1
          ? fi_trecv(t->ep, r->landing, r->landing_size, nullptr, from, r->bits, r->ignore, &op->context)
          : fi_trecvv(t->ep, iov, nullptr, count, from, r->bits, r->ignore, &op->context));
}

// Moves what has landed, cut to the receive's length, to where the user wants it.
bool store(efa_transport* t, efa_request* r, size_t size) {
  if (size == 0) return true;
  if (r->landing == r->data.buffer) {
    if (r->headed) std::memcpy(r->data.buffer, r->bounce, std::min<size_t>(size, EFA_BOUNCE_SIZE));
    return true;
  }
  if (r->data.layout) return t->config.unpack(r->data.layout, 0, r->landing, size);
  std::memcpy(r->data.buffer, r->landing, size);
  return true;
}

void receive_failed(efa_transport* t, efa_request* r, const efa_completion* c) {
  const bool known = ((c->tag ^ r->bits) & ~r->ignore) == 0;  // the provider said which message it was
  r->status.length = 0;
  if (c->error == FI_ECANCELED || t->closing) {
    finish(t, r, EFA_CANCELED);
    return;
  }
  if (known) {
    r->status.tag = t->tags.tag(c->tag);
    r->status.source = t->tags.rank(c->tag, c->data);
  }
  if (c->error == FI_ETRUNC) {
    r->status.length = r->data.length;
    store(t, r, std::min(r->data.length, r->landing_size));
    finish(t, r, EFA_TRUNCATED);
    return;
  }
  finish(
      t, r,
      report_failure(t, "receiving up to " + std::to_string(r->data.length) + " bytes from", r->op.peer, *c));
}

void received(efa_transport* t, efa_operation* op, const efa_completion* c) {
  efa_request* r = request_of(op);
  if (c->error) {
    receive_failed(t, r, c);
  } else {
    deliver(t, r, c->tag, c->data, c->length);
  }
}

}  // namespace

void finish(efa_transport* t, efa_request* r, efa_result result) {
  r->status.result = result;
  if (r->landing && r->landing != r->bounce && r->landing != r->data.buffer)
    t->buffers.give(r->landing, r->landing_size);
  r->landing = nullptr;
  r->kind = kNoRequest;
  if (!t->draining) r->done(r);
}

efa_peer* sender_of(efa_transport* t, const efa_request* r, int32_t source) {
  return r->op.peer ? r->op.peer : t->config.resolve(r->communicator, source);
}

void deliver(efa_transport* t, efa_request* r, uint64_t bits, uint64_t data, size_t length) {
  const uint64_t kind = t->tags.kind(bits);
  r->status.tag = t->tags.tag(bits);
  r->status.source = t->tags.rank(bits, data);

  if (kind == kKindRts) [[unlikely]] {
    const auto ready = parse_ready_to_send(r->headed ? r->bounce : r->landing, length);
    efa_peer* peer = sender_of(t, r, r->status.source);
    if (!ready || !peer) {
      if (!ready)
        t->fatal("A message of " + std::to_string(length) + " bytes from " + to_string(peer) +
                 " claims to be a ready-to-send message but is none.");
      finish(t, r, EFA_FAILED);
      return;
    }
    receive_rendezvous(t, r, peer, *ready);
    return;
  }

  const size_t size = std::min(length, r->data.length);
  r->status.length = size;
  const bool stored = store(t, r, size);
  if (kind == kKindSync) [[unlikely]] {
    efa_peer* peer = sender_of(t, r, r->status.source);
    if (!peer) {
      finish(t, r, EFA_UNREACHABLE);
      return;
    }
    Control ack{};
    ack.magic = Control::kMagic;
    ack.version = kWireVersion;
    ack.type = ControlType::acknowledge;
    ack.sender = t->config.self.uid;
    ack.request = bits;
    send_control(t, peer, ack);
  }
  finish(t, r, !stored ? EFA_FAILED : length > r->data.length ? EFA_TRUNCATED : EFA_SUCCESS);
}

}  // namespace efa

extern "C" efa_result efa_recv(efa_transport* t, efa_request* r, const efa_envelope* e) {
  efa::Guard guard(t);
  r->kind = efa::kRecvRequest;
  r->transfer = nullptr;
  r->self_rank = e->self_rank;
  r->status.source = e->rank;
  r->status.tag = e->tag;
  r->bits = t->tags.recv_bits(e->context, e->rank, e->tag, e->any_tag);
  r->ignore = t->tags.recv_ignore(e->rank, e->any_tag);
  if (t->claimed_first) {
    if (efa_message* m = efa::find_claimed(t, r->bits, r->ignore, e->rank)) {
      efa::unlink_claimed(t, m);
      return efa_recv_matched(t, r, m);
    }
  }

  const size_t length = r->data.length;
  r->headed = false;
  if (length <= EFA_BOUNCE_SIZE) {
    r->landing = r->bounce;
    r->landing_size = EFA_BOUNCE_SIZE;
  } else if (!r->data.layout) {
    r->landing = r->data.buffer;
    r->landing_size = length;
    r->headed = true;
  } else {
    // Whatever is longer than the eager limit on our card comes by rendezvous.
    r->landing_size = std::min<size_t>(length, t->protocols.eager_limit);
    r->landing_size = std::max<size_t>(r->landing_size, EFA_BOUNCE_SIZE);
    r->landing = t->buffers.take(r->landing_size);
    if (!r->landing) return EFA_OUT_OF_MEMORY;
  }
  r->op.completed = efa::received;
  r->op.post = efa::post_receive;
  efa::submit(t, t->pending_receives, &r->op);
  return EFA_SUCCESS;
}

extern "C" void efa_cancel(efa_transport* t, efa_request* r) {
  efa::Guard guard(t);
  if (r->kind != efa::kRecvRequest) return;
  if (t->pending.remove(t->pending_receives, &r->op)) {
    efa::finish(t, r, EFA_CANCELED);
    return;
  }
  // If it is matched already the provider finds nothing to cancel and the receive completes as usual.
  fi_cancel(&t->ep->fid, &r->op.context);
}

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

inline fi_addr_t source_of(const efa_operation* op) {
  return op->peer ? op->peer->address : FI_ADDR_UNSPEC;
}

// With a provider that must not truncate, whatever a receive is too short for goes to the overflow buffer, and the
// length that arrived tells. The number of parts.
inline size_t with_overflow(const efa_transport* t, iovec* iov, size_t count, size_t room) {
  if (room < t->receive_room) [[likely]]
    iov[count++] = {t->overflow.get(), t->receive_room - room};
  return count;
}

// Into the bounce, and what follows into the user's memory.
[[gnu::always_inline]] inline int post_in_place(efa_transport* t, efa_request* r, fi_addr_t from) {
  iovec iov[3];
  size_t count = 1, room = EFA_BOUNCE_SIZE;
  iov[0] = {r->bounce, EFA_BOUNCE_SIZE};
  if (r->data.length > EFA_BOUNCE_SIZE) {
    room = r->data.length;
    iov[count++] = {static_cast<char*>(r->data.buffer) + EFA_BOUNCE_SIZE, room - EFA_BOUNCE_SIZE};
  }
  count = with_overflow(t, iov, count, room);
  return static_cast<int>(fi_trecvv(t->ep, iov, nullptr, count, from, r->bits, r->ignore, &r->op.context));
}

// The same if all of it is the bounce.
[[gnu::always_inline]] inline int post_short(efa_transport* t, efa_request* r, fi_addr_t from) {
  const iovec iov[2] = {{r->bounce, EFA_BOUNCE_SIZE}, t->overflow_short};
  return static_cast<int>(
      fi_trecvv(t->ep, iov, nullptr, t->parts_short, from, r->bits, r->ignore, &r->op.context));
}

int post_receive(efa_transport* t, efa_operation* op) {
  efa_request* r = request_of(op);
  if (!r->landing) return post_in_place(t, r, source_of(op));
  iovec iov[2] = {{r->landing, r->landing_size}};
  const size_t count = with_overflow(t, iov, 1, r->landing_size);
  return static_cast<int>(
      fi_trecvv(t->ep, iov, nullptr, count, source_of(op), r->bits, r->ignore, &op->context));
}

// Copies the part of a message that landed in the bounce. Up to 16 bytes without a call: most messages whose latency
// matters are that short.
inline void copy_head(void* to, const uint8_t* bounce, size_t size) {
  if (size >= 8 && size <= 16) [[likely]] {
    uint64_t first, last;
    std::memcpy(&first, bounce, 8);
    std::memcpy(&last, bounce + size - 8, 8);
    std::memcpy(to, &first, 8);
    std::memcpy(static_cast<char*>(to) + size - 8, &last, 8);
  } else if (size > 0) {
    std::memcpy(to, bounce, std::min<size_t>(size, EFA_BOUNCE_SIZE));
  }
}

// Moves what has landed, cut to the receive's length, to where the user wants it.
bool store(efa_transport* t, efa_request* r, size_t size) {
  if (!r->landing) {
    copy_head(r->data.buffer, r->bounce, size);
    return true;
  }
  if (size == 0 || r->landing == r->data.buffer) return true;
  if (r->data.layout) return t->config.unpack(r->data.layout, 0, r->landing, size);
  std::memcpy(r->data.buffer, r->landing, size);
  return true;
}

[[gnu::noinline]] void receive_failed(efa_transport* t, efa_request* r, const fi_cq_tagged_entry* entry,
                                      const efa_failure* failure) {
  const bool known = ((entry->tag ^ r->bits) & ~r->ignore) == 0;  // the provider said which message it was
  r->status.length = 0;
  if (failure->error == FI_ECANCELED || t->closing) {
    finish(t, r, EFA_CANCELED);
    return;
  }
  if (known) {
    r->status.tag = t->tags.tag(entry->tag);
    r->status.source = t->tags.rank(entry->tag, entry->data);
  }
  if (failure->error == FI_ETRUNC && r->landing && r->landing_size < r->data.length) {
    // Into a layout, and longer than any eager message that our card allows: what is missing is not the room.
    efa_peer* peer = known || r->op.peer ? sender_of(t, r, r->status.source) : nullptr;
    t->fatal("A message longer than " + std::to_string(r->landing_size) + " bytes came from " +
             to_string(peer) + " at once, although longer ones must be announced.");
    finish(t, r, EFA_FAILED);
    return;
  }
  if (failure->error == FI_ETRUNC) {
    r->status.length = r->data.length;
    store(t, r, std::min(r->data.length, r->landing ? r->landing_size : r->data.length));
    finish(t, r, EFA_TRUNCATED);
    return;
  }
  finish(t, r,
         report_failure(t, "receiving up to " + std::to_string(r->data.length) + " bytes from", r->op.peer,
                        *failure));
}

void received(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
              const efa_failure* failure) {
  efa_request* r = request_of(op);
  if (failure)
    receive_failed(t, r, entry, failure);
  else
    deliver(t, r, entry->tag, entry->data, entry->len);
}

// The same of a receive that lands in place and is for one source and one tag, which its status has already.
void received_exact(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                    const efa_failure* failure) {
  efa_request* r = request_of(op);
  if (failure || !t->tags.plain(entry->tag)) [[unlikely]] {
    received(t, op, entry, failure);
    return;
  }
  const size_t length = entry->len;
  if (length > r->data.length) [[unlikely]] {
    received(t, op, entry, failure);
    return;
  }
  r->status.length = length;
  copy_head(r->data.buffer, r->bounce, length);
  finish_bare(t, r, EFA_SUCCESS);
}

}  // namespace

void finish(efa_transport* t, efa_request* r, efa_result result) {
  if (r->landing && r->landing != r->bounce && r->landing != r->data.buffer)
    t->buffers.give(r->landing, r->landing_size);
  r->landing = nullptr;
  finish_bare(t, r, result);
}

efa_peer* sender_of(efa_transport* t, const efa_request* r, int32_t source) {
  return r->op.peer ? r->op.peer : t->config.resolve(r->communicator, source);
}

void deliver(efa_transport* t, efa_request* r, uint64_t bits, uint64_t data, size_t length) {
  const uint64_t kind = t->tags.kind(bits);
  r->status.tag = t->tags.tag(bits);
  r->status.source = t->tags.rank(bits, data);

  if (kind == kKindRts) {
    const auto ready = parse_ready_to_send(r->landing ? r->landing : r->bounce, length);
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
  if (kind == kKindSync) {
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

namespace {

// Noncontiguous data lands in a buffer of its own. False if there is no memory.
bool take_landing(efa_transport* t, efa_request* r) {
  if (r->data.length <= EFA_BOUNCE_SIZE) {
    r->landing = r->bounce;
    r->landing_size = EFA_BOUNCE_SIZE;
    return true;
  }
  // Whatever is longer than the eager limit on our card comes by rendezvous.
  r->landing_size = std::min<size_t>(r->data.length, t->protocols.longest_eager);
  r->landing = t->buffers.take(r->landing_size);
  return r->landing != nullptr;
}

// From one source with one tag, in place. The request's `communicator` is not needed then.
[[gnu::always_inline]] inline void receive_exact(efa_transport* t, efa_request* r, efa_peer* peer,
                                                 const efa_envelope& e) {
  r->op.completed = received_exact;
  r->op.peer = peer;
  r->landing = nullptr;
  r->kind = kRecvRequest;
  r->status.source = e.rank;
  r->status.tag = e.tag;
  r->bits = TagLayout::wide_bits(e.context, e.tag);
  r->ignore = t->tags.recv_ignore_exact();
  const int error = r->data.length <= EFA_BOUNCE_SIZE ? post_short(t, r, peer->address)
                                                      : post_in_place(t, r, peer->address);
  if (error) [[unlikely]] {
    r->op.post = post_receive;
    submit_refused(t, t->pending_receives, &r->op, error);
  }
}

}  // namespace
}  // namespace efa

extern "C" bool efa_try_recv(efa_transport* t, efa_request* r, efa_peer* peer, const efa_envelope* e) {
  if (!t->usual || t->claimed_first || !t->pending_receives.empty()) [[unlikely]]
    return false;
  efa::receive_exact(t, r, peer, *e);
  return true;
}

extern "C" efa_result efa_recv(efa_transport* t, efa_request* r, const efa_envelope* e) {
  using namespace efa;
  Guard guard(t);
  r->op.completed = received;
  r->op.post = post_receive;
  r->landing = nullptr;
  r->kind = kRecvRequest;
  r->status.source = e->rank;
  r->status.tag = e->tag;
  r->bits = t->tags.recv_bits(e->context, e->rank, e->tag, e->any_tag);
  r->ignore = t->tags.recv_ignore(e->rank, e->any_tag);
  if (efa_message* m = find_claimed(t, r->bits, r->ignore, e->rank)) {
    unlink_claimed(t, m);
    return efa_recv_matched(t, r, m);
  }
  if (r->data.layout && !take_landing(t, r)) return EFA_OUT_OF_MEMORY;
  submit(t, t->pending_receives, &r->op);
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

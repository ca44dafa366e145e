// Probing, and messages that a probe takes out of matching.
//
// libfabric's peek tells tag, source and size of the first message that matches. For a ready-to-send message
// that is not the size MPI asks for, so the message has to be taken ("claimed") and read. A claimed message
// has left the provider's matching; until it is received it is kept in a list here that every later receive
// and probe looks at first. To keep MPI's order, all earlier messages of the same source and communicator
// are claimed with it, whatever their tag: then the list holds nothing that is younger than what the
// provider still has.
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "transport.hpp"

struct efa_message {
  efa_operation op;  // first: libfabric names a claimed message by the context it was peeked with
  enum State { asking, absent, found, fetching, ready } state;
  uint64_t bits, ignore;  // asked for; then `bits` as the message has them
  uint64_t data;
  size_t length;          // of the provider's message
  uint64_t flags;         // of the peek
  efa_request* receiver;  // once it is being received
  efa_message* next;      // in the list of claimed messages
  uint8_t header[EFA_BOUNCE_SIZE];
  efa::ReadyToSend rts;  // for a rendezvous, once fetched
};

namespace efa {
namespace {

efa_message* message_of(efa_operation* op) {
  return reinterpret_cast<efa_message*>(op);
}

int post_tagged(efa_transport* t, efa_message* m, void* to, size_t size, uint64_t flags) {
  iovec iov{to, size};
  fi_msg_tagged msg{};
  msg.msg_iov = &iov;
  msg.iov_count = size ? 1 : 0;
  msg.addr = m->op.peer ? m->op.peer->address : FI_ADDR_UNSPEC;
  msg.tag = m->bits;
  msg.ignore = m->ignore;
  msg.context = &m->op.context;
  return static_cast<int>(fi_trecvmsg(t->ep, &msg, flags));
}

void peeked(efa_transport*, efa_operation* op, const fi_cq_tagged_entry* entry, const efa_failure* failure) {
  efa_message* m = message_of(op);
  m->state = failure ? efa_message::absent : efa_message::found;
  if (failure) {
    m->data = static_cast<uint64_t>(failure->error);
    return;
  }
  m->bits = entry->tag;
  m->ignore = 0;
  m->data = entry->data;
  m->length = entry->len;
}

// Asks the provider, which answers at once from its own lists. False: nothing there (now).
bool peek(efa_transport* t, efa_message* m, uint64_t flags, efa_result& result) {
  m->state = efa_message::asking;
  m->op.completed = peeked;
  const int error = post_tagged(t, m, nullptr, 0, FI_PEEK | flags);
  if (error == -FI_EAGAIN) return false;
  if (error == -FI_ENOMSG) return false;
  if (error) {
    result = report_failure(t, "probing for messages from", m->op.peer, efa_failure{-error});
    return false;
  }
  while (m->state == efa_message::asking && !t->broken) efa_progress(t);
  if (m->state == efa_message::found) return true;
  if (m->data != FI_ENOMSG) {
    result =
        report_failure(t, "probing for messages from", m->op.peer, efa_failure{static_cast<int>(m->data)});
  }
  return false;
}

void fetched(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
             const efa_failure* failure) {
  efa_message* m = message_of(op);
  if (t->closing) return;
  const auto ready = failure ? std::nullopt : parse_ready_to_send(m->header, entry->len);
  if (!ready) {
    if (failure) report_failure(t, "reading a ready-to-send message from", op->peer, *failure);
    t->fatal("A ready-to-send message from " +
             (op->peer ? to_string(op->peer)
                       : "rank " + std::to_string(t->tags.rank(m->bits, m->data)) + " of a communicator") +
             " cannot be read; its sender would wait for ever.");
    m->rts = {};
    m->rts.piece = 1;
  } else {
    m->rts = *ready;
  }
  m->state = efa_message::ready;
}

int post_fetch(efa_transport* t, efa_operation* op) {
  efa_message* m = message_of(op);
  return post_tagged(t, m, m->header, sizeof m->header, FI_CLAIM);
}

// Reads the ready-to-send message of a claimed rendezvous; an eager message stays at the provider.
void fetch(efa_transport* t, efa_message* m) {
  if (t->tags.kind(m->bits) != kKindRts) {
    m->state = efa_message::ready;
    return;
  }
  m->state = efa_message::fetching;
  m->op.completed = fetched;
  m->op.post = post_fetch;
  submit(t, t->pending_receives, &m->op);
}

void settle(efa_transport* t, efa_message* m) {
  while (m->state == efa_message::fetching && !t->broken) efa_progress(t);
}

void describe(const efa_transport* t, const efa_message* m, efa_status* status) {
  status->source = t->tags.rank(m->bits, m->data);
  status->tag = t->tags.tag(m->bits);
  status->length = t->tags.kind(m->bits) == kKindRts ? m->rts.length : m->length;
  status->result = EFA_SUCCESS;
}

void append_claimed(efa_transport* t, efa_message* m) {
  m->next = nullptr;
  (t->claimed_last ? t->claimed_last->next : t->claimed_first) = m;
  t->claimed_last = m;
  ++t->stats.claimed;
}

// Claims everything that `peer` sent in this communicator up to the first message that matches.
efa_message* claim_through(efa_transport* t, efa_peer* peer, const efa_envelope* e, int32_t source,
                           uint64_t bits, uint64_t ignore, efa_result& result) {
  for (;;) {
    auto* m = new efa_message{};
    m->op.peer = peer;
    m->bits = t->tags.recv_bits(e->context, source, 0, true);
    m->ignore = t->tags.context_ignore(source);
    if (!peek(t, m, FI_CLAIM, result)) {
      delete m;
      return nullptr;
    }
    append_claimed(t, m);
    fetch(t, m);
    if (((m->bits ^ bits) & ~ignore) == 0) return m;
  }
}

// Receives that still wait to be posted are older than any probe.
bool receives_wait(efa_transport* t) {
  efa_progress(t);
  return !t->pending_receives.empty();
}

void received(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
              const efa_failure* failure) {
  efa_message* m = message_of(op);
  efa_request* r = m->receiver;
  const uint64_t bits = m->bits, data = m->data;
  if (failure) {
    r->status.length = 0;
    const efa_result result =
        t->closing ? EFA_CANCELED
                   : report_failure(t, "receiving a probed message from", r->op.peer, *failure);
    delete m;
    finish(t, r, result);
    return;
  }
  delete m;
  deliver(t, r, bits, data, entry->len);
}

int post_receive(efa_transport* t, efa_operation* op) {
  efa_message* m = message_of(op);
  return post_tagged(t, m, m->receiver->landing, m->receiver->landing_size, FI_CLAIM);
}

}  // namespace

efa_message* find_claimed(const efa_transport* t, uint64_t bits, uint64_t ignore, int32_t rank) {
  for (efa_message* m = t->claimed_first; m; m = m->next)
    if (((m->bits ^ bits) & ~ignore) == 0 && (rank < 0 || t->tags.rank(m->bits, m->data) == rank)) return m;
  return nullptr;
}

void unlink_claimed(efa_transport* t, efa_message* m) {
  efa_message* before = nullptr;
  for (efa_message* at = t->claimed_first; at != m; at = at->next) before = at;
  (before ? before->next : t->claimed_first) = m->next;
  if (t->claimed_last == m) t->claimed_last = before;
  m->next = nullptr;
}

void discard_unexpected(efa_transport* t, uint64_t until_ns) {
  efa_message m{};
  m.ignore = ~uint64_t{0};
  efa_result result = EFA_SUCCESS;
  while (peek(t, &m, FI_DISCARD, result) && monotonic_ns() < until_ns) {
    m.bits = 0;
    m.ignore = ~uint64_t{0};
  }
}

namespace {

void taken(efa_transport*, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure*) {
  message_of(op)->state = efa_message::ready;
}

}  // namespace

void receive_unexpected(efa_transport* t, uint64_t until_ns) {
  for (efa_result result = EFA_SUCCESS; monotonic_ns() < until_ns;) {
    auto m = std::make_unique<efa_message>();
    m->ignore = ~uint64_t{0};
    if (!peek(t, m.get(), FI_CLAIM, result)) return;
    m->state = efa_message::fetching;
    m->op.completed = taken;
    int error;
    do {
      error = post_tagged(t, m.get(), t->overflow.get(), t->receive_room, FI_CLAIM);
      efa_progress(t);
    } while (error == -FI_EAGAIN && monotonic_ns() < until_ns);
    while (error == 0 && m->state == efa_message::fetching && !t->broken && monotonic_ns() < until_ns)
      efa_progress(t);
    if (m->state != efa_message::ready) {
      static_cast<void>(m.release());  // its sender is gone; the provider has the context until it is closed
      return;
    }
  }
}

void free_claimed(efa_transport* t) {
  while (efa_message* m = t->claimed_first) {
    unlink_claimed(t, m);
    delete m;
  }
}

}  // namespace efa

extern "C" efa_result efa_probe(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* e,
                                bool* found, efa_status* status) {
  using namespace efa;
  Guard guard(t);
  *found = false;
  if (receives_wait(t)) return EFA_SUCCESS;

  const uint64_t bits = t->tags.recv_bits(e->context, e->rank, e->tag, e->any_tag);
  const uint64_t ignore = t->tags.recv_ignore(e->rank, e->any_tag);
  efa_result result = EFA_SUCCESS;
  efa_message* m = find_claimed(t, bits, ignore, e->rank);
  if (!m) {
    efa_message probe{};
    probe.op.peer = peer;
    probe.bits = bits;
    probe.ignore = ignore;
    if (!peek(t, &probe, 0, result)) return result;
    if (t->tags.kind(probe.bits) != kKindRts) {
      describe(t, &probe, status);
      *found = true;
      return EFA_SUCCESS;
    }
    const int32_t source = t->tags.rank(probe.bits, probe.data);
    if (!peer) peer = t->config.resolve(communicator, source);
    if (!peer) return EFA_UNREACHABLE;
    m = claim_through(t, peer, e, source, bits, ignore, result);
    if (!m) return result;
  }
  settle(t, m);
  describe(t, m, status);
  *found = true;
  return EFA_SUCCESS;
}

extern "C" efa_result efa_match(efa_transport* t, efa_peer* peer, void*, const efa_envelope* e,
                                efa_message** message, efa_status* status) {
  using namespace efa;
  Guard guard(t);
  *message = nullptr;
  if (receives_wait(t)) return EFA_SUCCESS;

  const uint64_t bits = t->tags.recv_bits(e->context, e->rank, e->tag, e->any_tag);
  const uint64_t ignore = t->tags.recv_ignore(e->rank, e->any_tag);
  efa_result result = EFA_SUCCESS;
  efa_message* m = find_claimed(t, bits, ignore, e->rank);
  if (m) {
    unlink_claimed(t, m);
  } else {
    m = new efa_message{};
    m->op.peer = peer;
    m->bits = bits;
    m->ignore = ignore;
    if (!peek(t, m, FI_CLAIM, result)) {
      delete m;
      return result;
    }
    fetch(t, m);
  }
  settle(t, m);
  describe(t, m, status);
  *message = m;
  return EFA_SUCCESS;
}

extern "C" efa_result efa_recv_matched(efa_transport* t, efa_request* r, efa_message* m) {
  using namespace efa;
  Guard guard(t);
  settle(t, m);
  r->kind = kMatchedRequest;
  r->landing = nullptr;
  r->status.source = t->tags.rank(m->bits, m->data);
  r->status.tag = t->tags.tag(m->bits);
  if (!r->op.peer) r->op.peer = m->op.peer;

  if (t->tags.kind(m->bits) == kKindRts) {
    const ReadyToSend ready = m->rts;
    efa_peer* peer = sender_of(t, r, r->status.source);
    if (!peer) return EFA_UNREACHABLE;
    delete m;
    receive_rendezvous(t, r, peer, ready);
    return EFA_SUCCESS;
  }

  // The length is known, so that a receive that is too short can take the whole message elsewhere.
  if (m->length <= EFA_BOUNCE_SIZE) {
    r->landing = r->bounce;
    r->landing_size = EFA_BOUNCE_SIZE;
  } else if (!r->data.layout && m->length <= r->data.length) {
    r->landing = r->data.buffer;
    r->landing_size = m->length;
  } else {
    r->landing_size = m->length;
    r->landing = t->buffers.take(m->length);
    if (!r->landing) return EFA_OUT_OF_MEMORY;
  }
  m->receiver = r;
  m->op.completed = received;
  m->op.post = post_receive;
  submit(t, t->pending_receives, &m->op);
  return EFA_SUCCESS;
}

// Probing, and messages that a probe claims.
//
// libfabric's peek returns tag, source and size of the first message that matches. For a ready-to-send message this is
// not the size that MPI needs, so the message is claimed and read. A claimed message has left the provider's matching.
// Until it is received it is in a list that every later receive and probe searches first. To keep MPI's order, all
// earlier messages of the same source and communicator are claimed too, with any tag. So no message in the list is
// younger than one that the provider still has.
#include "tagged/match.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "protocol/deliver.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/requests.hpp"
#include "protocol/submit.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"
#include "tagged/claims.hpp"
#include "tagged/recv.hpp"

namespace efa {

int post_tagged(efa_transport* t, efa_message* message, void* to, size_t size, uint64_t flags) {
  iovec iov{to, size};
  fi_msg_tagged msg{};
  msg.msg_iov = &iov;
  msg.iov_count = size ? 1 : 0;
  msg.addr = message->op.peer ? message->op.peer->address : FI_ADDR_UNSPEC;
  msg.tag = message->bits;
  msg.ignore = message->ignore;
  msg.context = &message->op.context;
  return static_cast<int>(fi_trecvmsg(t->ep, &msg, flags));
}

void peeked(efa_transport*, efa_operation* op, const fi_cq_tagged_entry* entry, const efa_failure* failure) {
  efa_message* message = message_of(op);
  message->state = failure ? efa_message::absent : efa_message::found;
  if (failure) {
    message->data = static_cast<uint64_t>(failure->error);
    return;
  }
  message->bits = entry->tag;
  message->ignore = 0;
  message->data = entry->data;
  message->length = entry->len;
}

namespace {

efa_result probe_failed(efa_transport* t, const efa_message* message, int error) noexcept {
  try {
    return report_failure(t, msg::op_probe(to_string(message->op.peer)), message->op.peer,
                          efa_failure{error});
  } catch (...) {
    return report_exception(t, msg::op_call_probe);
  }
}

// Asks the provider, which answers from its lists. False: no message.
bool peek(efa_transport* t, efa_message* message, uint64_t flags, efa_result& result) {
  message->state = efa_message::asking;
  message->op.completed = peeked;
  const int error = post_tagged(t, message, nullptr, 0, FI_PEEK | flags);
  if (error == -FI_EAGAIN) return false;
  if (error == -FI_ENOMSG) return false;
  if (error) {
    result = probe_failed(t, message, -error);
    return false;
  }
  ++t->claims.peeks;
  while (message->state == efa_message::asking && !t->broken) efa_progress(t);
  --t->claims.peeks;
  if (message->state == efa_message::found) return true;
  if (message->data != FI_ENOMSG) {
    result = probe_failed(t, message, static_cast<int>(message->data));
  }
  return false;
}

// Parses the header; false if it is invalid.
bool parse_header(const efa_transport* t, efa_message* message, size_t size) {
  if (t->tags.kind(message->bits) == kKindSync) {
    SyncTrailer trailer;
    if (!parse_synchronous(message->header, size, trailer)) return false;
    message->id = trailer.request;
    return true;
  }
  const auto ready = parse_ready_to_send(message->header, size);
  if (!ready) return false;
  message->rts = *ready;
  message->id = ready->request;
  return true;
}

void fetched(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
             const efa_failure* failure) {
  efa_message* message = message_of(op);
  if (t->closing) return;
  if (failure || !parse_header(t, message, entry->len)) {
    if (failure) report_failure(t, msg::op_fetch(to_string(op->peer)), op->peer, *failure);
    const int32_t source = t->tags.rank(message->bits, message->data);
    t->fatal(op->peer ? msg::message_unreadable(to_string(op->peer))
                      : msg::message_unreadable(msg::rank_of_communicator(source)));
    message->rts = {};
    message->rts.piece = 1;
    message->length = sizeof(SyncTrailer);
  }
  message->state = efa_message::ready;
}

int post_fetch(efa_transport* t, efa_operation* op) {
  efa_message* message = message_of(op);
  return post_tagged(t, message, message->header, sizeof message->header, FI_CLAIM);
}

}  // namespace

// Reads a claimed message whose sender waits for an answer: it is short and contains its id. Others stay at the provider.
void fetch(efa_transport* t, efa_message* message) {
  if (!t->tags.is_answered(message->bits)) {
    message->state = efa_message::ready;
    return;
  }
  message->state = efa_message::fetching;
  message->op.completed = fetched;
  message->op.post = post_fetch;
  submit(t, t->pending_internal, &message->op);
}

namespace {

void settle(efa_transport* t, efa_message* message) {
  ++t->claims.peeks;
  while (message->state == efa_message::fetching && !t->broken) efa_progress(t);
  --t->claims.peeks;
}

// The length of the message's data.
size_t length_of(const efa_transport* t, const efa_message* message) {
  switch (t->tags.kind(message->bits)) {
    case kKindRts:
      return message->rts.length;
    case kKindSync:
      return message->length - std::min(message->length, sizeof(SyncTrailer));
    default:
      return message->length;
  }
}

void describe(const efa_transport* t, const efa_message* message, efa_status* status) {
  status->source = t->tags.rank(message->bits, message->data);
  status->tag = t->tags.tag(message->bits);
  status->length = length_of(t, message);
  status->result = EFA_SUCCESS;
}

}  // namespace

// Allocated before the claim: without memory the message stays at the provider.
efa_message* new_message(efa_peer* peer, uint64_t bits, uint64_t ignore, efa_result& result) {
  auto* message = new (std::nothrow) efa_message{};
  if (!message) {
    result = EFA_OUT_OF_MEMORY;
    return nullptr;
  }
  message->op.peer = peer;
  message->bits = bits;
  message->ignore = ignore;
  return message;
}

namespace {

// Claims all messages of `peer` in this communicator up to the first one that matches.
efa_message* claim_through(efa_transport* t, efa_peer* peer, const efa_envelope* envelope, int32_t source,
                           uint64_t bits, uint64_t ignore, efa_result& result) {
  for (;;) {
    auto* message = new_message(peer, t->tags.recv_bits(envelope->context, source, 0, true),
                                t->tags.context_ignore(source), result);
    if (!message || !peek(t, message, FI_CLAIM, result)) {
      delete message;
      return nullptr;
    }
    append_claimed(t, message);
    fetch(t, message);
    if (((message->bits ^ bits) & ~ignore) == 0) return message;
  }
}

}  // namespace

// A peek searches the messages that the provider has read from the network and reads none itself. So the result "no
// message" is final only after progress.
bool find(efa_transport* t, efa_message* message, uint64_t flags, efa_result& result) {
  if (peek(t, message, flags, result)) return true;
  if (result != EFA_SUCCESS) return false;
  ++t->claims.peeks;
  progress_until_idle(t);
  --t->claims.peeks;
  return peek(t, message, flags, result);
}

namespace {

void received(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
              const efa_failure* failure) {
  efa_message* message = message_of(op);
  efa_request* request = message->receiver;
  const uint64_t bits = message->bits, data = message->data;
  if (failure) {
    request->status.length = 0;
    const efa_result result = t->closing
                                  ? EFA_CANCELED
                                  : report_failure(t, msg::op_receive_probed(to_string(request->op.peer)),
                                                   request->op.peer, *failure);
    delete message;
    finish(t, request, result);
    return;
  }
  delete message;
  deliver(t, request, bits, data, entry->len);
}

int post_receive(efa_transport* t, efa_operation* op) {
  efa_message* message = message_of(op);
  return post_tagged(t, message, message->receiver->landing, message->receiver->landing_size, FI_CLAIM);
}

}  // namespace

// Receives a claimed message that is still at the provider. False if there is no memory for its staging buffer.
bool receive_claimed(efa_transport* t, efa_request* request, efa_message* message) {
  request->kind = kMatchedRequest;
  if (message->length <= EFA_BOUNCE_SIZE) {
    request->landing = request->bounce;
    request->landing_size = EFA_BOUNCE_SIZE;
  } else if (!request->data.layout && message->length <= request->data.length) {
    request->landing = request->data.buffer;
    request->landing_size = message->length;
  } else {
    request->landing_size = message->length;
    request->landing = t->buffers.take(message->length);
    if (!request->landing) return false;
  }
  message->receiver = request;
  message->op.completed = received;
  message->op.post = post_receive;
  submit(t, t->pending_internal, &message->op);
  return true;
}

namespace {

void taken(efa_transport*, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure*) {
  message_of(op)->state = efa_message::ready;
}

}  // namespace

void receive_unexpected(efa_transport* t, uint64_t until_ns) {
  for (efa_result result = EFA_SUCCESS; monotonic_ns() < until_ns;) {
    auto message = std::make_unique<efa_message>();
    message->ignore = ~uint64_t{0};
    if (!peek(t, message.get(), FI_CLAIM, result)) return;
    message->state = efa_message::fetching;
    message->op.completed = taken;
    int error;
    do {
      error = post_tagged(t, message.get(), t->overflow.memory.get(), t->overflow.receive_room, FI_CLAIM);
      efa_progress(t);
    } while (error == -FI_EAGAIN && monotonic_ns() < until_ns);
    while (error == 0 && message->state == efa_message::fetching && !t->broken && monotonic_ns() < until_ns)
      efa_progress(t);
    if (message->state != efa_message::ready) {
      static_cast<void>(
          message.release());  // its sender is gone; the provider uses the context until it is closed
      return;
    }
  }
}

efa_result probe(efa_transport* t, efa_peer* peer, void* communicator, const efa_envelope* envelope,
                 bool* found, efa_status* status) {
  *found = false;
  if (peer && peer->pending.failed()) return EFA_UNREACHABLE;
  const bool only_claimed = claims_all(t);

  const uint64_t bits =
      t->tags.recv_bits(envelope->context, envelope->rank, envelope->tag, envelope->any_tag);
  const uint64_t ignore = t->tags.recv_ignore(envelope->rank, envelope->any_tag);
  efa_result result = EFA_SUCCESS;
  efa_message* message = find_claimed(t, bits, ignore, envelope->rank);
  if (!message && only_claimed) return result;
  if (!message) {
    efa_message probe{};
    probe.op.peer = peer;
    probe.bits = bits;
    probe.ignore = ignore;
    if (!find(t, &probe, 0, result)) return result;
    if (t->tags.kind(probe.bits) != kKindRts) {
      describe(t, &probe, status);
      *found = true;
      return EFA_SUCCESS;
    }
    const int32_t source = t->tags.rank(probe.bits, probe.data);
    if (!peer) peer = t->config.resolve(communicator, source);
    if (!peer) return EFA_UNREACHABLE;
    message = claim_through(t, peer, envelope, source, bits, ignore, result);
    if (!message) return result;
  }
  settle(t, message);
  describe(t, message, status);
  *found = true;
  return EFA_SUCCESS;
}

efa_result match(efa_transport* t, efa_peer* peer, void*, const efa_envelope* envelope, efa_message** found,
                 efa_status* status) {
  *found = nullptr;
  if (peer && peer->pending.failed()) return EFA_UNREACHABLE;
  const bool only_claimed = claims_all(t);

  const uint64_t bits =
      t->tags.recv_bits(envelope->context, envelope->rank, envelope->tag, envelope->any_tag);
  const uint64_t ignore = t->tags.recv_ignore(envelope->rank, envelope->any_tag);
  efa_result result = EFA_SUCCESS;
  efa_message* message = find_claimed(t, bits, ignore, envelope->rank);
  if (message) {
    unlink_claimed(t, message);
  } else if (only_claimed) {
    return result;
  } else {
    message = new_message(peer, bits, ignore, result);
    if (!message || !find(t, message, FI_CLAIM, result)) {
      delete message;
      return result;
    }
    fetch(t, message);
  }
  settle(t, message);
  describe(t, message, status);
  *found = message;
  return EFA_SUCCESS;
}

efa_result receive_matched(efa_transport* t, efa_request* request, efa_message* message) {
  settle(t, message);
  request->kind = kMatchedRequest;
  request->landing = nullptr;
  request->status.source = t->tags.rank(message->bits, message->data);
  request->status.tag = t->tags.tag(message->bits);
  if (!request->op.peer) request->op.peer = message->op.peer;

  if (t->tags.kind(message->bits) == kKindRts) {
    const ReadyToSend ready = message->rts;
    efa_peer* peer = sender_of(t, request, request->status.source);
    if (!peer) {
      t->fatal(unanswerable(t, nullptr, request->status.source, ready.length));
      return EFA_UNREACHABLE;
    }
    delete message;
    receive_rendezvous(t, request, peer, ready);
    return EFA_SUCCESS;
  }
  if (t->tags.kind(message->bits) == kKindSync) {
    const uint64_t bits = message->bits, data = message->data;
    const size_t length = std::min<size_t>(message->length, EFA_BOUNCE_SIZE);
    std::memcpy(request->bounce, message->header, length);
    delete message;
    request->landing = request->bounce;
    request->landing_size = EFA_BOUNCE_SIZE;
    deliver(t, request, bits, data, length);
    return EFA_SUCCESS;
  }

  return receive_claimed(t, request, message) ? EFA_SUCCESS : EFA_OUT_OF_MEMORY;
}

}  // namespace efa

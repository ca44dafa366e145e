#include "packets/incoming.hpp"

#include <new>
#include <utility>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "packets/arrival.hpp"
#include "packets/packets.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/requests.hpp"
#include "protocol/submit.hpp"
#include "state.hpp"

namespace efa {
namespace {

Envelope pattern_of(const efa_envelope& envelope) {
  return {envelope.rank < 0 ? kAnySource : envelope.rank, envelope.any_tag ? kAnyTag : envelope.tag};
}

MatchQueues& queues_of(efa_transport* t, uint32_t context) {
  return t->packets->communicators.queues(context);
}

void describe(const KeptMessage& message, efa_status* status) {
  status->source = message.envelope().source;
  status->tag = message.envelope().tag;
  status->length = message.length;
  status->result = EFA_SUCCESS;
}

// A matched probe and its like: the message is the caller's.
KeptPointer taken(UnexpectedMessage* message) {
  return KeptPointer(static_cast<KeptMessage*>(message));
}

}  // namespace

void receive_kept_at_once(efa_transport* t, efa_request* request, UnexpectedMessage* message) noexcept try {
  deliver_kept(t, request, taken(message));
} catch (...) {
  fatal_exception(t, msg::op_read_probed);
}

efa_result post_receive_entry(efa_transport* t, efa_request* request, const efa_envelope* envelope) {
  request->landing = nullptr;
  request->kind = kRecvRequest;
  request->listed = request->withdrawing = false;
  request->awaited = 0;
  request->status.source = envelope->rank;
  request->status.tag = envelope->tag;
  request->ready_id = envelope->context;  // to find the queue again
  if (request->op.peer && request->op.peer->pending.failed()) {
    finish(t, request, EFA_UNREACHABLE);
    return EFA_SUCCESS;
  }
  MatchQueues& queues = queues_of(t, envelope->context);
  auto* entry = new (entry_of(request)) PostedReceive;
  if (UnexpectedMessage* message = queues.post(*entry, pattern_of(*envelope)))
    deliver_kept(t, request, taken(message));
  else if (t->packets->asks.owes())
    t->packets->asks.posted(t, request, envelope->context, pattern_of(*envelope));
  return EFA_SUCCESS;
}

namespace {

void end_question(efa_transport* t, efa_request* request) {
  if (request->listed & kAsked) t->packets->asks.ended(t, request);
}

}  // namespace

void cancel_receive_entry(efa_transport* t, efa_request* request) {
  if (request->kind != kRecvRequest) return;
  MatchQueues* queues = t->packets->communicators.known(static_cast<uint32_t>(request->ready_id));
  if (!queues || !queues->cancel(*entry_of(request))) return;
  end_question(t, request);
  finish(t, request, EFA_CANCELED);
}

namespace {

UnexpectedMessage* find_now(efa_transport* t, uint32_t context, Envelope pattern) {
  MatchQueues* queues = t->packets->communicators.known(context);
  return queues ? queues->probe(pattern) : nullptr;
}

// The unexpected message that a probe finds; needs no memory, and makes no queues. Progress reads what has arrived at the
// channels, so "no message" is final only after it.
KeptMessage* find_kept(efa_transport* t, const efa_envelope& envelope) {
  const Envelope pattern = pattern_of(envelope);
  UnexpectedMessage* message = find_now(t, envelope.context, pattern);
  if (!message) {
    progress_until_idle(t);
    message = find_now(t, envelope.context, pattern);
  }
  return static_cast<KeptMessage*>(message);
}

}  // namespace

efa_result probe_kept(efa_transport* t, efa_peer* peer, void*, const efa_envelope* envelope, bool* found,
                      efa_status* status) {
  *found = false;
  if (peer && peer->pending.failed()) return EFA_UNREACHABLE;
  if (KeptMessage* message = find_kept(t, *envelope)) {
    describe(*message, status);
    *found = true;
  } else if (t->packets->asks.owes()) {
    *found = t->packets->asks.probe(t, peer, envelope->context, pattern_of(*envelope), status);
  }
  return EFA_SUCCESS;
}

efa_result match_kept(efa_transport* t, efa_peer* peer, void*, const efa_envelope* envelope,
                      efa_message** found, efa_status* status) {
  *found = nullptr;
  if (peer && peer->pending.failed()) return EFA_UNREACHABLE;
  KeptMessage* message = find_kept(t, *envelope);
  if (message) {
    t->packets->communicators.known(envelope->context)->remove_unexpected(*message);
  } else if (t->packets->asks.owes()) {
    message = t->packets->asks.match(t, peer, envelope->context, pattern_of(*envelope)).release();
  }
  if (!message) return EFA_SUCCESS;
  describe(*message, status);
  *found = handle_of(message);
  return EFA_SUCCESS;
}

efa_result receive_kept(efa_transport* t, efa_request* request, efa_message* message) {
  KeptPointer kept(kept_of(message));
  request->landing = nullptr;
  request->withdrawing = false;
  request->awaited = 0;
  if (!request->op.peer) request->op.peer = kept->peer;
  const Envelope envelope = kept->envelope();
  request->bits = t->tags.recv_bits(kept->context, envelope.source, envelope.tag, false);
  request->ignore = t->tags.recv_ignore_exact();
  deliver_kept(t, request, std::move(kept));
  return EFA_SUCCESS;
}

void withdraw_kept(efa_transport* t, const Control& message) {
  efa_peer* peer = peer_of(t, message.sender);
  if (!peer) {
    t->fatal(msg::withdrawal_impossible(to_string(message)));
    return;
  }
  // The message was sent before its withdrawal on the same channel, so it has arrived.
  KeptMessage* named = nullptr;
  MatchQueues* queues = t->packets->communicators.known(t->tags.context(message.length));
  if (queues)
    queues->for_each_unexpected([&](const UnexpectedMessage& each) {
      const auto& kept = static_cast<const KeptMessage&>(each);
      if (kept.id == message.request && kept.envelope().source == static_cast<int32_t>(message.handle) &&
          kept.envelope().tag == t->tags.tag(message.length) && kept.type != PacketType::eager)
        named = const_cast<KeptMessage*>(&kept);
    });
  if (named) {
    queues->remove_unexpected(*named);
    drop_kept(t, taken(named));
  }
  Control answer = control(t, ControlType::withdrawn, message.request);
  answer.failed = named == nullptr;
  send_control(t, peer, answer);
}

std::vector<efa_request*> posted_receives(efa_transport* t) {
  std::vector<efa_request*> open;
  t->packets->communicators.for_each([&](MatchQueues& queues) {
    queues.for_each_posted([&](const PostedReceive& entry) {
      efa_request* request = request_of(const_cast<PostedReceive*>(&entry));
      // What reports read; no receive pays for it before.
      const Envelope pattern = entry.envelope();
      const bool any_tag = pattern.tag == kAnyTag;
      request->bits = t->tags.recv_bits(queues.context(), pattern.source, pattern.tag, any_tag);
      request->ignore = t->tags.recv_ignore(pattern.source, any_tag);
      open.push_back(request);
    });
  });
  for (efa_request* request = t->requests.first(); request; request = request->next_open)
    if (request->kind != kSendRequest) open.push_back(request);
  return open;
}

void end_posted_receives(efa_transport* t, const efa_peer* source) {
  // First all are taken out: a `done` may make a communicator. The list needs no memory.
  efa_operation* first = nullptr;
  efa_operation** end = &first;
  t->packets->communicators.for_each([&](MatchQueues& queues) {
    queues.take_posted_if(
        [&](const PostedReceive& entry) {
          return request_of(const_cast<PostedReceive*>(&entry))->op.peer == source;
        },
        [&](PostedReceive& entry) {
          efa_operation& op = request_of(&entry)->op;
          op.next = nullptr;
          *end = &op;
          end = &op.next;
        });
  });
  while (first) {
    efa_request* request = request_of(first);
    first = first->next;
    request->status.length = 0;
    end_question(t, request);
    finish(t, request, EFA_UNREACHABLE);
  }
}

void forget_communicator(efa_transport* t, uint32_t context) {
  MatchQueues* queues = t->packets->communicators.known(context);
  if (!queues) return;
  queues->take_unexpected_if([](const UnexpectedMessage&) { return true; },
                             [&](UnexpectedMessage& message) { drop_kept(t, taken(&message)); });
  if (queues->posted() == 0) t->packets->communicators.remove(context);
}

void empty_queues(efa_transport* t) {
  drop_held_sends(t);
  t->packets->communicators.for_each([&](MatchQueues& queues) {
    queues.take_posted_if([](const PostedReceive&) { return true; }, [](PostedReceive&) {});
    queues.take_unexpected_if([](const UnexpectedMessage&) { return true; },
                              [&](UnexpectedMessage& message) { drop_kept(t, taken(&message)); });
  });
}

}  // namespace efa

// A contiguous receive from one source with one tag, without threads and while no peer has failed.
extern "C" bool efa_try_recv_packet(efa_transport* t, efa_request* request, efa_peer* peer,
                                    const efa_envelope* envelope) {
  if (t->slow_packets) [[unlikely]]
    return false;
  efa::MatchQueues* const queues = t->packets->communicators.near(envelope->context);
  if (!queues) [[unlikely]]
    return false;
  request->op.peer = peer;
  request->landing = nullptr;
  request->kind = efa::kRecvRequest;  // these four are stored as one word
  request->listed = request->withdrawing = false;
  request->awaited = 0;
  request->status.source = envelope->rank;
  request->status.tag = envelope->tag;
  request->ready_id = envelope->context;
  auto* entry = new (efa::entry_of(request)) efa::PostedReceive;
  if (efa::UnexpectedMessage* message = queues->post(*entry, {envelope->rank, envelope->tag})) [[unlikely]]
    efa::receive_kept_at_once(t, request, message);
  return true;
}

#include "packets/held_sends.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "fabric/completion.hpp"
#include "packets/flow.hpp"
#include "packets/packets.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/requests.hpp"
#include "protocol/submit.hpp"
#include "state.hpp"

namespace efa {
namespace {

SendFlow* flow_to(efa_transport* t, efa_peer* peer) {
  const auto at = t->packets->send_flows.find(peer);
  return at == t->packets->send_flows.end() ? nullptr : &at->second;
}

SendFlow& make_flow(efa_transport* t, efa_peer* peer) {
  const int32_t half = t->packets->budget.half;
  return t->packets->send_flows.try_emplace(peer, half).first->second;
}

Envelope envelope_of(const efa_transport* t, const efa_request* request) {
  return {request->self_rank, t->tags.tag(request->bits)};
}

// Counts what the window has lost, and gives it another value.
void set_window(efa_peer* peer, SendFlow& flow, int64_t value) {
  flow.unreported += static_cast<uint64_t>(int64_t{flow.half} - peer->window);
  peer->window = flow.half = static_cast<int32_t>(value);
}

void report_use(efa_transport* t, efa_peer* peer, SendFlow& flow) {
  flow.reported = true;
  Control used = control(t, ControlType::window_used, 0);
  used.length = std::min<uint64_t>(std::exchange(flow.unreported, 0), INT32_MAX);
  send_control(t, peer, used);
}

void append(SendFlow& flow, HeldSend& held) {
  held.older = flow.newest;
  (flow.newest ? flow.newest->newer : flow.oldest) = &held;
  flow.newest = &held;
  ++flow.held;
}

// Takes a message out of what is held back. The request may be gone already, while closing.
std::unique_ptr<HeldSend> unlink(SendFlow& flow, HeldMessages& messages, HeldSend* held) {
  messages.queues.remove_unexpected(*held);
  (held->older ? held->older->newer : flow.oldest) = held->newer;
  (held->newer ? held->newer->older : flow.newest) = held->older;
  --flow.held;
  return std::unique_ptr<HeldSend>(held);
}

// The same, for its request to be sent or ended.
efa_request* take_out(SendFlow& flow, HeldMessages& messages, HeldSend* held) {
  efa_request* request = unlink(flow, messages, held)->request;
  request->held = nullptr;
  return request;
}

HeldMessages& messages_of(SendFlow& flow, const HeldSend* held) {
  return flow.contexts.at(held->context);
}

void send_offer(efa_transport* t, efa_peer* peer, uint32_t context, uint32_t question, OfferKind kind,
                const HeldSend* held) {
  Control offer = control(t, ControlType::offer, question);
  offer.handle = context;
  offer.failed = kind;
  if (held) {
    offer.length = held->request->data.length;
    offer.piece = match_key(held->envelope());
  }
  send_control(t, peer, offer);
}

// Sends a message that was asked for. It does not count for the window: the receiver does not keep it.
void send_answer(efa_transport* t, efa_peer* peer, SendFlow& flow, HeldMessages& messages, HeldSend* held,
                 uint32_t question) {
  efa_request* request = take_out(flow, messages, held);
  request->ask = question;
  submit(t, peer->pending, &request->op);
}

// Answers a question with a message that matches it, or with none. True: the question is done with.
bool answer(efa_transport* t, efa_peer* peer, SendFlow& flow, HeldMessages& messages, const Question& question,
            HeldSend* held) {
  const uint32_t context = messages.queues.context();
  switch (question.kind) {
    case AskKind::receive:
      if (!held) return false;
      messages.offered = held;
      messages.offered_to = question.id;
      send_offer(t, peer, context, question.id, kOffered, held);
      return true;
    case AskKind::probe:
      send_offer(t, peer, context, question.id, held ? kHeld : kNothingHeld, held);
      return true;
    case AskKind::match:
      if (held)
        send_answer(t, peer, flow, messages, held, question.id);
      else
        send_offer(t, peer, context, question.id, kNothingHeld, nullptr);
      return true;
  }
  return true;
}

HeldSend* first_match(HeldMessages& messages, Envelope pattern) {
  return static_cast<HeldSend*>(messages.queues.probe(pattern));
}

// After an offer was answered: goes on with the questions, in their order.
void serve(efa_transport* t, efa_peer* peer, SendFlow& flow, HeldMessages& messages) {
  for (size_t i = 0; i < messages.questions.size() && !messages.offered;) {
    const Question question = messages.questions[i];
    HeldSend* held = first_match(messages, question.pattern);
    if (question.kind == AskKind::receive && !held) {
      ++i;
      continue;
    }
    // First: the end of what is sent may begin a send that looks at the questions.
    messages.questions.erase(messages.questions.begin() + static_cast<std::ptrdiff_t>(i));
    answer(t, peer, flow, messages, question, held);
  }
}

// Sends what the credit allows of the messages that are held back, oldest first.
void flush(efa_transport* t, efa_peer* peer, SendFlow& flow) {
  int64_t credit = std::exchange(flow.reserve, 0) + peer->window;
  set_window(peer, flow, -1);
  while (credit >= 0 && flow.oldest) {
    HeldMessages& messages = messages_of(flow, flow.oldest);
    if (messages.offered) break;
    efa_request* request = take_out(flow, messages, flow.oldest);
    const int64_t cost = cost_of(request->landing_size);
    credit -= cost;
    flow.unreported += static_cast<uint64_t>(cost);
    // Its end may begin another send, which is held back: the window is negative.
    submit(t, peer->pending, &request->op);
  }
  if (flow.held == 0) {
    const int64_t half = std::min<int64_t>(credit > 0 ? credit / 2 : credit, INT32_MAX);
    set_window(peer, flow, half);
    flow.reserve = credit - half;
    return;
  }
  flow.reserve = credit + 1;  // the window is -1
  if (credit < 0 && !flow.reported) report_use(t, peer, flow);
}

// The window is used up, so the message waits. May throw std::bad_alloc; then nothing has changed.
void hold(efa_transport* t, efa_peer* peer, SendFlow& flow, efa_request* request) {
  const uint32_t context = t->tags.context(request->bits);
  auto held = std::make_unique<HeldSend>();
  HeldMessages& messages = flow.contexts.try_emplace(context, context).first->second;
  held->request = request;
  held->context = context;
  request->held = held.get();
  messages.queues.add_unexpected(*held, envelope_of(t, request));
  append(flow, *held);
  HeldSend* message = held.release();
  ++t->counters.sends_held;
  if (messages.offered) return;
  auto& questions = messages.questions;
  const auto asked = std::find_if(questions.begin(), questions.end(), [&](const Question& each) {
    return MatchPattern(each.pattern).matches(match_key(message->envelope()));
  });
  if (asked == questions.end()) return;
  const Question question = *asked;
  questions.erase(asked);
  answer(t, peer, flow, messages, question, message);
}

}  // namespace

bool next_half(efa_transport* t, efa_peer* peer) {
  if (peer->pending.failed()) return true;  // submit() ends the request
  if (!t->packets->budget.bounded) {
    peer->window = INT32_MAX;
    return true;
  }
  SendFlow& flow = make_flow(t, peer);
  if (flow.held > 0) return false;
  if (!flow.reported) {
    set_window(peer, flow, peer->window + std::exchange(flow.reserve, 0));
    report_use(t, peer, flow);
  }
  return peer->window >= 0;
}

void send_or_hold(efa_transport* t, efa_request* request) {
  efa_peer* peer = request->op.peer;
  request->ask = 0;
  request->held = nullptr;
  if (peer->window < 0 && !next_half(t, peer)) {
    hold(t, peer, make_flow(t, peer), request);
    make_room(t);  // a grant may have come
    return;
  }
  peer->window -= cost_of(request->landing_size);
  submit_from_call(t, peer->pending, &request->op);
}

bool cancel_held_send(efa_transport* t, efa_request* request) {
  auto* held = static_cast<HeldSend*>(request->held);
  if (!held) return false;
  SendFlow& flow = *flow_to(t, request->op.peer);
  HeldMessages& messages = messages_of(flow, held);
  if (messages.offered == held) return true;  // promised to a receive
  take_out(flow, messages, held);
  if (t->ready_to_send.find(request->ready_id) == request) {
    request->awaited = 1;  // no completion of the message itself
    end_unsent(t, request, EFA_CANCELED);
  } else {
    finish(t, request, EFA_CANCELED);
  }
  return true;
}

bool window_granted(efa_transport* t, efa_peer* peer, const Control& message) {
  SendFlow* flow = flow_to(t, peer);
  if (!flow || !flow->reported) return false;
  flow->reported = false;
  flow->reserve += static_cast<int64_t>(message.length);
  for (auto& [context, messages] : flow->contexts) messages.questions.clear();  // void
  flush(t, peer, *flow);
  if (flow->held == 0) flow->contexts.clear();
  return true;
}

bool question_asked(efa_transport* t, efa_peer* peer, const Control& message) {
  SendFlow* flow = flow_to(t, peer);
  if (!flow) return false;
  const auto context = static_cast<uint32_t>(message.length);
  const Question question{static_cast<uint32_t>(message.request), static_cast<AskKind>(message.handle),
                          envelope_of(message.piece)};
  if (!MatchQueues::is_pattern(question.pattern)) return false;
  HeldMessages& messages = flow->contexts.try_emplace(context, context).first->second;
  if (messages.offered ||
      !answer(t, peer, *flow, messages, question, first_match(messages, question.pattern)))
    messages.questions.push_back(question);
  return true;
}

bool offer_answered(efa_transport* t, efa_peer* peer, const Control& message) {
  SendFlow* flow = flow_to(t, peer);
  if (!flow) return false;
  const auto at = flow->contexts.find(static_cast<uint32_t>(message.length));
  if (at == flow->contexts.end() || !at->second.offered || at->second.offered_to != message.request) return false;
  HeldMessages& messages = at->second;
  HeldSend* held = std::exchange(messages.offered, nullptr);
  if (message.type == ControlType::take)
    send_answer(t, peer, *flow, messages, held, messages.offered_to);
  serve(t, peer, *flow, messages);
  flush(t, peer, *flow);
  return true;
}

bool question_withdrawn(efa_transport* t, efa_peer* peer, const Control& message) {
  SendFlow* flow = flow_to(t, peer);
  if (!flow) return false;
  const auto at = flow->contexts.find(static_cast<uint32_t>(message.length));
  if (at != flow->contexts.end())
    std::erase_if(at->second.questions, [&](const Question& each) { return each.id == message.request; });
  return true;
}

void end_held_sends(efa_transport* t, efa_peer* peer) {
  SendFlow* flow = flow_to(t, peer);
  if (!flow) return;
  while (flow->oldest) {
    HeldMessages& messages = messages_of(*flow, flow->oldest);
    messages.offered = nullptr;
    efa_operation& op = take_out(*flow, messages, flow->oldest)->op;
    op.completed(t, &op, &kNoEntry, &kPeerFailed);
  }
  t->packets->send_flows.erase(peer);
}

void drop_held_sends(efa_transport* t, efa_peer* peer) {
  SendFlow* flow = flow_to(t, peer);
  if (!flow) return;
  while (flow->oldest) unlink(*flow, messages_of(*flow, flow->oldest), flow->oldest);
  t->packets->send_flows.erase(peer);
}

void drop_held_sends(efa_transport* t) {
  SendFlows& flows = t->packets->send_flows;
  while (!flows.empty()) drop_held_sends(t, flows.begin()->first);
}

}  // namespace efa

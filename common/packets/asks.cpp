#include "packets/asks.hpp"

#include <algorithm>
#include <utility>

#include "packets/arrival.hpp"
#include "packets/flow.hpp"
#include "packets/packets.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/requests.hpp"
#include "state.hpp"

namespace efa {
namespace {

bool same(Envelope a, Envelope b) {
  return a.source == b.source && a.tag == b.tag;
}

uint64_t memory_in_use(const Packets& packets) {
  return packets.kept * kMessageCost + packets.kept_bytes;
}

void choose_speed(efa_transport* t) {
  t->slow_packets = t->threads || t->failed_peers > 0 || t->config.options.send_timeout != 0 || t->packets->asks.owes();
}

}  // namespace

void Asks::grant(efa_transport* t, efa_peer* peer, uint64_t bytes) {
  const Budget& budget = t->packets->budget;
  uint64_t granted = bytes;
  // A peer that uses its window while memory is free sends much: with a wider window it waits less.
  if (memory_in_use(*t->packets) <= budget.resume) {
    uint64_t& grown = grown_.at(peer);
    const uint64_t width = 2 * static_cast<uint64_t>(budget.half) + grown;
    const uint64_t more = std::min({bytes, budget.growth - grown_in_all_, kMostWindow - std::min<uint64_t>(width, kMostWindow)});
    grown += more;
    grown_in_all_ += more;
    granted += more;
  }
  probes_.clear();
  Control message = control(t, ControlType::window_granted, 0);
  message.length = granted;
  send_control(t, peer, message);
}

bool Asks::window_used(efa_transport* t, efa_peer* peer, const Control& message) {
  if (std::any_of(owed_.begin(), owed_.end(), [&](const Owed& each) { return each.peer == peer; })) return false;
  grown_.try_emplace(peer, 0);
  if (memory_in_use(*t->packets) <= t->packets->budget.stop) {
    grant(t, peer, message.length);
    return true;
  }
  owed_.push_back({peer, message.length});
  ++t->counters.grants_owed;
  choose_speed(t);
  ask_for_all(t, peer);
  return true;
}

void Asks::ask(efa_transport* t, efa_peer* peer, uint32_t id, AskKind kind, uint32_t context, Envelope pattern) {
  Control message = control(t, ControlType::ask, id);
  message.length = context;
  message.piece = match_key(pattern);
  message.handle = static_cast<uint32_t>(kind);
  send_control(t, peer, message);
}

// The question of a posted receive, which is made if there is none yet.
uint32_t Asks::question_of(efa_request* request, uint32_t context, Envelope pattern) {
  if (request->listed & kAsked) return request->ask;
  const uint32_t id = new_id();
  Record& record = records_[id];
  record.request = request;
  record.context = context;
  record.pattern = pattern;
  request->listed |= kAsked;
  return request->ask = id;
}

void Asks::ask_for_all(efa_transport* t, efa_peer* peer) {
  std::vector<efa_request*> receives;
  t->packets->communicators.for_each([&](MatchQueues& queues) {
    receives.clear();
    receives.reserve(queues.posted());
    queues.take_posted_if(  // takes none: visits them in the order of posting
        [&](const PostedReceive& entry) {
          efa_request* request = request_of(const_cast<PostedReceive*>(&entry));
          if (!request->op.peer || request->op.peer == peer) receives.push_back(request);
          return false;
        },
        [](PostedReceive&) {});
    for (efa_request* request : receives) {
      const Envelope pattern = entry_of(request)->envelope();
      ask(t, peer, question_of(request, queues.context(), pattern), AskKind::receive, queues.context(), pattern);
    }
  });
}

void Asks::posted(efa_transport* t, efa_request* request, uint32_t context, Envelope pattern) {
  probes_.clear();
  for (const Owed& each : owed_)
    if (!request->op.peer || request->op.peer == each.peer)
      ask(t, each.peer, question_of(request, context, pattern), AskKind::receive, context, pattern);
}

// Tells those who were asked for the receive, but for `except`, to forget it.
void Asks::withdraw(efa_transport* t, const efa_request* request, uint32_t context, const efa_peer* except) {
  for (const Owed& each : owed_) {
    if (each.peer == except || (request->op.peer && request->op.peer != each.peer)) continue;
    Control message = control(t, ControlType::unask, request->ask);
    message.length = context;
    send_control(t, each.peer, message);
  }
}

void Asks::ended(efa_transport* t, efa_request* request) {
  request->listed &= static_cast<uint8_t>(~kAsked);
  const auto at = records_.find(request->ask);
  withdraw(t, request, at->second.context, nullptr);
  records_.erase(at);
}

bool Asks::offered(efa_transport* t, efa_peer* peer, const Control& message) {
  const auto id = static_cast<uint32_t>(message.request);
  for (Probe& probe : probes_) {
    if (probe.id != id) continue;
    if (probe.awaited > 0) --probe.awaited;
    if (message.failed == kNothingHeld || probe.peer) return true;
    probe.peer = peer;
    probe.envelope = envelope_of(message.piece);
    probe.length = message.length;
    return true;
  }
  const auto at = records_.find(id);
  if (message.failed != kOffered) {  // to a probe that is void, or to a matched one
    if (at != records_.end() && !at->second.request) at->second.none = true;
    return true;
  }
  Control answer = control(t, ControlType::decline, id);
  answer.length = message.handle;
  if (at == records_.end() || at->second.promised || !at->second.request) {  // it has been matched meanwhile
    send_control(t, peer, answer);
    return true;
  }
  Record& record = at->second;
  efa_request* request = record.request;
  if (record.context != message.handle || (request->op.peer && request->op.peer != peer)) return false;
  t->packets->communicators.known(record.context)->cancel(*entry_of(request));
  withdraw(t, request, record.context, peer);
  record.promised = peer;
  request->listed &= static_cast<uint8_t>(~kAsked);
  request->op.peer = peer;
  request->kind = kMatchedRequest;
  t->requests.add(request);
  answer.type = ControlType::take;
  send_control(t, peer, answer);
  return true;
}

bool Asks::answered(efa_transport* t, efa_peer* from, const PacketHeader& header, const uint8_t* payload) {
  const auto at = records_.find(header.sender);
  if (at == records_.end()) return false;
  Record& record = at->second;
  const Envelope envelope{header.source, header.tag};
  const bool expected = record.promised && header.context == record.context && MatchQueues::is_message(envelope) &&
                        MatchPattern(record.pattern).matches(match_key(envelope));
  if (!expected) return false;
  PacketHeader plain = header;
  plain.type = static_cast<PacketType>(static_cast<uint8_t>(header.type) - kAnswerOffset);
  if (!record.request) {
    record.message = keep_apart(t, from, plain, payload);
    return true;
  }
  efa_request* request = record.request;
  records_.erase(at);
  deliver_answer(t, request, plain, payload);
  return true;
}

Asks::Probe* Asks::find_probe(uint32_t context, Envelope pattern) {
  const auto at = std::find_if(probes_.begin(), probes_.end(), [&](const Probe& each) {
    return each.context == context && same(each.pattern, pattern);
  });
  return at == probes_.end() ? nullptr : &*at;
}

bool Asks::probe(efa_transport* t, efa_peer* peer, uint32_t context, Envelope pattern, efa_status* status) {
  if (Probe* known = find_probe(context, pattern)) {
    if (known->peer) {
      status->source = known->envelope.source;
      status->tag = known->envelope.tag;
      status->length = known->length;
      status->result = EFA_SUCCESS;
      return true;
    }
    if (known->awaited > 0) return false;
    probes_.erase(probes_.begin() + (known - probes_.data()));  // nobody had one: asked again
  }
  Probe made{.id = new_id(), .context = context, .pattern = pattern, .awaited = 0, .peer = nullptr, .envelope = {}, .length = 0};
  for (const Owed& each : owed_)
    if (!peer || peer == each.peer) ++made.awaited;
  if (made.awaited == 0) return false;
  probes_.push_back(made);
  for (const Owed& each : owed_)
    if (!peer || peer == each.peer) ask(t, each.peer, made.id, AskKind::probe, context, pattern);
  return false;
}

KeptPointer Asks::match(efa_transport* t, efa_peer* peer, uint32_t context, Envelope pattern) {
  efa_status status;
  if (!probe(t, peer, context, pattern, &status)) return nullptr;
  efa_peer* holder = find_probe(context, pattern)->peer;
  probes_.clear();
  const uint32_t id = new_id();
  Record& record = records_[id];
  record.context = context;
  record.pattern = pattern;
  record.promised = holder;
  ask(t, holder, id, AskKind::match, context, pattern);
  // The holder has just answered, so it is in MPI, or will be again.
  while (!record.message && !record.none && record.promised && !t->broken && !t->closing) efa_progress(t);
  KeptPointer message = std::move(record.message);
  records_.erase(id);
  return message;
}

void Asks::memory_freed(efa_transport* t) {
  if (memory_in_use(*t->packets) > t->packets->budget.resume) return;
  for (const Owed& each : std::exchange(owed_, {})) grant(t, each.peer, each.bytes);
  choose_speed(t);
}

void Asks::peer_failed(efa_transport* t, efa_peer* peer) {
  std::erase_if(owed_, [&](const Owed& each) { return each.peer == peer; });
  probes_.clear();
  std::vector<efa_request*> ended;
  for (auto at = records_.begin(); at != records_.end();) {
    Record& record = at->second;
    const bool waits = record.promised == peer;
    if (waits) record.promised = nullptr;  // match() sees it
    if (waits && record.request) {
      ended.push_back(record.request);
      at = records_.erase(at);
    } else {
      ++at;
    }
  }
  for (efa_request* request : ended) {
    request->status.length = 0;
    finish(t, request, EFA_UNREACHABLE);
  }
  choose_speed(t);
}

void Asks::forget(efa_transport* t, efa_peer* peer) {
  std::erase_if(owed_, [&](const Owed& each) { return each.peer == peer; });
  for (auto& [id, record] : records_)
    if (record.promised == peer) record.promised = nullptr;
  probes_.clear();
  if (const auto at = grown_.find(peer); at != grown_.end()) {
    grown_in_all_ -= at->second;
    grown_.erase(at);
  }
  choose_speed(t);
}

}  // namespace efa

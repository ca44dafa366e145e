#include "health/unacknowledged.hpp"

#include <algorithm>
#include <string>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "health/peer_failure.hpp"
#include "peers/first_contact.hpp"
#include "peers/peers.hpp"
#include "state.hpp"

namespace efa {
namespace {

// Whether the message of this send, or the announcement of it, was posted and has not completed.
bool is_unacknowledged(const efa_transport* t, const efa_request* request) {
  if (request->kind != kSendRequest || !request->op.peer) return false;
  // Of a rendezvous or a synchronous send also the receiver's answer is awaited.
  const bool answered = t->tags.kind(request->bits) == kKindRts || t->tags.kind(request->bits) == kKindSync;
  return request->awaited == (answered ? 2 : 1);
}

// The peers on other hosts that have not acknowledged a message; each once.
std::vector<efa_peer*> peers_without_acknowledgement(efa_transport* t) {
  std::vector<efa_peer*> peers;
  if (t->traits->name != "efa" || t->sends_posted == 0) return peers;
  for (const efa_request* request = t->requests.first(); request; request = request->next_open) {
    efa_peer* peer = request->op.peer;
    if (!is_unacknowledged(t, request) || peer->hostname == std::string_view(t->config.hostname)) continue;
    if (peer->pending.first()) continue;  // its operations wait: stalled_peers.hpp
    peers.push_back(peer);
  }
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  return peers;
}

}  // namespace

void UnacknowledgedSends::look(efa_transport* t, uint64_t now_ns) {
  if (!clock_.tick(now_ns) || t->draining) return;
  const std::vector<efa_peer*> peers = peers_without_acknowledgement(t);
  if (peers.empty() || t->completions != completions_ || !waits_) {
    completions_ = t->completions;
    since_ns_ = clock_.ns();
    waits_ = !peers.empty();
    if (warned_) t->report(msg::messages_acknowledged(this_process(t)));
    warned_ = failed_ = false;
    return;
  }
  const uint64_t waited = clock_.ns() - since_ns_;
  if (deadline_ns_ && waited >= deadline_ns_)
    fail(t, peers);
  else if (warning_ns_ && waited >= warning_ns_ && !warned_)
    warn(t, peers);
}

void UnacknowledgedSends::warn(efa_transport* t, const std::vector<efa_peer*>& peers) {
  std::vector<const efa_peer*> late;
  for (const efa_peer* peer : peers)
    if (!peer->contact) late.push_back(peer);  // otherwise first_contact.hpp warns
  if (late.empty()) return;
  warned_ = true;
  const std::string names = list_peers(
      late.size(), [&](size_t i) { return to_string(late[i]); }, ", ", " and ", " more");
  t->report(msg::messages_unacknowledged(this_process(t), whole_seconds(warning_ns_), names));
}

// The provider returns the memory of messages only when it has completed them, which it may never do: then the job ends after
// another deadline.
void UnacknowledgedSends::fail(efa_transport* t, const std::vector<efa_peer*>& peers) {
  if (failed_ && clock_.ns() - since_ns_ >= 2 * deadline_ns_) {
    t->fatal(msg::peer_memory_kept(this_process(t), to_string(peers.front()), t->rails.first.provider()));
    return;
  }
  if (failed_) return;
  failed_ = true;
  try {
    for (efa_peer* peer : peers) {
      if (peer->pending.failed()) continue;
      fail_peer(t, peer,
                msg::peer_unacknowledged(this_process(t), to_string(peer), whole_seconds(deadline_ns_),
                                         peer->contact ? FirstContacts::words(t, peer) : MessagePart()));
    }
  } catch (...) {  // some of the peer's operations have ended, others never would
    fatal_exception(t, msg::op_give_up_peer);
  }
}

}  // namespace efa

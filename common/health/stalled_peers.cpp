#include "health/stalled_peers.hpp"

#include <rdma/fi_errno.h>

#include <algorithm>
#include <string>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "health/peer_failure.hpp"
#include "health/rail_failure.hpp"
#include "peers/first_contact.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "protocol/control.hpp"
#include "state.hpp"

namespace efa {
namespace {

// A read that a further NIC does not take for so long goes over the first one, if no other time is set.
constexpr uint64_t kRailPatience_ns = 60'000'000'000;

void append(std::string& text, size_t count, const char* one, const char* many) {
  if (count == 0) return;
  text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + (count == 1 ? one : many);
}

// "12 messages, 1 control message": what waits for `peer` in a list.
std::string kinds_of(const efa_transport* t, const PendingList& list, const efa_peer* peer) {
  size_t messages = 0, controls = 0, pieces = 0;
  for (const efa_operation* op = list.first(); op; op = op->next) {
    if (op->peer != peer) continue;
    ++(op->post == t->path->post_message ? messages : is_control(op) ? controls : pieces);
  }
  std::string text;
  append(text, messages, "message", "messages");
  append(text, controls, "control message", "control messages");
  append(text, pieces, "piece of a long message", "pieces of long messages");
  return text;
}

OpenRail* further_rail(efa_transport* t, const PendingList* list) {
  for (auto& rail : t->rails.more)
    if (&rail->pending_reads == list) return rail.get();
  return nullptr;
}

}  // namespace

uint64_t StalledPeers::now() {
  return monotonic_ns();
}

void StalledPeers::look(efa_transport* t, uint64_t now_ns) {
  if (!clock_.tick(now_ns)) return;
  ++looks_;
  std::vector<const PendingList*> late;
  std::vector<efa_peer*> failed;
  std::vector<OpenRail*> rails;
  t->pending.for_each([&](const PendingList& list) {
    const efa_operation* op = list.first();
    if (!op || !op->peer) return;
    Watch& watch = watched_[&list];
    if (watch.peer != op->peer || watch.steps != op->peer->steps) {
      moved(t, watch);
      watch = {op->peer, clock_.ns(), looks_, op->peer->steps, false};
      return;
    }
    watch.seen = looks_;
    const uint64_t waited = clock_.ns() - watch.since_ns;
    if (OpenRail* rail = further_rail(t, &list)) {
      if (waited >= (warning_ns_ ? warning_ns_ : kRailPatience_ns)) rails.push_back(rail);
    } else if (deadline_ns_ && waited >= deadline_ns_) {
      failed.push_back(watch.peer);
    } else if (warning_ns_ && waited >= warning_ns_ && !watch.warned && !watch.peer->contact) {
      // While its first contact is open, that is what is said of it (first_contact.hpp).
      watch.warned = true;
      late.push_back(&list);
    }
  });
  forget_unseen(t, looks_);
  if (!late.empty()) if_memory_allows([&] { warn(t, late); });
  try {
    for (OpenRail* rail : rails) drop_rail(t, *rail, efa_failure{FI_ETIMEDOUT});
    for (efa_peer* peer : failed) {
      forget(peer);
      fail_peer(t, peer,
                msg::peer_given_up(this_process(t), to_string(peer), whole_seconds(deadline_ns_),
                                   peer->contact ? FirstContacts::words(t, peer) : likely_cause(t, {peer})));
    }
  } catch (...) {  // some of the peer's operations have ended, others never would
    fatal_exception(t, msg::op_give_up_peer);
  }
}

void StalledPeers::moved(efa_transport* t, const Watch& watch) const {
  if (watch.warned && !t->draining)
    t->report(msg::peer_moves_again(to_string(watch.peer), t->config.self.world_rank));
}

// Lists that have no operations any more: their peers took them all.
void StalledPeers::forget_unseen(efa_transport* t, unsigned look) {
  for (auto at = watched_.begin(); at != watched_.end();) {
    if (at->second.seen == look) {
      ++at;
      continue;
    }
    moved(t, at->second);
    at = watched_.erase(at);
  }
}

void StalledPeers::forget(const efa_peer* peer) {
  std::erase_if(watched_, [&](const auto& each) { return each.second.peer == peer; });
}

void StalledPeers::warn(efa_transport* t, const std::vector<const PendingList*>& late) const {
  std::vector<const efa_peer*> peers;
  for (const PendingList* list : late) peers.push_back(watched_.at(list).peer);
  const auto describe = [&](size_t i) { return to_string(peers[i]) + ": " + kinds_of(t, *late[i], peers[i]); };
  const std::string names = list_peers(peers.size(), describe, "; ", "; and ", " more peers");
  const uint64_t seconds = whole_seconds(warning_ns_);
  t->report(peers.size() == 1 ? msg::peer_stalled(this_process(t), seconds, names, likely_cause(t, peers))
                              : msg::peers_stalled(this_process(t), seconds, names, likely_cause(t, peers)));
}

}  // namespace efa

#include "peers/first_contact.hpp"

#include <algorithm>
#include <memory>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "state.hpp"

namespace efa {
namespace {

std::string names(const std::vector<const efa_peer*>& peers) {
  return list_peers(
      peers.size(), [&](size_t i) { return to_string(peers[i]); }, ", ", " and ", " more");
}

// Replaces the handler of the first operation to a peer, and calls it.
void contact_completed(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                       const efa_failure* failure) {
  efa_peer* peer = op->peer;
  op->completed = peer->contact->completed;
  const bool warned = peer->contact->warned;
  // While closing, errors are not reported one by one (report_failure), so the reminder must still name the peer.
  if (!(failure && warned && t->draining)) t->contacts.end(peer);
  if (!failure) {
    peer->contact.reset();
    if (warned && !t->draining)
      if_memory_allows([&] { t->report(msg::contact_answered(to_string(peer), t->config.self.world_rank)); });
  }
  // After an error the contact stays with the peer, so that every error about the peer explains it, until another
  // operation to it completes.
  else if (peer->pending.empty())
    peer->pending.await_first();
  op->completed(t, op, entry, failure);
}

}  // namespace

uint64_t FirstContacts::now() {
  return monotonic_ns();
}

void FirstContacts::begin(efa_transport* t, efa_operation* op) {
  efa_peer* peer = op->peer;
  if (!peer->sent_to) ++t->counters.first_contacts;
  peer->sent_to = true;
  peer->pending.first_came();
  const uint64_t now_ns = now();
  if (open_.empty()) clock_.resume(now_ns);
  if_memory_allows([&] {  // else it is not watched
    auto contact = std::make_unique<Contact>(Contact{op->completed, clock_.nearest(now_ns)});
    open_.push_back(peer);
    peer->contact = std::move(contact);
    op->completed = contact_completed;
  });
}

void FirstContacts::end(efa_peer* peer) {
  const auto at = std::find(open_.begin(), open_.end(), peer);
  if (at == open_.end()) return;
  *at = open_.back();
  open_.pop_back();
}

void FirstContacts::look(efa_transport* t, uint64_t now_ns) {
  if (!clock_.tick(now_ns)) return;
  std::vector<const efa_peer*> late;
  for (efa_peer* peer : open_) {
    if (peer->contact->warned || clock_.ns() - peer->contact->since_ns < timeout_ns_) continue;
    peer->contact->warned = true;
    late.push_back(peer);
  }
  if (late.empty()) return;
  const uint64_t seconds = whole_seconds(timeout_ns_);
  t->report(late.size() > 1
                ? msg::contacts_late(this_process(t), names(late), seconds, likely_cause(t, late))
                : msg::contact_late(this_process(t), names(late), seconds, likely_cause(t, late)));
}

MessagePart FirstContacts::words(const efa_transport* t, const efa_peer* peer) {
  if (!peer || !peer->contact) return {};
  return msg::contact_failed(likely_cause(t, {peer}));
}

UserMessage FirstContacts::reminder(const efa_transport* t) const {
  std::vector<const efa_peer*> late;
  for (const efa_peer* peer : open_)
    if (peer->contact->warned) late.push_back(peer);
  if (late.empty()) return {};
  return msg::contact_never(this_process(t), names(late), likely_cause(t, late));
}

}  // namespace efa

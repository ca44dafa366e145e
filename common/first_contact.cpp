#include "first_contact.hpp"

#include <algorithm>
#include <memory>

#include "transport.hpp"

namespace efa {
namespace {

constexpr size_t kNamed = 3;  // peers that a message names; the others are counted

std::string names(const std::vector<const efa_peer*>& peers) {
  std::string text;
  for (size_t i = 0; i < std::min(kNamed, peers.size()); ++i) text += (i ? ", " : "") + to_string(peers[i]);
  if (peers.size() > kNamed) text += " and " + std::to_string(peers.size() - kNamed) + " more";
  return text;
}

// Why nothing may get through. A security group is asked only between hosts.
std::string cause(const efa_transport* t, const std::vector<const efa_peer*>& peers) {
  const bool leaves_host = std::any_of(peers.begin(), peers.end(), [&](const efa_peer* peer) {
    return peer->hostname != std::string_view(t->config.hostname);
  });
  if (!leaves_host) return " It runs on this host: ps shows whether it is stopped (state T) or dead.";
  return " On EC2 the usual cause is the security group: it must allow all traffic from and to itself, "
         "inbound and outbound, and all instances must be in one subnet.";
}

std::string self(const efa_transport* t) {
  return "Rank " + std::to_string(t->config.self.world_rank) + " on host " + t->config.hostname + " (" +
         t->rail.provider() + ", NIC " + t->rail.nic() + ")";
}

std::string seconds(uint64_t ns) {
  return std::to_string(ns / 1'000'000'000) + " s";
}

// Before the handler of the first operation to a peer.
void contact_completed(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                       const efa_failure* failure) {
  efa_peer* peer = op->peer;
  op->completed = peer->contact->completed;
  const bool warned = peer->contact->warned;
  // Errors while closing are not said one by one (report_failure), so the reminder still has to name the peer.
  if (!(failure && warned && t->draining)) t->contacts.end(peer);
  if (!failure) {
    peer->contact.reset();
    if (warned && !t->draining)
      t->report(EFA_REPORT_NOTICE, to_string(peer) +
                                       " has answered after all: the network lets messages of rank " +
                                       std::to_string(t->config.self.world_rank) + " through");
  }
  // After an error the contact stays with the peer, so that every error about it says what it means, until
  // another operation to it completes.
  else if (peer->pending.empty())
    peer->pending.await_first();
  op->completed(t, op, entry, failure);
}

}  // namespace

uint64_t FirstContacts::now() {
  return monotonic_ns();
}

void FirstContacts::begin(efa_operation* op) {
  efa_peer* peer = op->peer;
  peer->pending.first_came();
  const uint64_t now_ns = now();
  if (open_.empty()) looked_ns_ = now_ns;
  // To the nearest look, so that contacts that begin together are said to be late together.
  const uint64_t since_ns =
      now_ns - looked_ns_ < kLookEvery_ns / 2 ? watched_ns_ : watched_ns_ + kLookEvery_ns;
  peer->contact = std::make_unique<Contact>(Contact{op->completed, since_ns});
  op->completed = contact_completed;
  open_.push_back(peer);
}

void FirstContacts::end(efa_peer* peer) {
  const auto at = std::find(open_.begin(), open_.end(), peer);
  if (at == open_.end()) return;
  *at = open_.back();
  open_.pop_back();
}

void FirstContacts::look(efa_transport* t, uint64_t now_ns) {
  const uint64_t passed = now_ns - looked_ns_;
  if (passed < kLookEvery_ns) return;
  looked_ns_ = now_ns;
  watched_ns_ += kLookEvery_ns;
  std::vector<const efa_peer*> late;
  for (efa_peer* peer : open_) {
    if (peer->contact->warned || watched_ns_ - peer->contact->since_ns < timeout_ns_) continue;
    peer->contact->warned = true;
    late.push_back(peer);
  }
  if (late.empty()) return;
  const bool many = late.size() > 1;
  t->report(EFA_REPORT_WARNING,
            self(t) + " has sent its first message to " + names(late) + ", and " +
                (many ? "none of them has" : "it has not") + " answered for " + seconds(timeout_ns_) + ". " +
                (many ? "They" : "It") +
                " may compute without calling MPI, or be stopped or dead; otherwise nothing gets through "
                "between these NICs." +
                cause(t, late) +
                " The job goes on waiting (the parameter mtl_efa_contact_timeout sets the time).");
}

std::string FirstContacts::words(const efa_transport* t, const efa_peer* peer) {
  if (!peer || !peer->contact) return "";
  return " The first contact with that peer failed: probably nothing that this process sent has arrived "
         "there." +
         cause(t, {peer});
}

std::string FirstContacts::reminder(const efa_transport* t) const {
  std::vector<const efa_peer*> late;
  for (const efa_peer* peer : open_)
    if (peer->contact->warned) late.push_back(peer);
  if (late.empty()) return "";
  return self(t) + " never had an answer from " + names(late) + "." + cause(t, late);
}

}  // namespace efa

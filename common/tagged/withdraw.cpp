// Withdrawn messages (MPI_Cancel of a send): the receiver's side. See failed_transfers.cpp.
#include "tagged/withdraw.hpp"

#include <rdma/fi_tagged.h>

#include <new>

#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"
#include "tagged/claims.hpp"
#include "tagged/match.hpp"

namespace efa {
namespace {

// Whether `withdraw` names `message`, which is claimed and fetched.
bool is_named(const efa_transport* t, const efa_message* message, const Control& withdraw) {
  return message->bits == withdraw.length && message->id == withdraw.request &&
         t->tags.rank(message->bits, message->data) == static_cast<int32_t>(withdraw.handle);
}

// Finds the message in the list of claimed messages, after fetching them; null if it is not there.
efa_message* find_named(efa_transport* t, const Control& withdraw) {
  // The search restarts after progress, which may run the program's callbacks and change the list.
  for (efa_message* message = t->claims.first; message && !t->broken;) {
    if (message->state == efa_message::fetching) {
      efa_progress(t);
      message = t->claims.first;
      continue;
    }
    if (is_named(t, message, withdraw)) return message;
    message = message->next;
  }
  return nullptr;
}

// Removes the message if it has not been matched. As for a probe, all messages of its sender in this communicator are
// claimed up to it. False if it is not there.
bool give_up_unmatched(efa_transport* t, efa_peer* peer, const Control& withdraw) {
  const auto source = static_cast<int32_t>(withdraw.handle);
  const uint64_t bits = t->tags.recv_bits(t->tags.context(withdraw.length), source, 0, true);
  for (efa_result result = EFA_SUCCESS;;) {
    const bool only_claimed = claims_all(t);
    if (efa_message* named = find_named(t, withdraw)) {
      unlink_claimed(t, named);
      delete named;
      return true;
    }
    if (only_claimed || t->broken) return false;
    efa_message* message = new_message(peer, bits, t->tags.context_ignore(source), result);
    if (!message || !find(t, message, FI_CLAIM, result)) {
      delete message;
      return false;
    }
    keep_claimed(t, message);
  }
}

void answer_withdraw(efa_transport* t, const Control& message, bool given_up) {
  efa_peer* peer = peer_of(t, message.sender);
  if (!peer) return;
  Control answer = control(t, ControlType::withdrawn, message.request);
  answer.failed = !given_up;
  send_control(t, peer, answer);
}

}  // namespace

void withdraw_asked(efa_transport* t, const Control& message) {
  if (!peer_of(t, message.sender)) {
    t->fatal(msg::withdrawal_impossible(to_string(message)));
    return;
  }
  try {
    t->withdrawals.push_back(message);
    ++t->pulls_open;
  } catch (const std::bad_alloc&) {
    answer_withdraw(t, message, false);
  }
}

void serve_withdrawals(efa_transport* t) {
  if (t->claims.peeks || t->claims.settling) return;  // a claim in progress must become the next entry of the list
  ++t->claims.peeks;
  while (!t->withdrawals.empty() && !t->broken) {
    const Control message = t->withdrawals.front();
    t->withdrawals.erase(t->withdrawals.begin());
    --t->pulls_open;
    efa_peer* peer = peer_of(t, message.sender);
    if (!peer) continue;  // the peer was destroyed meanwhile
    answer_withdraw(t, message, give_up_unmatched(t, peer, message));
  }
  --t->claims.peeks;
}

}  // namespace efa

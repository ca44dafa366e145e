// The sender's side of flow control: windows, and messages that are held back. See packets/flow.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>

#include "interface/transport.h"
#include "matching/engine.hpp"
#include "protocol/wire.hpp"

namespace efa {

// A message that is held back, while its request is not complete.
struct HeldSend : UnexpectedMessage {
  efa_request* request = nullptr;
  uint32_t context = 0;
  HeldSend *older = nullptr, *newer = nullptr;  // of those for the same peer
};

struct Question {
  uint32_t id;  // the receiver's
  AskKind kind;
  Envelope pattern;
};

// What is held back for one peer in one communicator, and its questions that nothing matches yet.
struct HeldMessages {
  explicit HeldMessages(uint32_t context) : queues(context) {}
  MatchQueues queues;  // only the unexpected side
  std::deque<Question> questions;
  HeldSend* offered = nullptr;
  uint32_t offered_to = 0;  // the question, while `offered`
};

// The state of a peer that has used up half a window. efa_peer.window is what may be sent before anything need be looked at.
struct SendFlow {
  explicit SendFlow(int32_t first) : half(first), reserve(first) {}

  int32_t half;             // the value that efa_peer.window was given last; what it has lost since then was sent
  int64_t reserve;          // credit besides: the second half; while messages are held back, all of it
  uint64_t unreported = 0;  // bytes that were sent before and not reported yet
  bool reported = false;    // a grant is awaited
  size_t held = 0;
  HeldSend *oldest = nullptr, *newest = nullptr;
  std::unordered_map<uint32_t, HeldMessages> contexts;
};

using SendFlows = std::unordered_map<efa_peer*, SendFlow>;

// The functions of Path with these names.
void send_or_hold(efa_transport* t, efa_request* request);
bool cancel_held_send(efa_transport* t, efa_request* request);
// Whether a message may be sent to a peer whose window is negative: reports the first half, and goes on with the second.
[[gnu::noinline]] bool next_half(efa_transport* t, efa_peer* peer);

// Control messages from receivers; false if they are impossible.
bool window_granted(efa_transport* t, efa_peer* peer, const Control& message);
bool question_asked(efa_transport* t, efa_peer* peer, const Control& message);
bool offer_answered(efa_transport* t, efa_peer* peer, const Control& message);
bool question_withdrawn(efa_transport* t, efa_peer* peer, const Control& message);

// The peer has failed: what is held back for it ends with an error.
void end_held_sends(efa_transport* t, efa_peer* peer);
// Forgets what is held back for this peer, or for all. The requests are abandoned.
void drop_held_sends(efa_transport* t, efa_peer* peer);
void drop_held_sends(efa_transport* t);

}  // namespace efa

// Control messages: untagged and small, received into buffers that are always posted.
#pragma once

#include <cstddef>
#include <vector>

#include "base/user_message.hpp"
#include "interface/transport.h"
#include "peers/pending.hpp"
#include "protocol/wire.hpp"

namespace efa {

struct ControlOperation;

struct Controls {
  Controls() = default;
  Controls(const Controls&) = delete;
  ~Controls();

  std::vector<ControlOperation*> unused;
  std::vector<ControlOperation*> all;
  PendingList pending;  // receives
};

// A control message of this type from this process about the message `id`; its other fields are 0.
Control control(const efa_transport* t, ControlType type, uint64_t id);
// Prepares for sending control messages without memory later. True.
bool make_controls(efa_transport* t);
// The same, and posts the receives for control messages; false with a reason.
bool start_control(efa_transport* t, UserMessage& why);
// Sends a control message. If it cannot be delivered, the job ends, because the peer would wait forever; not so if it is
// dispensable.
void send_control(efa_transport* t, efa_peer* peer, const Control& message, bool dispensable = false);
bool is_control(const efa_operation* op);  // whether it sends a control message
// Handles a control message from the network.
void handle_control(efa_transport* t, const void* bytes, size_t size);

}  // namespace efa

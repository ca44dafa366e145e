// A message that no receive has matched: a copy, queued in the matching engine, or taken out of it by a matched probe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "channel/packet.hpp"
#include "interface/transport.h"
#include "matching/unexpected.hpp"
#include "packets/flow.hpp"

namespace efa {

// The bytes that arrived follow the structure in the same memory.
struct KeptMessage : UnexpectedMessage {
  efa_peer* peer;  // null if the channel does not tell
  uint32_t context;
  uint32_t size;  // bytes that have arrived
  PacketType type;
  size_t length;  // of the message's data, for probes
  uint64_t id;    // the sender's, of a message that is answered; else 0

  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(this + 1); }
};

static_assert(sizeof(KeptMessage) + 16 <= kMessageCost);

struct FreeKept {
  void operator()(KeptMessage* message) const { ::operator delete(message); }
};
using KeptPointer = std::unique_ptr<KeptMessage, FreeKept>;

// Room for `size` bytes; null without memory.
inline KeptPointer make_kept(size_t size) {
  void* memory = ::operator new(sizeof(KeptMessage) + size, std::nothrow);
  return KeptPointer(memory ? new (memory) KeptMessage{} : nullptr);
}

// What the C interface calls a matched message.
inline efa_message* handle_of(KeptMessage* message) {
  return reinterpret_cast<efa_message*>(message);
}
inline KeptMessage* kept_of(efa_message* message) {
  return reinterpret_cast<KeptMessage*>(message);
}

}  // namespace efa

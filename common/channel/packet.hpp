// The header of a packet: what the packet path sends for a message, a part of one, or a control message.
//
// The same for every channel. A part of the wire format (base/wire_version.hpp): every field is little-endian, as all
// machines with EFA are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace efa {

// What a packet contains behind its header. 0 is no type, so that memory that nobody has written is no packet.
enum class PacketType : uint8_t {
  eager = 1,          // a whole message
  synchronous = 2,    // a whole message that its receiver acknowledges: the data, then a SyncTrailer
  ready_to_send = 3,  // the announcement of a rendezvous: a ReadyToSend
  control = 4,        // a Control
  part = 5,           // a part of the data of a rendezvous: see PartHeader
  // A message that was held back and asked for: `sender` is the question. The same three, in the same order.
  answer_eager = 6,
  answer_synchronous = 7,
  answer_ready_to_send = 8,
};
constexpr uint8_t kMostPacketTypes = 9;
constexpr uint8_t kAnswerOffset = 5;  // what an answer's type has more

struct PacketHeader {
  uint32_t context;  // the communicator's number at the receiver
  int32_t source;    // the sender's rank in the communicator
  int32_t tag;       // MPI tag
  uint32_t length;   // bytes behind the header
  uint32_t sender;   // of an answer: the question; otherwise reserved, 0
  PacketType type;
  uint8_t credits;    // reserved for flow control: packets that the sender of this one may receive more; 0
  uint16_t sequence;  // the channel's: shm marks cells that are filled with it
};
static_assert(sizeof(PacketHeader) == 24 && alignof(PacketHeader) <= 8 &&
              std::is_trivially_copyable_v<PacketHeader>);
static_assert(offsetof(PacketHeader, sender) == 16 && offsetof(PacketHeader, sequence) == 22);

}  // namespace efa

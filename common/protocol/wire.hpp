// The wire format besides user data: the ready-to-send message of a rendezvous, and control messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "base/wire_version.hpp"
#include "fabric/rail.hpp"
#include "interface/transport.h"

namespace efa {

// Maximum number of blocks of a sender's layout that is read without packing.
constexpr unsigned kMostSegments = 8;

// Sent as a tagged message instead of data that is longer than the eager limit. It fits into a receive's bounce. Only
// `rails` keys and `segments` segments are transmitted.
struct ReadyToSend {
  struct Segment {
    uint64_t offset;  // from `address`
    uint64_t length;  // not 0
  };

  uint32_t magic;  // kMagic: detects a foreign message with these kind bits
  uint16_t version;
  uint8_t flags;              // kPacked: the sender packs, so pieces no longer than `piece`; kInMemory: a process of the
                              // same node may read the data at `address`, without keys
  uint8_t rails;              // rails over which the data may be read: 0 (push only) to kMostRails
  uint64_t request;           // the sender's id; returned in the control messages
  uint64_t length;            // bytes of the whole message
  uint64_t piece;             // the sender's preferred length of a piece
  uint64_t address;           // of the data, if it may be read by RDMA or in memory
  uint32_t segments;          // blocks in which the data lies; 0: in one
  uint32_t reserved;          // 0
  uint64_t keys[kMostRails];  // remote keys of the sender's rails
  Segment parts[kMostSegments];

  static constexpr uint32_t kMagic = 0x53545245;  // "ERTS"
  static constexpr uint8_t kPacked = 1, kInMemory = 2;
  static constexpr size_t kLeastSize = 48;
  // The transmitted bytes, without unused keys: their number, and a copy.
  size_t size() const { return kLeastSize + rails * sizeof keys[0] + segments * sizeof parts[0]; }
  void write(void* to) const;
};
static_assert(offsetof(ReadyToSend, keys) == ReadyToSend::kLeastSize && sizeof(ReadyToSend) == 240 &&
              std::is_trivially_copyable_v<ReadyToSend>);

// Every control message names the message that it is about by the id that its sender gave it (`request`): that of a
// rendezvous is in ReadyToSend, that of an eager synchronous message in its last bytes (SyncTrailer).
enum class ControlType : uint16_t {
  clear_to_send = 1,   // receiver -> sender: matched, send `length` bytes in pieces of `piece`
  acknowledge = 2,     // receiver -> sender: the eager synchronous message is matched
  finished = 3,        // receiver -> sender: the data was read, or could not be
  receive_failed = 4,  // receiver -> sender: matched, but the data cannot be received: send no more of it
  // sender -> receiver: only the pieces named here come. Also the answer to receive_failed, unless all were sent.
  send_failed = 5,
  withdraw = 6,   // sender -> receiver: remove the message if nothing has matched it (MPI_Cancel)
  withdrawn = 7,  // receiver -> sender: it was removed, or it was matched before
  // receiver -> sender: the message of kind kKindAlone with these tag bits (`request`) is matched
  alone_matched = 8,
  // Packet path, the memory for unmatched messages: packets/flow.hpp. `request` is the question's id at the receiver.
  window_used = 9,      // sender -> receiver: it has sent messages that cost `length` bytes since the last of these
  window_granted = 10,  // receiver -> sender: it may send as many more
  ask = 11,             // receiver -> sender: do you hold back a message that matches?
  offer = 12,           // sender -> receiver: yes, this one; or no
  take = 13,            // receiver -> sender: send it
  decline = 14,         // receiver -> sender: do not
  unask = 15,           // receiver -> sender: forget the question
};

// Sent as an untagged message, so that no receive of the user matches it.
struct Control {
  uint32_t magic;  // kMagic
  uint16_t version;
  ControlType type;
  uint64_t sender;   // uid of the process that sends this
  uint64_t request;  // id of the message at its sender
  // clear_to_send, finished: bytes wanted, at most ReadyToSend::length; send_failed: number of pieces that were posted;
  // withdraw: the message's tag; window_*: bytes; offer: bytes of the message; ask, take, decline,
  // unask: the communicator's number
  uint64_t length;
  // clear_to_send: bytes of every piece but the last, not 0 if `length` is not; send_failed: bit i is set if piece
  // `failed` + i was posted and does not arrive; ask, offer: source and, above it, tag
  uint64_t piece;
  // clear_to_send, receive_failed, send_failed: identifies the receiver's transfer in the tags of the pieces; withdraw:
  // the sender's rank in the communicator; ask: AskKind; offer: the communicator's number
  uint32_t handle;
  // send_failed: see `piece`; finished: 1 if the data could not be read; withdrawn: 1 if the message was matched before; offer: OfferKind;
  // otherwise 0
  uint32_t failed;

  static constexpr uint32_t kMagic = 0x4c544345;  // "ECTL"
};
enum OfferKind : uint32_t {
  kOffered = 0,      // take or decline it
  kNothingHeld = 1,  // there is no such message now
  kHeld = 2,         // there is this one: the answer to a probe
};
enum class AskKind : uint32_t {
  receive = 0,  // offer the first message that matches, now or later; wait for the answer
  probe = 1,    // offer it now, and do not wait
  match = 2,    // send it at once
};
static_assert(sizeof(Control) == 48 && std::is_trivially_copyable_v<Control>);

// Behind the data of an eager synchronous message: the message's id, by which it is acknowledged.
struct SyncTrailer {
  uint64_t request;
};
// The longest eager synchronous message, bytes: every receive has room for it and its trailer.
constexpr uint64_t kLongestSynchronous = EFA_BOUNCE_SIZE - sizeof(SyncTrailer);

// The message, if its size, magic, version and type are valid in this version.
std::optional<ReadyToSend> parse_ready_to_send(const void* bytes, size_t size);
std::optional<Control> parse_control(const void* bytes, size_t size);
// Reads the trailer of an eager synchronous message of `size` bytes; false if the size is impossible.
bool parse_synchronous(const void* bytes, size_t size, SyncTrailer& trailer);
std::string to_string(const ReadyToSend&);
std::string to_string(const Control&);

}  // namespace efa

// What travels between two processes beside user data: the ready-to-send message of a rendezvous, control
// messages, and the card by which a process is found. All little-endian, as every machine with EFA is.
//
// kWireVersion changes whenever any of these, or the use of the tag bits, does; the cards carry it, so that
// processes with different components part with an error instead of misunderstanding each other.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace efa {

static_assert(std::endian::native == std::endian::little, "the wire format is little-endian");

constexpr uint16_t kWireVersion = 3;

// NICs that one message can be striped over; bounds the keys in a ready-to-send message.
constexpr unsigned kMostRails = 8;
// Blocks of a sender's layout that may be read as they lie.
constexpr unsigned kMostSegments = 8;

// Sent as a tagged message in place of data that is longer than the eager limit. Fits a receive's bounce. As
// many keys travel as there are rails, and as many segments as it says.
struct ReadyToSend {
  struct Segment {
    uint64_t offset;  // from `address`
    uint64_t length;  // not 0
  };

  uint32_t magic;  // kMagic: guards against a foreign message with our kind bits
  uint16_t version;
  uint8_t flags;              // kPacked: the sender packs, so pieces no longer than `piece`
  uint8_t rails;              // NICs by which the data may be read: 0 (only to be pushed) to kMostRails
  uint64_t request;           // the sender's id; comes back in ClearToSend
  uint64_t length;            // bytes of the whole message
  uint64_t piece;             // the sender's preferred length of a piece
  uint64_t address;           // of the data, if it may be read
  uint32_t segments;          // blocks in which the data lies; 0: in one
  uint32_t reserved;          // 0
  uint64_t keys[kMostRails];  // by which the sender's rail i lets it be read
  Segment parts[kMostSegments];

  static constexpr uint32_t kMagic = 0x53545245;  // "ERTS"
  static constexpr uint8_t kPacked = 1;
  static constexpr size_t kLeastSize = 48;
  // Bytes that travel, and they themselves: no unused keys.
  size_t size() const { return kLeastSize + rails * sizeof keys[0] + segments * sizeof parts[0]; }
  void write(void* to) const;
};
static_assert(offsetof(ReadyToSend, keys) == ReadyToSend::kLeastSize && sizeof(ReadyToSend) == 240 &&
              std::is_trivially_copyable_v<ReadyToSend>);

enum class ControlType : uint16_t {
  clear_to_send = 1,  // receiver -> sender: matched, send `length` bytes in pieces of `piece`
  acknowledge = 2,    // receiver -> sender: the synchronous eager message with these tag bits is matched
  finished = 3,       // receiver -> sender: the data was read, or could not be
};

// Sent as an untagged message, so that it never meets a receive of the user.
struct Control {
  uint32_t magic;  // kMagic
  uint16_t version;
  ControlType type;
  uint64_t sender;   // uid of the process that sends this
  uint64_t request;  // clear_to_send, finished: ReadyToSend::request; acknowledge: the tag bits
  uint64_t length;   // clear_to_send, finished: bytes wanted, at most ReadyToSend::length
  uint64_t piece;    // clear_to_send: bytes of every piece but the last; not 0 if length is not
  uint32_t handle;   // clear_to_send: names the receiver's transfer in the pieces' tags
  uint32_t failed;   // finished: 1 if the data could not be read; otherwise 0

  static constexpr uint32_t kMagic = 0x4c544345;  // "ECTL"
};
static_assert(sizeof(Control) == 48 && std::is_trivially_copyable_v<Control>);

// The message, if its size, magic, version and type are ones that this version knows.
std::optional<ReadyToSend> parse_ready_to_send(const void* bytes, size_t size);
std::optional<Control> parse_control(const void* bytes, size_t size);
std::string to_string(const ReadyToSend&);
std::string to_string(const Control&);

// What a process publishes about itself.
struct Card {
  uint16_t version = kWireVersion;
  std::string provider;          // both sides must use the same
  uint64_t eager_limit = 0;      // the longest eager message that a noncontiguous receive can take
  std::string nic, host;         // for messages
  std::vector<uint8_t> address;  // fi_getname of rail 0
  std::vector<uint8_t> more;     // of all further rails, of the same length each; at most kMostRails - 1

  std::vector<uint8_t> serialize() const;
  // Nullopt with a reason when it is cut off or foreign; a card of another version parses only up to that.
  static std::optional<Card> parse(const void* bytes, size_t size, std::string& why);
};

}  // namespace efa

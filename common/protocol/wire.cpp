#include "protocol/wire.hpp"

#include <cinttypes>
#include <cstdio>


namespace efa {
namespace {

template <class Message>
std::optional<Message> copy_checked(const void* bytes, size_t size) {
  Message message;
  if (size != sizeof message) return std::nullopt;
  std::memcpy(&message, bytes, sizeof message);
  if (message.magic != Message::kMagic || message.version != kWireVersion) return std::nullopt;
  return message;
}

// Whether exposed data is within the address space, and the lengths of its segments add up.
bool lies_somewhere(const ReadyToSend& message) {
  if (message.rails == 0 && !(message.flags & ReadyToSend::kInMemory)) return message.segments == 0;
  if (message.segments == 0) return message.address <= UINT64_MAX - message.length;
  uint64_t length = 0;
  for (unsigned i = 0; i < message.segments; ++i) {
    const auto& part = message.parts[i];
    if (part.length == 0 || part.length > message.length - length) return false;
    if (part.offset > UINT64_MAX - message.address ||
        part.length > UINT64_MAX - message.address - part.offset)
      return false;
    length += part.length;
  }
  return length == message.length;
}

}  // namespace

std::optional<ReadyToSend> parse_ready_to_send(const void* bytes, size_t size) {
  ReadyToSend message{};
  if (size < ReadyToSend::kLeastSize) return std::nullopt;
  std::memcpy(&message, bytes, ReadyToSend::kLeastSize);
  const bool good = message.magic == ReadyToSend::kMagic && message.version == kWireVersion &&
                    message.rails <= kMostRails && message.segments <= kMostSegments &&
                    message.size() == size && message.piece != 0 && message.reserved == 0 &&
                    (message.flags & ~(ReadyToSend::kPacked | ReadyToSend::kInMemory)) == 0;
  if (!good) return std::nullopt;
  const auto* rest = static_cast<const uint8_t*>(bytes) + ReadyToSend::kLeastSize;
  const size_t keys = message.rails * sizeof message.keys[0];
  if (keys) std::memcpy(message.keys, rest, keys);
  if (message.segments) std::memcpy(message.parts, rest + keys, message.segments * sizeof message.parts[0]);
  return lies_somewhere(message) ? std::optional(message) : std::nullopt;
}

void ReadyToSend::write(void* to) const {
  const size_t used = rails * sizeof keys[0];
  std::memcpy(to, this, kLeastSize + used);
  std::memcpy(static_cast<uint8_t*>(to) + kLeastSize + used, parts, segments * sizeof parts[0]);
}

std::optional<Control> parse_control(const void* bytes, size_t size) {
  auto message = copy_checked<Control>(bytes, size);
  if (!message) return message;
  switch (message->type) {
    case ControlType::acknowledge:
    case ControlType::alone_matched:
    case ControlType::receive_failed:
    case ControlType::send_failed:
    case ControlType::withdraw:
      return message;
    case ControlType::window_used:
    case ControlType::window_granted:
      if (message->length > INT32_MAX) return std::nullopt;
      return message;
    case ControlType::ask:
      if (message->request == 0 || message->request > UINT32_MAX ||
          message->length > UINT32_MAX || message->handle > static_cast<uint32_t>(AskKind::match))
        return std::nullopt;
      return message;
    case ControlType::offer:
      if (message->request == 0 || message->request > UINT32_MAX || message->failed > kHeld)
        return std::nullopt;
      return message;
    case ControlType::take:
    case ControlType::decline:
    case ControlType::unask:
      if (message->request == 0 || message->request > UINT32_MAX || message->length > UINT32_MAX) return std::nullopt;
      return message;
    case ControlType::clear_to_send:
      if (message->length != 0 && message->piece == 0) return std::nullopt;
      return message;
    case ControlType::finished:
    case ControlType::withdrawn:
      if (message->failed > 1) return std::nullopt;
      return message;
  }
  return std::nullopt;
}

bool parse_synchronous(const void* bytes, size_t size, SyncTrailer& trailer) {
  if (size < sizeof trailer || size > EFA_BOUNCE_SIZE) return false;
  std::memcpy(&trailer, static_cast<const uint8_t*>(bytes) + size - sizeof trailer, sizeof trailer);
  return true;
}

std::string to_string(const ReadyToSend& message) {
  char text[160];
  std::snprintf(text, sizeof text,
                "RTS{version %u, flags %u, rails %u, request %" PRIx64 ", length %" PRIu64 ", piece %" PRIu64
                ", segments %u}",
                message.version, message.flags, message.rails, message.request, message.length, message.piece,
                message.segments);
  return text;
}

namespace {

const char* name(ControlType type) {
  switch (type) {
    case ControlType::clear_to_send:
      return "CTS";
    case ControlType::acknowledge:
      return "ACK";
    case ControlType::finished:
      return "FIN";
    case ControlType::receive_failed:
      return "receive failed ";
    case ControlType::send_failed:
      return "send failed ";
    case ControlType::withdraw:
      return "withdraw ";
    case ControlType::withdrawn:
      return "withdrawn ";
    case ControlType::alone_matched:
      return "alone matched ";
    case ControlType::window_used:
      return "window used ";
    case ControlType::window_granted:
      return "window granted ";
    case ControlType::ask:
      return "ask ";
    case ControlType::offer:
      return "offer ";
    case ControlType::take:
      return "take ";
    case ControlType::decline:
      return "decline ";
    case ControlType::unask:
      return "unask ";
  }
  return "?";
}

}  // namespace

std::string to_string(const Control& message) {
  char text[200];
  std::snprintf(text, sizeof text,
                "%s{version %u, sender %" PRIx64 ", request %" PRIx64 ", length %" PRIu64 ", piece %" PRIu64
                ", handle %u, failed %u}",
                name(message.type), message.version, message.sender, message.request, message.length,
                message.piece, message.handle, message.failed);
  return text;
}

}  // namespace efa

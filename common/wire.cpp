#include "wire.hpp"

#include <cinttypes>
#include <cstdio>

namespace efa {
namespace {

constexpr char kCardMagic[4] = {'E', 'F', 'A', 'C'};

template <class Message>
std::optional<Message> copy_checked(const void* bytes, size_t size) {
  Message message;
  if (size != sizeof message) return std::nullopt;
  std::memcpy(&message, bytes, sizeof message);
  if (message.magic != Message::kMagic || message.version != kWireVersion) return std::nullopt;
  return message;
}

// Card fields: each a 16-bit length and that many bytes.
void put(std::vector<uint8_t>& out, const void* bytes, size_t size) {
  const size_t at = out.size();
  out.resize(at + 2 + size);
  out[at] = static_cast<uint8_t>(size);
  out[at + 1] = static_cast<uint8_t>(size >> 8);
  if (size) std::memcpy(&out[at + 2], bytes, size);
}

std::optional<std::string_view> take(std::string_view& in) {
  if (in.size() < 2) return std::nullopt;
  const size_t size = static_cast<uint8_t>(in[0]) | size_t{static_cast<uint8_t>(in[1])} << 8;
  if (in.size() - 2 < size) return std::nullopt;
  const auto field = in.substr(2, size);
  in.remove_prefix(2 + size);
  return field;
}

// Whether data that may be read is within the address space, and its segments are as long as it is.
bool lies_somewhere(const ReadyToSend& m) {
  if (m.rails == 0) return m.segments == 0;
  if (m.segments == 0) return m.address <= UINT64_MAX - m.length;
  uint64_t length = 0;
  for (unsigned i = 0; i < m.segments; ++i) {
    const auto& part = m.parts[i];
    if (part.length == 0 || part.length > m.length - length) return false;
    if (part.offset > UINT64_MAX - m.address || part.length > UINT64_MAX - m.address - part.offset)
      return false;
    length += part.length;
  }
  return length == m.length;
}

}  // namespace

std::optional<ReadyToSend> parse_ready_to_send(const void* bytes, size_t size) {
  ReadyToSend message{};
  if (size < ReadyToSend::kLeastSize) return std::nullopt;
  std::memcpy(&message, bytes, ReadyToSend::kLeastSize);
  const bool good = message.magic == ReadyToSend::kMagic && message.version == kWireVersion &&
                    message.rails <= kMostRails && message.segments <= kMostSegments &&
                    message.size() == size && message.piece != 0 && message.reserved == 0 &&
                    (message.flags & ~ReadyToSend::kPacked) == 0;
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
      return message;
    case ControlType::clear_to_send:
      if (message->length != 0 && message->piece == 0) return std::nullopt;
      return message;
    case ControlType::finished:
      if (message->failed > 1) return std::nullopt;
      return message;
  }
  return std::nullopt;
}

std::string to_string(const ReadyToSend& m) {
  char text[160];
  std::snprintf(text, sizeof text,
                "RTS{version %u, flags %u, rails %u, request %" PRIx64 ", length %" PRIu64 ", piece %" PRIu64
                ", segments %u}",
                m.version, m.flags, m.rails, m.request, m.length, m.piece, m.segments);
  return text;
}

std::string to_string(const Control& m) {
  char text[200];
  std::snprintf(text, sizeof text,
                "%s{version %u, sender %" PRIx64 ", request %" PRIx64 ", length %" PRIu64 ", piece %" PRIu64
                ", handle %u, failed %u}",
                m.type == ControlType::clear_to_send ? "CTS"
                : m.type == ControlType::acknowledge ? "ACK"
                : m.type == ControlType::finished    ? "FIN"
                                                     : "?",
                m.version, m.sender, m.request, m.length, m.piece, m.handle, m.failed);
  return text;
}

std::vector<uint8_t> Card::serialize() const {
  std::vector<uint8_t> out(kCardMagic, kCardMagic + sizeof kCardMagic);
  put(out, &version, sizeof version);
  put(out, provider.data(), provider.size());
  put(out, &eager_limit, sizeof eager_limit);
  put(out, nic.data(), nic.size());
  put(out, host.data(), host.size());
  put(out, address.data(), address.size());
  put(out, more.data(), more.size());
  return out;
}

std::optional<Card> Card::parse(const void* bytes, size_t size, std::string& why) {
  std::string_view in(static_cast<const char*>(bytes), size);
  if (in.substr(0, sizeof kCardMagic) != std::string_view(kCardMagic, sizeof kCardMagic)) {
    why = "its address information is not from mtl_efa";
    return std::nullopt;
  }
  in.remove_prefix(sizeof kCardMagic);
  Card card;
  const auto damaged = [&] {
    why = "its address information is damaged";
    return std::nullopt;
  };
  const auto version = take(in);
  if (!version || version->size() != sizeof card.version) return damaged();
  std::memcpy(&card.version, version->data(), sizeof card.version);
  if (card.version != kWireVersion) {
    why = "it runs a component with wire format " + std::to_string(card.version) + ", this one has " +
          std::to_string(kWireVersion) + "; install the same mtl_efa on all nodes";
    return std::nullopt;
  }
  const auto provider = take(in), limit = take(in), nic = take(in), host = take(in), address = take(in),
             more = take(in);
  if (!provider || !limit || limit->size() != sizeof card.eager_limit || !nic || !host || !address ||
      address->empty() || !more || more->size() % address->size() ||
      more->size() / address->size() >= kMostRails || !in.empty())
    return damaged();
  card.provider = *provider;
  std::memcpy(&card.eager_limit, limit->data(), sizeof card.eager_limit);
  card.nic = *nic;
  card.host = *host;
  card.address.assign(address->begin(), address->end());
  card.more.assign(more->begin(), more->end());
  return card;
}

}  // namespace efa

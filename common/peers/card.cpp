#include "peers/card.hpp"

#include <cstring>
#include <string_view>

namespace efa {
namespace {

constexpr char kCardMagic[4] = {'E', 'F', 'A', 'C'};

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

}  // namespace

std::vector<uint8_t> Card::serialize() const {
  std::vector<uint8_t> out(kCardMagic, kCardMagic + sizeof kCardMagic);
  put(out, &version, sizeof version);
  put(out, provider.data(), provider.size());
  put(out, &eager_limit, sizeof eager_limit);
  put(out, &read_family, sizeof read_family);
  put(out, path.data(), path.size());
  put(out, nic.data(), nic.size());
  put(out, host.data(), host.size());
  put(out, address.data(), address.size());
  put(out, more.data(), more.size());
  put(out, &ping, ping.port ? sizeof ping : 0);
  put(out, &shm, shm.pid ? sizeof shm : 0);
  return out;
}

std::optional<Card> Card::parse(const void* bytes, size_t size, MessagePart& why) {
  std::string_view in(static_cast<const char*>(bytes), size);
  if (in.substr(0, sizeof kCardMagic) != std::string_view(kCardMagic, sizeof kCardMagic)) {
    why = msg::card_foreign();
    return std::nullopt;
  }
  in.remove_prefix(sizeof kCardMagic);
  Card card;
  const auto damaged = [&] {
    why = msg::card_damaged();
    return std::nullopt;
  };
  const auto version = take(in);
  if (!version || version->size() != sizeof card.version) return damaged();
  std::memcpy(&card.version, version->data(), sizeof card.version);
  if (card.version != kWireVersion) {
    why = msg::card_version(card.version, kWireVersion);
    return std::nullopt;
  }
  const auto provider = take(in), limit = take(in), family = take(in), path = take(in), nic = take(in), host = take(in),
             address = take(in), more = take(in), ping = take(in),
             shm = take(in);
  if (!provider || !limit || limit->size() != sizeof card.eager_limit || !family ||
      !path ||
      family->size() != sizeof card.read_family || !nic || !host || !address || address->empty() || !more ||
      !ping || (!ping->empty() && ping->size() != sizeof card.ping) || !shm ||
      (!shm->empty() && shm->size() != sizeof card.shm) || more->size() % address->size() ||
      more->size() / address->size() >= kMostRails || !in.empty())
    return damaged();
  card.provider = *provider;
  std::memcpy(&card.eager_limit, limit->data(), sizeof card.eager_limit);
  std::memcpy(&card.read_family, family->data(), sizeof card.read_family);
  card.path = *path;
  card.nic = *nic;
  card.host = *host;
  card.address.assign(address->begin(), address->end());
  card.more.assign(more->begin(), more->end());
  if (!ping->empty()) std::memcpy(&card.ping, ping->data(), sizeof card.ping);
  if (!shm->empty()) std::memcpy(&card.shm, shm->data(), sizeof card.shm);
  return card;
}

}  // namespace efa

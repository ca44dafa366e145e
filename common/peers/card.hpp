// The card by which a process is reached: published through the modex, read at first use. A part of the wire format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/user_message.hpp"
#include "base/wire_version.hpp"
#include "channel/shm_segment.hpp"
#include "fabric/rail.hpp"
#include "peers/ping.hpp"

namespace efa {

// What a process publishes about itself.
struct Card {
  uint16_t version = kWireVersion;
  std::string provider;      // both sides must use the same
  uint64_t eager_limit = 0;  // the longest eager message that a noncontiguous receive can take
  ReadFamily read_family = ReadFamily::none;  // RDMA reads work only within a family
  std::string path = "tagged";                // who matches: a name of Path; both sides must have the same
  std::string nic, host;                      // for messages
  PingAddress ping;                           // where it answers pings
  ShmAddress shm{};                           // by which processes of the same node reach it; all zero: none
  std::vector<uint8_t> address;               // fi_getname of rail 0
  std::vector<uint8_t> more;  // of all further rails, of the same length each; at most kMostRails - 1

  std::vector<uint8_t> serialize() const;
  // Nullopt with a reason if it is truncated or foreign, or has another version.
  static std::optional<Card> parse(const void* bytes, size_t size, MessagePart& why);
};

}  // namespace efa

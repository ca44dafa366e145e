// Which protocol a message takes: decided once at set-up, from the provider's table, the NICs and the parameters.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fabric/rail.hpp"

namespace efa {

// Maximum number of memory areas of one operation, if the provider supports as many.
constexpr size_t kMostParts = 4;

// The protocol thresholds in force, decided once at set-up.
struct Protocols {
  uint64_t inject_limit = 0;  // bytes, as all below
  uint64_t eager_limit = 0;
  uint64_t eager_limit_packed = 0;
  uint64_t eager_limit_alone = 0;   // replaces both while no other long message is being sent; 0: not used
  uint64_t longest_eager = 0;       // the greatest of the three; every receive has room for it
  uint64_t piece = 0;               // of a contiguous rendezvous
  uint64_t piece_among_others = 0;  // the minimum while other long messages are sent
  uint64_t staging = 0;             // of a noncontiguous one
  unsigned window = 0;              // pieces in flight for one message
  unsigned peer_window = 0;         // pieces in flight of all messages that are pushed to one peer
  bool pulls = false;               // rendezvous data can be read by RDMA
  ReadFamily read_family = ReadFamily::none;
  uint64_t pull_limit = 0;  // from this length on
  uint64_t read = 0;        // maximum length of one read
  uint64_t stripe = 0;      // minimum length of a rail's share of a message
  size_t parts = 1;         // memory areas that one send or receive may have
  bool truncates = false;   // the provider truncates messages reliably
};

}  // namespace efa

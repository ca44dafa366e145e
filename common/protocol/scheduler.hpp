// How rendezvous data is cut into pieces and distributed over rails. Pure functions; no state.
#pragma once

#include <algorithm>
#include <cstdint>

namespace efa {

constexpr uint64_t kPage = 4096;  // bytes

struct Stripes {
  uint64_t piece;  // bytes of every piece but the last
  unsigned rails;  // that take part: piece i goes by rail i % rails
};

// `length` > 0 bytes over at most `rails` >= 1 rails. No piece is shorter than `least` (a multiple of a page,
// below which another rail does not pay) unless the whole message is, or it is the last; none is longer than
// `most` >= least. The numbers of pieces per rail differ by at most one, so that all rails end at about the same time.
constexpr Stripes plan_stripes(uint64_t length, unsigned rails, uint64_t least, uint64_t most) {
  const uint64_t useful = std::max<uint64_t>(1, length / least);
  const auto used = static_cast<unsigned>(std::min<uint64_t>(rails, useful));
  // Rounds of one piece per rail; as many as needed for no piece to exceed `most`.
  const uint64_t rounds = (length + used * most - 1) / (used * most);
  const uint64_t pieces = rounds * used;
  uint64_t piece = (length + pieces - 1) / pieces;
  piece = (piece + kPage - 1) & ~(kPage - 1);  // pieces begin where pages do
  return {std::min(piece, most), used};
}

}  // namespace efa

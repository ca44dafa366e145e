#include "matching/tag.hpp"

#include <algorithm>
#include <bit>

namespace efa {
namespace {

constexpr unsigned kKindBits = 4;
// Minimum for MPI and Open MPI: MPI_TAG_UB of 32767 and a sign bit for the tags of collectives; communicators for the
// predefined ones and the program's; ranks of a large job.
constexpr unsigned kLeastTagBits = 16, kLeastContextBits = 8, kUsualContextBits = 12, kLeastRankBits = 16;
constexpr unsigned kPieceBits = 32, kMostHandleBits = 24;

constexpr uint64_t ones(unsigned count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

}  // namespace

std::optional<TagLayout> TagLayout::make(const TagSpace& space, MessagePart& why) {
  const unsigned usable = space.format ? 64 - std::countl_zero(space.format) : 64;
  // The rank can be in the completion data only if a receive can be directed at one source.
  const bool rank_beside = space.directed_receive && space.data_size >= sizeof(uint32_t);

  unsigned tag_bits = 32, rank_bits = 0, context_bits = 0;
  bool fits = false;
  for (const unsigned bits : {32u, 24u, 20u, kLeastTagBits}) {
    tag_bits = bits;
    if (usable < kKindBits + tag_bits + kLeastContextBits) continue;
    const unsigned rest = usable - kKindBits - tag_bits;
    rank_bits = rank_beside ? 0
                            : std::min(rest - kLeastContextBits, rest > kUsualContextBits + kLeastRankBits
                                                                     ? rest - kUsualContextBits
                                                                     : kLeastRankBits);
    context_bits = std::min(rest - rank_bits, 31u);
    fits = (rank_beside || rank_bits >= kLeastRankBits) && tag_bits + rank_bits >= kPieceBits;
    if (fits) break;
  }
  if (!fits) {
    why = space.directed_receive ? msg::tag_bits(usable, space.data_size)
                                 : msg::tag_bits_undirected(usable, space.data_size);
    return std::nullopt;
  }

  TagLayout layout;
  layout.tag_bits_ = tag_bits;
  layout.kind_shift_ = tag_bits + rank_bits;
  layout.context_shift_ = layout.kind_shift_ + kKindBits;
  layout.wide_ = rank_beside && layout.context_shift_ == kWideContextShift;
  layout.tag_mask_ = ones(tag_bits);
  layout.rank_mask_ = ones(rank_bits) << tag_bits;
  layout.user_kinds_ = uint64_t{kKindSync | kKindRts | kKindAlone} << layout.kind_shift_;
  layout.max_context_ = static_cast<uint32_t>(ones(context_bits));
  layout.max_rank_ = rank_beside ? INT32_MAX : static_cast<uint32_t>(ones(rank_bits));
  layout.max_handle_ = static_cast<uint32_t>(ones(std::min(kMostHandleBits, usable - kPieceBits - 1)));
  return layout;
}

}  // namespace efa

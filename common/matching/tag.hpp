// The layout of the provider's tag: communicator, message kind, MPI tag and, if the provider has no completion data, the
// sender's rank.
//
//      most significant                                          least significant
//      context | kind (4) | rank (only without completion data) | MPI tag
//
// A tag with kKindControl belongs to the transport. No receive of the user ignores that bit, so neither MPI_ANY_TAG nor
// MPI_ANY_SOURCE matches it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/user_message.hpp"

namespace efa {

enum Kind : uint64_t {
  kKindEager = 0,
  kKindSync = 1,     // eager, and the sender waits for an acknowledgement of the match
  kKindRts = 2,      // the payload is a ready-to-send message, the data follows
  kKindAlone = 4,    // eager, sent by eager_limit_alone: the match is told, but no request waits for that
  kKindControl = 8,  // a piece of rendezvous data
};

// Properties of a provider, from fi_info.
struct TagSpace {
  uint64_t format;        // ep_attr->mem_tag_format: the highest set bit is the highest that may be used
  size_t data_size;       // domain_attr->cq_data_size, bytes
  bool directed_receive;  // FI_DIRECTED_RECV granted
};

class TagLayout {
 public:
  // The widest layout that fits; nullopt with a reason if the minimum for MPI does not fit.
  static std::optional<TagLayout> make(const TagSpace& space, MessagePart& why);

  uint64_t send_bits(uint32_t context, uint64_t kind, int32_t self_rank, int32_t tag) const {
    return (uint64_t{context} << context_shift_) | (kind << kind_shift_) |
           (static_cast<uint32_t>(tag) & tag_mask_) |
           (uint64_t{static_cast<uint32_t>(self_rank)} << tag_bits_ & rank_mask_);
  }
  // The tag of a receive; `rank` < 0 for any source.
  uint64_t recv_bits(uint32_t context, int32_t rank, int32_t tag, bool any_tag) const {
    uint64_t bits =
        (uint64_t{context} << context_shift_) | (any_tag ? 0 : (static_cast<uint32_t>(tag) & tag_mask_));
    if (rank >= 0) bits |= uint64_t{static_cast<uint32_t>(rank)} << tag_bits_ & rank_mask_;
    return bits;
  }
  // The ignore mask of a receive; the first: for one source and one tag.
  uint64_t recv_ignore_exact() const { return user_kinds_; }
  uint64_t recv_ignore(int32_t rank, bool any_tag) const {
    uint64_t ignore = user_kinds_;
    if (any_tag) ignore |= tag_mask_ >> 1;  // the sign bit must be 0: negative tags never match
    if (rank < 0) ignore |= rank_mask_;
    return ignore;
  }
  bool ignores_tag(uint64_t ignore) const { return (ignore & tag_mask_) != 0; }
  // The ignore mask for all messages of a communicator, negative tags included.
  uint64_t context_ignore(int32_t rank) const {
    return user_kinds_ | tag_mask_ | (rank < 0 ? rank_mask_ : 0);
  }

  // Every message of users, of any communicator.
  uint64_t any_message_ignore() const { return ~(uint64_t{kKindControl} << kind_shift_); }

  // The layout with constant shifts: 32 bits for the MPI tag, and the rank in the completion data.
  bool wide() const { return wide_; }
  static uint64_t wide_bits(uint32_t context, int32_t tag) {
    return uint64_t{context} << kWideContextShift | static_cast<uint32_t>(tag);
  }

  // Eager and not synchronous: needs no answer, and no data follows.
  bool plain(uint64_t bits) const { return (bits & user_kinds_) == 0; }
  // Its sender's request waits for an answer.
  bool is_answered(uint64_t bits) const { return kind(bits) == kKindSync || kind(bits) == kKindRts; }
  uint64_t kind(uint64_t bits) const { return (bits >> kind_shift_) & 0xf; }
  uint32_t context(uint64_t bits) const { return static_cast<uint32_t>(bits >> context_shift_); }
  int32_t tag(uint64_t bits) const {
    const unsigned unused = 32 - tag_bits_;
    return static_cast<int32_t>(static_cast<uint32_t>(bits) << unused) >> unused;
  }
  int32_t rank(uint64_t bits, uint64_t completion_data) const {
    return static_cast<int32_t>(rank_in_tag() ? (bits & rank_mask_) >> tag_bits_ : completion_data);
  }

  // A piece of rendezvous data: `handle` is the receiver's, `piece` counts from 0. Only the control bit of the kind is
  // used, so the handle uses the bits on both sides of it.
  uint64_t piece_bits(uint32_t handle, uint32_t piece) const {
    const unsigned below = kind_shift_ + 3 - 32;
    const uint64_t low = handle & ((1u << below) - 1);
    return (kKindControl << kind_shift_) | (uint64_t{handle} >> below << context_shift_) | (low << 32) |
           piece;
  }

  bool rank_in_tag() const { return rank_mask_ != 0; }
  int32_t max_tag() const { return static_cast<int32_t>(tag_mask_ >> 1); }
  uint32_t max_context() const { return max_context_; }
  uint32_t max_rank() const { return max_rank_; }
  uint32_t max_handle() const { return max_handle_; }

 private:
  static constexpr unsigned kWideContextShift = 36;

  bool wide_ = false;
  unsigned tag_bits_ = 32, kind_shift_ = 32, context_shift_ = 36;
  uint64_t tag_mask_ = 0, rank_mask_ = 0, user_kinds_ = 0;
  uint32_t max_context_ = 0, max_rank_ = 0, max_handle_ = 0;
};

}  // namespace efa

// The tag layouts for providers with different tag formats: exactly the right messages match.
#include <initializer_list>
#include <limits>
#include <set>

#include "catch.hpp"
#include "matching/tag.hpp"

using namespace efa;

namespace {

constexpr uint64_t kAllBits = 0xaaaaaaaaaaaaaaaa;   // efa, shm, tcp;ofi_rxm
constexpr uint64_t kNoTopBit = 0x5555555555555555;  // net of libfabric 1.17

TagLayout layout_of(const TagSpace& space) {
  efa::MessagePart why;
  auto layout = TagLayout::make(space, why);
  INFO(why.text());
  REQUIRE(layout);
  return *layout;
}

// libfabric's matching rule.
bool matches(uint64_t posted, uint64_t ignore, uint64_t sent) {
  return ((posted ^ sent) & ~ignore) == 0;
}

const TagSpace kSpaces[] = {
    {kAllBits, 4, true}, {kAllBits, 8, true},          {kNoTopBit, 8, true},
    {kAllBits, 0, true}, {kAllBits, 8, false},         {kNoTopBit, 0, false},
    {0, 4, true},        {uint64_t{1} << 59, 4, true}, {uint64_t{1} << 57, 0, true},
};
const int32_t kTags[] = {0, 1, 255, 32767, -1, -10, -27, -32768};

}  // namespace

TEST_CASE(
    "With all tag bits and completion data: 32-bit tags, 28-bit communicators, the rank in the completion "
    "data") {
  const auto layout = layout_of({kAllBits, 4, true});
  CHECK(layout.max_tag() == std::numeric_limits<int32_t>::max());
  CHECK(layout.max_context() == (1u << 28) - 1);
  CHECK_FALSE(layout.rank_in_tag());
  CHECK(layout.send_bits(5, kKindEager, 3, 7) == 0x0000005000000007);
  CHECK(layout.send_bits(5, kKindRts, 3, -1) == 0x00000052ffffffff);
}

TEST_CASE("One tag bit less halves the number of communicators") {
  CHECK(layout_of({kNoTopBit, 8, true}).max_context() == (1u << 27) - 1);
}

TEST_CASE("Without completion data or directed receive the rank is in the tag") {
  for (const TagSpace& space : {TagSpace{kAllBits, 0, true}, TagSpace{kAllBits, 8, false}}) {
    const auto layout = layout_of(space);
    CHECK(layout.rank_in_tag());
    CHECK(layout.max_tag() >= 32767);
    CHECK(layout.max_rank() >= 65535);
    CHECK(layout.rank(layout.send_bits(1, kKindEager, 65535, -5), 99) == 65535);
  }
}

TEST_CASE("A tag format with too few bits is refused with a reason") {
  for (const int top : {10, 20, 26}) {
    efa::MessagePart why;
    CHECK_FALSE(TagLayout::make({uint64_t{1} << top, 0, true}, why));
    CHECK_THAT(why, Contains(std::to_string(top + 1) + " usable bits"));
  }
}

TEST_CASE(
    "Context, kind, tag and rank are decoded as encoded, and only bits of the provider's format are used") {
  for (const auto& space : kSpaces) {
    const auto layout = layout_of(space);
    for (const uint32_t context : {0u, 1u, layout.max_context() / 2, layout.max_context()})
      for (const uint64_t kind : {kKindEager, kKindSync, kKindRts})
        for (const int32_t tag : kTags)
          for (const int32_t rank : {0, 1, 65535}) {
            const uint64_t bits = layout.send_bits(context, kind, rank, tag);
            CHECK(layout.context(bits) == context);
            CHECK(layout.kind(bits) == kind);
            CHECK(layout.tag(bits) == tag);
            CHECK(layout.rank(bits, static_cast<uint64_t>(rank)) == rank);
            if (space.format == kNoTopBit) CHECK((bits >> 63) == 0);
          }
  }
}

TEST_CASE("A receive matches its messages of every kind, with and without wildcards") {
  for (const auto& space : kSpaces) {
    const auto layout = layout_of(space);
    for (const int32_t tag : kTags)
      for (const uint64_t kind : {kKindEager, kKindSync, kKindRts}) {
        const uint64_t sent = layout.send_bits(6, kind, 2, tag);
        CHECK(matches(layout.recv_bits(6, 2, tag, false), layout.recv_ignore(2, false), sent));
        CHECK(matches(layout.recv_bits(6, -1, tag, false), layout.recv_ignore(-1, false), sent));
        CHECK(matches(layout.recv_bits(6, -1, 0, true), layout.recv_ignore(-1, true), sent) == (tag >= 0));
        CHECK_FALSE(matches(layout.recv_bits(7, -1, 0, true), layout.recv_ignore(-1, true), sent));
        CHECK_FALSE(matches(layout.recv_bits(6, 2, tag + 1, false), layout.recv_ignore(2, false), sent));
        CHECK(matches(layout.recv_bits(6, -1, 0, true), layout.context_ignore(-1), sent));
        if (layout.rank_in_tag())
          CHECK_FALSE(matches(layout.recv_bits(6, 3, tag, false), layout.recv_ignore(3, false), sent));
      }
  }
}

TEST_CASE("No user receive matches a piece of a rendezvous") {
  for (const auto& space : kSpaces) {
    const auto layout = layout_of(space);
    std::set<uint64_t> seen;
    for (const uint32_t handle : {0u, 1u, 7u, 8u, layout.max_handle() / 3, layout.max_handle()})
      for (const uint32_t piece : {0u, 1u, 1000u, 0xffffffffu}) {
        const uint64_t bits = layout.piece_bits(handle, piece);
        CHECK(seen.insert(bits).second);
        CHECK((layout.kind(bits) & kKindControl) != 0);
        for (const uint32_t context : {0u, 1u, layout.max_context()})
          CHECK_FALSE(matches(layout.recv_bits(context, -1, 0, true), layout.context_ignore(-1), bits));
      }
    CHECK((layout.max_handle() & (layout.max_handle() + 1)) == 0);  // of the form 2^n - 1
  }
}

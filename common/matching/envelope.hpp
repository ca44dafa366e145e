// The envelope of a message, and the pattern of envelopes that a receive or probe asks for.
#pragma once

#include <bit>
#include <cstdint>

namespace efa {

// Of a receive or probe. A rank is never negative, and kAnyTag is never the tag of a message.
constexpr int32_t kAnySource = -1;
// Matches tags >= 0 only: negative tags belong to the MPI library's own collective operations.
constexpr int32_t kAnyTag = INT32_MIN;

struct Envelope {
  int32_t source;  // the sender's rank in the communicator
  int32_t tag;
};

// What a receive leaves open: each kind is searched for by itself.
enum MatchKind : unsigned { kExact, kAnyTagOf, kAnySourceOf, kAnything, kMatchKinds };

// Source and tag in 64 bits, wildcards included: two receives of the same envelope have the same key. The halves are in the
// order that costs nothing on this machine.
constexpr uint64_t match_key(Envelope e) {
  return std::bit_cast<uint64_t>(e);
}
constexpr Envelope envelope_of(uint64_t key) {
  return std::bit_cast<Envelope>(key);
}
constexpr MatchKind match_kind(Envelope e) {
  return static_cast<MatchKind>((e.source == kAnySource) * 2u + (e.tag == kAnyTag));
}
// The key of the receives of the given kind that match a message. A message with a negative tag has no such receives of the
// kinds with kAnyTag: see matches_kind.
constexpr uint64_t match_key(Envelope message, MatchKind kind) {
  return match_key(
      Envelope{kind & kAnySourceOf ? kAnySource : message.source, kind & kAnyTagOf ? kAnyTag : message.tag});
}
constexpr bool matches_kind(Envelope message, MatchKind kind) {
  return message.tag >= 0 || !(kind & kAnyTagOf);
}

// The pattern of a receive, as a comparison of keys of messages: the sign of the tag is compared also for kAnyTag.
class MatchPattern {
 public:
  explicit constexpr MatchPattern(Envelope e) {
    constexpr int32_t kAll = -1;
    const int32_t source = e.source == kAnySource ? 0 : kAll;
    const int32_t tag = e.tag == kAnyTag ? 0 : kAll;
    wanted_ = match_key(Envelope{e.source & source, e.tag & tag});
    compared_ = match_key(Envelope{source, tag | INT32_MIN});
  }
  constexpr bool matches(uint64_t message) const { return ((message ^ wanted_) & compared_) == 0; }

 private:
  uint64_t wanted_, compared_;
};

}  // namespace efa

// A layout of few long blocks, which are passed to the provider without packing. Pure functions; no state.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace efa {

using Segments = std::span<const iovec>;  // in the order of the packed data; none is empty

// The maximum piece length such that no piece touches more than `parts` segments: UINT64_MAX if there are not more
// segments; 0 if there is no such length.
inline uint64_t longest_piece(Segments segments, size_t parts) {
  if (segments.size() <= parts) return UINT64_MAX;
  uint64_t shortest = UINT64_MAX;  // of those that can lie within a piece
  for (size_t i = 1; i + 1 < segments.size(); ++i)
    shortest = std::min<uint64_t>(shortest, segments[i].iov_len);
  return (parts - 1) * shortest;
}

// Stores the memory of `size` bytes from `offset` on as at most `most` parts in `out`; returns their number, 0 if there
// are more.
inline size_t cut(Segments segments, uint64_t offset, uint64_t size, iovec* out, size_t most) {
  size_t parts = 0;
  for (const iovec& segment : segments) {
    if (offset >= segment.iov_len) {
      offset -= segment.iov_len;
      continue;
    }
    if (parts == most) return 0;
    const uint64_t take = std::min<uint64_t>(segment.iov_len - offset, size);
    out[parts++] = {static_cast<char*>(segment.iov_base) + offset, take};
    offset = 0;
    size -= take;
    if (size == 0) return parts;
  }
  return 0;
}

// The address of byte `offset`, which must exist.
inline char* at(Segments segments, uint64_t offset) {
  iovec part{};
  cut(segments, offset, 1, &part, 1);
  return static_cast<char*>(part.iov_base);
}

// The memory that the first `length` > 0 bytes span, gaps included.
inline iovec extent(Segments segments, uint64_t length) {
  auto begin = UINTPTR_MAX, end = uintptr_t{0};
  for (const iovec& segment : segments) {
    const auto first = reinterpret_cast<uintptr_t>(segment.iov_base);
    const uint64_t used = std::min<uint64_t>(segment.iov_len, length);
    begin = std::min(begin, first);
    end = std::max(end, first + used);
    if ((length -= used) == 0) break;
  }
  return {reinterpret_cast<void*>(begin), end - begin};
}

// Adds the boundaries between segments to `cuts`, which are ascending offsets below `length`.
inline void add_cuts(Segments segments, uint64_t length, std::vector<uint64_t>& cuts) {
  uint64_t offset = 0;
  for (const iovec& segment : segments) {
    offset += segment.iov_len;
    if (offset >= length) break;
    const auto place = std::lower_bound(cuts.begin(), cuts.end(), offset);
    if (place == cuts.end() || *place != offset) cuts.insert(place, offset);
  }
}

}  // namespace efa

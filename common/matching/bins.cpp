#include "matching/bins.hpp"

#include <algorithm>
#include <bit>
#include <new>

namespace efa {

namespace {

// The bin is the top of the product and of its low half together (MatchBins::bin_of). The top depends on both halves of
// the key, the source and the tag; the parts of the multiplier, the powers -1 and -2 of the plastic number (0.7549 and
// 0.5698 of 2^32), keep grids of sources and tags apart. The low half, which depends on the source, breaks up those
// patterns whose steps the top maps to the same bin. Tested: "Usual patterns of sources and tags fill the bins evenly".
constexpr uint64_t kMultiplier = 0xC13FA9A991E10DA5;

// Two to four bins for a key after growing; a table with more than 16 shrinks: between two rehashings of n keys there are O(n) operations.
constexpr size_t kBinsPerKey = 2, kSparse = 16, kShrinkBy = 4;

}  // namespace

bool MatchBins::rehash(size_t size) noexcept {
  auto** bins = new (std::nothrow) MatchLink*[size]();
  if (!bins) return false;
  MatchLink** old = bins_;
  const size_t old_size = size_;
  bins_ = bins;
  size_ = size;
  shift_ = 64u - static_cast<unsigned>(std::countr_zero(size));
  multiplier_ = kMultiplier;
  grow_above_ = size / kBinsPerKey;
  shrink_below_ = size > kKeptBins ? size / kSparse : 0;
  for (size_t i = 0; i < old_size; ++i)
    for (MatchLink* first = old[i]; first;) {
      MatchLink* next_queue = first->chain;
      MatchLink*& bin = bins[bin_of(first->key)];
      first->chain = bin;
      bin = first;
      first = next_queue;
    }
  if (old != &only_) delete[] old;
  only_ = nullptr;
  return true;
}

void MatchBins::grow() noexcept {
  // If memory is refused, the next try is at twice as many keys.
  if (!rehash(std::max(kFewestBins, std::bit_ceil(keys_) * kBinsPerKey))) grow_above_ = keys_ * 2;
}

void MatchBins::shrink() noexcept {
  if (keys_ == 0)
    trim();
  else if (!rehash(std::max(kKeptBins, size_ / kShrinkBy)))
    shrink_below_ = std::max<size_t>(1, keys_ / 2);
}

// Back to the one bin. Only for an empty table.
void MatchBins::release() noexcept {
  if (bins_ != &only_) delete[] bins_;
  bins_ = &only_;
  only_ = nullptr;
  multiplier_ = 0;
  shift_ = 0;
  size_ = 1;
  grow_above_ = kKeysWithoutTable;
  shrink_below_ = 0;
}

double MatchBins::passed_keys() const {
  size_t passed = 0;
  for (size_t i = 0; i < size_; ++i) {
    size_t before = 0;
    for (const MatchLink* first = bins_[i]; first; first = first->chain) passed += before++;
  }
  return keys_ ? static_cast<double>(passed) / static_cast<double>(keys_) : 0;
}

}  // namespace efa

// A hash table of queues: the entries with the same key form one queue, in the order in which they were appended.
//
// It allocates nothing for an entry: the links are members of the entries. The table has at least two bins for each
// key (not entry), and grows and shrinks by rehashing. Without memory for a larger table the chains get longer, and
// nothing else changes; the first keys need no memory at all. All operations are noexcept.
//
// Complexity: find, append, remove_first and remove are O(1) on average, amortised over growth, as long as memory for the
// table is granted; however many entries have the same key. take_all is O(entries + bins).
//
// Ownership: entries are the caller's and stay at their address while they are linked. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace efa {

// What links an entry into a queue. Trivial, so that it can be a member of an object that is reused without construction:
// whoever makes one sets `next` to null.
struct MatchLink {
  MatchLink* next;  // a ring; null: not linked
  MatchLink* prev;  // a ring: the first entry's is the last
  MatchLink*
      chain;  // in a bin. The first entry of a queue: the next queue in the bin, or null. Another entry: itself
  uint64_t key;

  bool linked() const { return next != nullptr; }
  bool is_first() const { return chain != this; }
  void insert_before(MatchLink& place) {
    next = &place;
    prev = place.prev;
    place.prev->next = this;
    place.prev = this;
  }
  // Not for the first entry of a queue in a bin.
  void unlink() {
    prev->next = next;
    next->prev = prev;
    next = nullptr;
  }
};

class MatchBins {
 public:
  // Bins of the smallest table, and the bins that are kept (8 bytes each) when the table has become empty.
  static constexpr size_t kFewestBins = 64, kKeptBins = 512;
  // Keys that need no table.
  static constexpr size_t kKeysWithoutTable = 2;

  MatchBins() = default;
  MatchBins(const MatchBins&) = delete;
  MatchBins& operator=(const MatchBins&) = delete;
  ~MatchBins() { release(); }

  // The place of the pointer to the first entry with this key; the pointer is null if there is none. The place is valid
  // until the next append or remove.
  MatchLink** find(uint64_t key) {
    MatchLink** place = &bins_[bin_of(key)];
    while (*place && (*place)->key != key) place = &(*place)->chain;
    return place;
  }
  // Appends an entry to the queue of its key, which the caller has set.
  void append(MatchLink& link) {
    MatchLink** place = find(link.key);
    if (*place) {
      link.insert_before(**place);
      link.chain = &link;
      return;
    }
    link.next = link.prev = &link;
    link.chain = nullptr;
    *place = &link;
    if (++keys_ > grow_above_) grow();
  }
  // Removes the entry that find() has found.
  void remove_first(MatchLink** place) {
    MatchLink* first = *place;
    MatchLink* second = first->next;
    if (second != first) {
      second->prev = first->prev;
      first->prev->next = second;
      second->chain = first->chain;
      *place = second;
      first->next = nullptr;
    } else {
      *place = first->chain;
      first->next = nullptr;
      if (--keys_ < shrink_below_) shrink();
    }
  }
  // Removes any linked entry.
  void remove(MatchLink& link) {
    if (!link.is_first()) return link.unlink();
    MatchLink** place = &bins_[bin_of(link.key)];
    while (*place != &link) place = &(*place)->chain;
    remove_first(place);
  }

  // Empties the table, which keeps its memory: calls `take` with each queue, as a list that ends with null.
  template <class Take>
  void take_all(Take take) {
    for (size_t i = 0; keys_ > 0 && i < size_; ++i) {
      MatchLink* first = bins_[i];
      bins_[i] = nullptr;
      while (first) {
        MatchLink* next_queue = first->chain;
        first->prev->next = nullptr;
        --keys_;
        take(first);
        first = next_queue;
      }
    }
  }
  // Gives back the memory of an empty table that is larger than kKeptBins.
  void trim() {
    if (size_ > kKeptBins) release();
  }
  // Calls `visit` with each entry, in no order. It must not change the table.
  template <class Visit>
  void for_each(Visit visit) const {
    for (size_t i = 0; i < size_; ++i)
      for (const MatchLink* first = bins_[i]; first; first = first->chain) {
        const MatchLink* link = first;
        do {
          visit(*link);
          link = link->next;
        } while (link != first);
      }
  }

  size_t keys() const { return keys_; }
  size_t bins() const { return size_; }
  // Bytes of the table.
  size_t memory() const { return bins_ == &only_ ? 0 : size_ * sizeof *bins_; }
  // For tests: how many other keys a search for a key that is there passes, on average.
  double passed_keys() const;

 private:
  size_t bin_of(uint64_t key) const {
    const uint64_t product = key * multiplier_;
    return (product ^ product << 32) >> shift_;
  }
  [[gnu::noinline]] void grow() noexcept;
  [[gnu::noinline]] void shrink() noexcept;
  bool rehash(size_t size) noexcept;
  void release() noexcept;

  MatchLink** bins_ = &only_;
  uint64_t multiplier_ = 0;  // 0: one bin
  unsigned shift_ = 0;       // 64 - log2(size_), or 0 for one bin
  size_t size_ = 1;          // a power of two
  size_t keys_ = 0;
  size_t grow_above_ = kKeysWithoutTable, shrink_below_ = 0;  // keys
  MatchLink* only_ = nullptr;                                 // the bin without a table
};

}  // namespace efa

// What the queues of posted receives and of unexpected messages have in common: entries in the order in which they came, as
// a list while they are few, and in hash bins beyond.
//
// Most queues of MPI programs have a handful of entries, for which a scan is faster than a hash table. So a queue is a
// plain list ("listed") of at most kMostListed entries; one more makes it hashed. It is listed again when it has become
// empty, or short for as many entries as its table has bins, so that going to and fro costs O(1) for each entry.
// Internal to matching/; the caller uses engine.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "matching/bins.hpp"

namespace efa {

// `order`: of posting or arrival, ascending; 64 bits never wrap. Only in a hashed queue: a list is in order.
struct MatchEntry : MatchLink {
  uint64_t order;
};

// Sorts by order what consists of ascending runs: O(entries * log(runs)), without memory.
class OrderedRuns {
 public:
  // A list that ends with null.
  void add(MatchLink* run) noexcept;
  // All entries as one list that ends with null. Call it once.
  MatchEntry* merge() noexcept;

 private:
  static constexpr unsigned kLevels = 64;
  MatchEntry* levels_[kLevels] = {};  // level i was merged from about 2^i runs
};

class MatchQueue {
 public:
  // The longest list, and the entries below which a hashed queue is listed again.
  static constexpr size_t kMostListed = 8, kFew = 3;

  MatchQueue(const MatchQueue&) = delete;
  MatchQueue& operator=(const MatchQueue&) = delete;
  size_t size() const { return count_; }
  bool hashed() const { return hashed_; }

 protected:
  MatchQueue() { list_.next = list_.prev = &list_; }
  ~MatchQueue() = default;

  void append_listed(MatchEntry& entry) { entry.insert_before(list_); }
  void append_to_bins(MatchEntry& entry) {
    entry.order = next_order_++;
    bins_.append(entry);
  }
  bool room_in_list() const { return !hashed_ && count_ < kMostListed; }
  // Whether a hashed queue should become listed, after a removal.
  bool list_again() const {
    return count_ < kFew && (count_ == 0 || next_order_ - hashed_since_ >= bins_.bins());
  }
  // Puts the entries of the list into the bins; the order is kept.
  [[gnu::noinline]] void hash_all() noexcept;
  // Puts these entries, which were taken out by take_all(), into the list of the queue, which is empty.
  void list_all(MatchEntry* entries) noexcept;
  // Takes all entries out of the bins, or out of the bins or the list, as a list in order that ends with null. The queue
  // is listed after take_all().
  MatchEntry* take_bins() noexcept;
  MatchEntry* take_all() noexcept;
  template <class Visit>
  void visit_all(Visit visit) const {
    if (hashed_)
      bins_.for_each([&](const MatchLink& link) { visit(static_cast<const MatchEntry&>(link)); });
    else
      for (const MatchLink* link = list_.next; link != &list_; link = link->next)
        visit(static_cast<const MatchEntry&>(*link));
  }
  static MatchEntry* following(MatchEntry* entry) { return static_cast<MatchEntry*>(entry->next); }

  MatchLink list_{};  // head of the ring of entries while the queue is listed
  size_t count_ = 0;
  uint64_t next_order_ = 0;
  bool hashed_ = false;
  uint64_t hashed_since_ = 0;  // next_order_ when it became hashed
  MatchBins bins_;             // by key; empty while the queue is listed
};

}  // namespace efa

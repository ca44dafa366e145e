// The queue of posted receives of one communicator. Internal to matching/; the caller uses engine.hpp.
//
// A receive is queued under its own key, wildcards included. A message can match receives of four keys, one of each kind;
// only the kinds that have receives are looked at, and the oldest of the first receives of each is the match. So the
// search is O(1) for receives of every kind.
#pragma once

#include <cstddef>
#include <cstdint>

#include "matching/envelope.hpp"
#include "matching/queue.hpp"

namespace efa {

// A posted receive: a member or base of the caller's request. Initialize it with {} once; the engine writes it while it is
// queued, and a request may be reused as soon as it is not queued.
struct PostedReceive : MatchEntry {
  bool queued() const { return linked(); }
  // As posted. Only after it was posted.
  Envelope envelope() const { return envelope_of(key); }
};

class PostedQueue : public MatchQueue {
 public:
  void append(PostedReceive& receive, Envelope pattern) noexcept {
    receive.key = match_key(pattern);
    count_wildcard(pattern, 1);
    if (room_in_list()) {
      append_listed(receive);
    } else {
      if (!hashed_) hash_all();
      append_to_bins(receive);
    }
    ++count_;
  }
  // Removes the oldest receive that matches; null if there is none.
  PostedReceive* take(Envelope message) noexcept {
    if (hashed_) return take_hashed(message);
    if (wildcards_ > 0) return take_listed(message);
    const uint64_t key = match_key(message);
    for (MatchLink* link = list_.next; link != &list_; link = link->next)
      if (link->key == key) {
        link->unlink();
        --count_;
        return static_cast<PostedReceive*>(link);
      }
    return nullptr;
  }
  // Removes a receive that is queued.
  [[gnu::noinline]] void remove(PostedReceive& receive) noexcept;
  // Removes the receives that `condition` holds for; a list in the order of posting, which `chain` links, null at its end.
  template <class Condition>
  PostedReceive* take_if(Condition condition) noexcept {
    MatchLink* taken;
    MatchLink** end = &taken;
    MatchEntry* rest = take_all();
    for (size_t& count : of_kind_) count = 0;
    wildcards_ = 0;
    while (rest) {
      auto* receive = static_cast<PostedReceive*>(rest);
      rest = following(rest);
      if (condition(static_cast<const PostedReceive&>(*receive))) {
        receive->next = nullptr;
        *end = receive;
        end = &receive->chain;
      } else {
        append(*receive, receive->envelope());
      }
    }
    *end = nullptr;
    return static_cast<PostedReceive*>(taken);
  }
  template <class Visit>
  void for_each(Visit visit) const {
    visit_all([&](const MatchEntry& entry) { visit(static_cast<const PostedReceive&>(entry)); });
  }
  size_t memory() const { return bins_.memory(); }

 private:
  void count_wildcard(Envelope pattern, size_t change) {
    const MatchKind kind = match_kind(pattern);
    if (kind == kExact) return;
    of_kind_[kind] += change;
    wildcards_ += change;
  }
  [[gnu::noinline]] PostedReceive* take_listed(Envelope message) noexcept;
  [[gnu::noinline]] PostedReceive* take_hashed(Envelope message) noexcept;
  // Counts a removal from the bins.
  void removed(const PostedReceive& receive) noexcept;

  size_t wildcards_ = 0;              // receives that are not kExact
  size_t of_kind_[kMatchKinds] = {};  // of each kind of wildcard; that of kExact is not counted
};

}  // namespace efa

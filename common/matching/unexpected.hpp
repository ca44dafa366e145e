// The queue of unexpected messages of one communicator. Internal to matching/; the caller uses engine.hpp.
//
// A message is always queued under its own key. A hashed queue has an index for each kind of wildcard besides, bins whose
// key is that of the receives which match the message: so a receive or probe of any kind finds the oldest message in O(1).
// Programs use few kinds, so an index is made by the first search of its kind, which sorts the queue once
// (O(n log n)), and kept while the queue is hashed. Kinds that were searched for before the queue became short are indexed
// at once when it is hashed the next time, and then need no sorting.
#pragma once

#include <cstddef>
#include <cstdint>

#include "matching/envelope.hpp"
#include "matching/queue.hpp"

namespace efa {

struct WildcardLinks {
  MatchLink wild[kMatchKinds - 1];  // by MatchKind - 1; only those of the indexes that exist are written
};

// An unexpected message: a member or base of the caller's structure. The engine writes it in add_unexpected(), and until
// then only `queued` needs {}.
struct UnexpectedMessage : MatchEntry, WildcardLinks {
  bool queued() const { return linked(); }
  Envelope envelope() const { return envelope_of(key); }
};

class UnexpectedQueue : public MatchQueue {
 public:
  void append(UnexpectedMessage& message, Envelope envelope) noexcept {
    message.key = match_key(envelope);
    if (room_in_list())
      append_listed(message);
    else
      append_hashed(message);
    ++count_;
  }
  // The oldest message that matches; null if there is none.
  UnexpectedMessage* find(Envelope pattern) noexcept {
    return hashed_ ? find_hashed(pattern) : find_listed(pattern);
  }
  // The same, and removes it.
  UnexpectedMessage* take(Envelope pattern) noexcept {
    if (hashed_) return take_hashed(pattern);
    UnexpectedMessage* message = find_listed(pattern);
    if (!message) return nullptr;
    message->unlink();
    --count_;
    return message;
  }
  // Removes a message that is queued.
  void remove(UnexpectedMessage& message) noexcept {
    if (hashed_) return remove_hashed(message);
    message.unlink();
    --count_;
  }
  // Removes the messages that `condition` holds for; a list in the order of arrival, which `chain` links, null at its end.
  template <class Condition>
  UnexpectedMessage* take_if(Condition condition) noexcept {
    MatchLink* taken;
    MatchLink** end = &taken;
    MatchEntry* rest = take_everything();
    while (rest) {
      auto* message = static_cast<UnexpectedMessage*>(rest);
      rest = following(rest);
      if (condition(static_cast<const UnexpectedMessage&>(*message))) {
        message->next = nullptr;
        *end = message;
        end = &message->chain;
      } else {
        append(*message, message->envelope());
      }
    }
    *end = nullptr;
    return static_cast<UnexpectedMessage*>(taken);
  }
  template <class Visit>
  void for_each(Visit visit) const {
    visit_all([&](const MatchEntry& entry) { visit(static_cast<const UnexpectedMessage&>(entry)); });
  }
  size_t memory() const;

 private:
  [[gnu::noinline]] void append_hashed(UnexpectedMessage& message) noexcept;
  UnexpectedMessage* find_listed(Envelope pattern) noexcept {
    const MatchPattern wanted(pattern);
    for (MatchLink* link = list_.next; link != &list_; link = link->next)
      if (wanted.matches(link->key)) return static_cast<UnexpectedMessage*>(link);
    return nullptr;
  }
  [[gnu::noinline]] UnexpectedMessage* find_hashed(Envelope pattern) noexcept;
  [[gnu::noinline]] UnexpectedMessage* take_hashed(Envelope pattern) noexcept;
  [[gnu::noinline]] void remove_hashed(UnexpectedMessage& message) noexcept;
  // Counts a removal from the bins, and removes the message from the indexes.
  void removed(UnexpectedMessage& message) noexcept;
  void make_index(MatchKind kind) noexcept;
  void add_to_indexes(UnexpectedMessage& message) noexcept;
  // take_all(), and empties the indexes.
  MatchEntry* take_everything() noexcept;

  // Bit i: kind i. The indexes that exist; those searched since the queue was hashed, or if it is listed, then.
  unsigned indexed_ = 0, searched_ = 0;
  MatchBins indexes_[kMatchKinds - 1];  // by MatchKind - 1
};

}  // namespace efa

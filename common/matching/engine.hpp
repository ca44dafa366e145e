// The matching engine: which posted receive a message is for, and which unexpected message a receive is for, by the rules
// of MPI.
//
//  - A receive names a source or kAnySource, and a tag or kAnyTag. kAnyTag matches tags >= 0 only; a receive of one
//    negative tag matches that tag, also with kAnySource.
//  - A message goes to the receive that was posted first among those that match it.
//  - A receive, a probe or a matched probe gets the message that arrived first among those that match it. The caller
//    delivers the messages of each sender in the order of sending; then no message overtakes another.
//
// There is one MatchQueues for each communicator; who has one looks up no context. It knows envelopes and the links inside
// of the caller's structures, neither data nor peers.
//
// Ownership: PostedReceive and UnexpectedMessage are members or bases of the caller's structures. A structure must stay at
// its address, and its members unchanged, while it is queued; afterwards the engine has no reference to it.
//
// Threading: none of its own. The caller's lock covers all calls for one MatchQueues; different ones are independent. Callbacks
// of for_each_* must not call the engine. Those of take_* may: what was taken is not queued any more.
//
// Errors: none. Nothing fails, throws or waits. Memory is used for hash tables only, 8 to 32 bytes for each key in a queue
// of more than eight entries; if it is refused, searches take longer. A table that has become sparse is given back, but for
// MatchBins::kKeptBins (4 KiB), which the next deep queue needs again; the destructor gives back the rest.
//
// Complexity, n: entries in the queue (docs/matching.md has figures):
//
//   post, arrive, probe, take          O(1), amortised, for exact envelopes and for wildcards
//   the first search with a kind of wildcard in a queue of unexpected messages that is deep    O(n log n), once while it is deep
//   cancel, remove_unexpected          O(1)
//   for_each_*                         O(n)
//   take_*_if                          O(n log n)
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "matching/envelope.hpp"
#include "matching/posted.hpp"
#include "matching/unexpected.hpp"

namespace efa {

class MatchQueues {
 public:
  // `context`: the communicator's number, for reports only.
  explicit MatchQueues(uint32_t context = 0) : context_(context) {}
  // The queues must be empty: take_posted_if and take_unexpected_if hand out what is left.
  ~MatchQueues() { assert(posted_.size() == 0 && unexpected_.size() == 0); }
  MatchQueues(const MatchQueues&) = delete;
  MatchQueues& operator=(const MatchQueues&) = delete;
  uint32_t context() const { return context_; }

  // Posts a receive that is not queued. If an unexpected message matches, that is removed from its queue and returned, and the receive is not
  // queued. Else it is queued, and null is returned.
  UnexpectedMessage* post(PostedReceive& receive, Envelope pattern) noexcept {
    if (UnexpectedMessage* message = take(pattern)) return message;
    posted_.append(receive, pattern);
    return nullptr;
  }
  // A message has arrived: removes the receive that it is for from the queue and returns it. Null if there is none: then the
  // caller keeps the message with add_unexpected() before it calls the engine for anything else.
  // The caller has checked is_message() for what comes from the network.
  PostedReceive* arrive(Envelope message) noexcept { return posted_.take(message); }
  void add_unexpected(UnexpectedMessage& message, Envelope envelope) noexcept {
    unexpected_.append(message, envelope);
  }

  // The unexpected message that a receive of this pattern would get; null if there is none. It stays queued.
  UnexpectedMessage* probe(Envelope pattern) noexcept {
    return unexpected_.size() > 0 ? unexpected_.find(pattern) : nullptr;
  }
  // The same, and removes it: a matched probe.
  UnexpectedMessage* take(Envelope pattern) noexcept {
    return unexpected_.size() > 0 ? unexpected_.take(pattern) : nullptr;
  }

  // Removes a receive from the queue. False if it is not queued: it was matched or never posted.
  bool cancel(PostedReceive& receive) noexcept {
    if (!receive.queued()) return false;
    posted_.remove(receive);
    return true;
  }
  // Removes a message from the queue, since its sender cancelled it. False if it is not queued: it was matched.
  bool remove_unexpected(UnexpectedMessage& message) noexcept {
    if (!message.queued()) return false;
    unexpected_.remove(message);
    return true;
  }

  // Calls `visit(const PostedReceive&)` or `visit(const UnexpectedMessage&)` for each entry. Oldest first in a short queue, in
  // no order in a deep one.
  template <class Visit>
  void for_each_posted(Visit visit) const {
    posted_.for_each(visit);
  }
  template <class Visit>
  void for_each_unexpected(Visit visit) const {
    unexpected_.for_each(visit);
  }

  // Removes all entries that `condition` holds for, and then calls `taken(PostedReceive&)` or `taken(UnexpectedMessage&)` for
  // each, oldest first. `condition` must not call the engine. For a peer that failed, see concerns(); for a
  // communicator that is freed, a condition that always holds.
  template <class Condition, class Taken>
  void take_posted_if(Condition condition, Taken taken) {
    hand_out(posted_.take_if(condition), taken);
  }
  template <class Condition, class Taken>
  void take_unexpected_if(Condition condition, Taken taken) {
    hand_out(unexpected_.take_if(condition), taken);
  }
  // Whether a message of this source can match the pattern: receives that must end when the source fails.
  static constexpr bool concerns(Envelope pattern, int32_t source) {
    return pattern.source == source || pattern.source == kAnySource;
  }

  size_t posted() const { return posted_.size(); }
  size_t unexpected() const { return unexpected_.size(); }
  // Bytes of the hash tables.
  size_t memory() const { return posted_.memory() + unexpected_.memory(); }
  bool posted_hashed() const { return posted_.hashed(); }
  bool unexpected_hashed() const { return unexpected_.hashed(); }

  static constexpr bool is_message(Envelope e) { return e.source >= 0 && e.tag != kAnyTag; }
  static constexpr bool is_pattern(Envelope e) { return e.source >= 0 || e.source == kAnySource; }

 private:
  template <class Entry, class Taken>
  static void hand_out(Entry* entry, Taken taken) {
    while (entry) {
      auto* next = static_cast<Entry*>(entry->chain);
      taken(*entry);
      entry = next;
    }
  }

  PostedQueue posted_;
  UnexpectedQueue unexpected_;
  uint32_t context_;
};

}  // namespace efa

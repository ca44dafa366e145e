// Operations that the provider refused for now (FI_EAGAIN) and that wait to be posted again.
//
// Order is kept within a list, one for each peer and a few for receives, and an operation may be posted only while its
// list is empty, else it would overtake. Waiting never fails an operation: only the provider's own error does, or the
// user's deadline for a peer (stalled_peers.hpp). Not thread-safe: the transport's lock covers it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "interface/transport.h"

namespace efa {

class PendingList {
 public:
  bool empty() const { return head_ == nullptr; }
  // Marks make a list look not empty without an operation in it, so that operations that may bypass an empty list take
  // the slow path of submit(), and those that follow an ordinary list pay nothing for the check.
  // Until the first operation comes, which is watched (first_contact.hpp). Only for a list without operations.
  void await_first() { head_ = &marks_[0]; }
  bool awaits_first() const { return head_ == &marks_[0]; }
  void first_came() { head_ = nullptr; }
  // For good, since the peer failed: every operation ends with an error. Only for a list without operations.
  void fail() { head_ = &marks_[1]; }
  bool failed() const { return head_ == &marks_[1]; }
  // Not null unless the list is empty().
  const efa_operation* first_or_mark() const { return head_; }
  // The first operation that waits; null if none does.
  efa_operation* first() const { return awaits_first() || failed() ? nullptr : head_; }

 private:
  static inline efa_operation marks_[2]{};  // never posted
  friend class PendingQueue;
  efa_operation* head_ = nullptr;
  efa_operation* tail_ = nullptr;
  PendingList* next_ = nullptr;  // in the ring; null if it is not there
};

// The lists with waiting operations. Those of peers stand in a ring, so that a peer that stays blocked holds up nobody
// else; those of receives are served by name, in an order that the caller decides.
class PendingQueue {
 public:
  PendingQueue() = default;
  PendingQueue(const PendingQueue&) = delete;

  // Keeps a list out of the ring: only serve() posts its operations. At most kMostApart, before any operation is added.
  void keep_apart(const PendingList& list) { apart_[aparts_++] = &list; }
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  size_t most() const { return most_; }          // greatest size so far
  uint64_t refused() const { return refused_; }  // posts that were tried again and refused again
  // No operation waits in the ring.
  bool ring_empty() const { return ring_tail_ == nullptr; }
  void add(PendingList& list, efa_operation* op);
  // Removes an operation; false if it does not wait in the list.
  bool remove(PendingList& list, efa_operation* op);
  // Removes and returns the first operation of the list; null if there is none.
  efa_operation* take_first(PendingList& list);
  // Posts what can be posted of the ring; gives up for this time after a few lists that stay blocked. The handler of an
  // operation that fails for good is called with the error. The number of operations that left the queue.
  int drain(efa_transport* transport);
  // The same for one list that is kept apart.
  int serve(efa_transport* transport, PendingList& list);
  // Calls `visit` with each list of the ring.
  template <class Visit>
  void for_each(Visit visit) const {
    PendingList* list = ring_tail_;
    if (list) do {
        list = list->next_;
        visit(*list);
      } while (list != ring_tail_);
  }

 private:
  static constexpr size_t kMostApart = 4;

  bool is_apart(const PendingList& list) const;
  void enter_ring(PendingList& list);
  efa_operation* pop(PendingList& list);
  void push_back_first(PendingList& list, efa_operation* op);
  bool post_all(efa_transport* transport, PendingList& list, int& left);

  PendingList* ring_tail_ = nullptr;  // ring_tail_->next_ is the next to be served
  size_t size_ = 0, most_ = 0;
  uint64_t refused_ = 0;
  const PendingList* apart_[kMostApart] = {};
  size_t aparts_ = 0;
};

}  // namespace efa

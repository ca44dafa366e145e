// Operations that libfabric refused for now (FI_EAGAIN) and that wait to be posted again.
//
// Order is kept within a list - one per peer, one for all receives - and an operation may be posted only
// while its list is empty, else it would overtake. Lists with waiting operations stand in a ring, so that
// a peer that stays blocked holds up nobody else. Not thread-safe: the transport's lock covers it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transport.h"

namespace efa {

class PendingList {
 public:
  bool empty() const { return head_ == nullptr; }
  // Until the first operation comes the list is not empty, so that this one is noticed (first_contact.hpp)
  // where others wait, and those that follow pay nothing for it. Only for a list without operations.
  void await_first() { head_ = &first_; }
  bool awaits_first() const { return head_ == &first_; }
  void first_came() { head_ = nullptr; }

 private:
  static inline efa_operation first_{};  // a mark; never posted
  friend class PendingQueue;
  efa_operation* head_ = nullptr;
  efa_operation* tail_ = nullptr;
  PendingList* next_ = nullptr;  // in the ring
};

class PendingQueue {
 public:
  // `timeout_ns`: an operation that waited longer ends with FI_ETIMEDOUT.
  explicit PendingQueue(uint64_t timeout_ns) : timeout_ns_(timeout_ns) {}

  bool empty() const { return ring_tail_ == nullptr; }
  size_t size() const { return size_; }
  void add(PendingList& list, efa_operation* op, uint64_t now_ns);
  // Takes an operation out that is not to be posted any more; false if it does not wait.
  bool remove(PendingList& list, efa_operation* op);
  // The first that waits in the list, taken out; null if none does.
  efa_operation* take_first(PendingList& list);
  // Posts what can be posted; gives up for this time after a few lists that stay blocked. The handler of an
  // operation that fails for good is called with the error. The number of operations that left the queue.
  int drain(efa_transport* transport, uint64_t now_ns);

 private:
  void enter_ring(PendingList& list);
  efa_operation* pop(PendingList& list);

  PendingList* ring_tail_ = nullptr;  // ring_tail_->next_ is the next to be served
  size_t size_ = 0;
  uint64_t timeout_ns_;
};

// Nanoseconds of a clock that only goes forward.
uint64_t monotonic_ns();

}  // namespace efa

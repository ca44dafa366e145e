#include "pending.hpp"

#include <rdma/fi_errno.h>
#include <time.h>

#include "completion.hpp"

namespace efa {
namespace {

// Blocked lists to try in one call: enough to find one that is not, few enough to stay cheap when the
// provider as a whole is out of resources, which is the usual reason.
constexpr int kMostBlocked = 8;

}  // namespace

uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

void PendingQueue::enter_ring(PendingList& list) {
  if (!ring_tail_) {
    list.next_ = &list;
  } else {
    list.next_ = ring_tail_->next_;
    ring_tail_->next_ = &list;
  }
  ring_tail_ = &list;
}

void PendingQueue::add(PendingList& list, efa_operation* op, uint64_t now_ns) {
  op->next = nullptr;
  op->since_ns = now_ns;
  if (list.empty()) {
    list.head_ = op;
    enter_ring(list);
  } else {
    list.tail_->next = op;
  }
  list.tail_ = op;
  ++size_;
}

efa_operation* PendingQueue::pop(PendingList& list) {
  efa_operation* op = list.head_;
  list.head_ = op->next;
  op->next = nullptr;
  --size_;
  return op;
}

bool PendingQueue::remove(PendingList& list, efa_operation* op) {
  efa_operation* before = nullptr;
  for (efa_operation* at = list.head_; at; before = at, at = at->next) {
    if (at != op) continue;
    (before ? before->next : list.head_) = op->next;
    if (list.tail_ == op) list.tail_ = before;
    op->next = nullptr;
    --size_;
    if (list.empty() && list.next_) {  // next_ is null while drain() serves the list
      PendingList* previous = ring_tail_;
      while (previous->next_ != &list) previous = previous->next_;
      if (previous == &list) {
        ring_tail_ = nullptr;
      } else {
        previous->next_ = list.next_;
        if (ring_tail_ == &list) ring_tail_ = previous;
      }
      list.next_ = nullptr;
    }
    return true;
  }
  return false;
}

efa_operation* PendingQueue::take_first(PendingList& list) {
  efa_operation* op = list.awaits_first() ? nullptr : list.head_;
  if (op) remove(list, op);
  return op;
}

int PendingQueue::drain(efa_transport* transport, uint64_t now_ns) {
  int left = 0;
  for (int blocked = 0; ring_tail_ && blocked < kMostBlocked;) {
    PendingList& list = *ring_tail_->next_;
    // Out of the ring while it is served: a handler may add to it again.
    if (&list == ring_tail_) {
      ring_tail_ = nullptr;
    } else {
      ring_tail_->next_ = list.next_;
    }
    list.next_ = nullptr;

    bool stays = false;
    while (!list.empty() && !stays) {
      efa_operation* op = list.head_;
      const int error = op->post(transport, op);
      stays = error == -FI_EAGAIN && now_ns - op->since_ns < timeout_ns_;
      if (stays) break;
      pop(list);
      ++left;
      if (error) {
        // The list is out of the ring and may look empty to the handler; it must not be entered twice.
        const bool more = !list.empty();
        const efa_failure failed{error == -FI_EAGAIN ? FI_ETIMEDOUT : -error};
        op->completed(transport, op, &kNoEntry, &failed);
        if (!more && !list.empty()) break;  // the handler added to it, and so put it into the ring
      }
    }
    if (stays) {
      ++blocked;
      enter_ring(list);
    }
  }
  return left;
}

}  // namespace efa

#include "peers/pending.hpp"

#include <rdma/fi_errno.h>

#include <algorithm>

#include "fabric/completion.hpp"
#include "peers/peers.hpp"

namespace efa {
namespace {

// Blocked lists to try in one call: enough to find one that is not blocked, few enough to be cheap when the provider
// itself is out of resources, which is the usual reason.
constexpr int kMostBlocked = 8;

}  // namespace

bool PendingQueue::is_apart(const PendingList& list) const {
  return std::find(apart_, apart_ + aparts_, &list) != apart_ + aparts_;
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

void PendingQueue::add(PendingList& list, efa_operation* op) {
  op->next = nullptr;
  if (list.empty()) {
    list.head_ = op;
    if (!is_apart(list)) enter_ring(list);
  } else {
    list.tail_->next = op;
  }
  list.tail_ = op;
  most_ = std::max(most_, ++size_);
}

efa_operation* PendingQueue::pop(PendingList& list) {
  efa_operation* op = list.head_;
  list.head_ = op->next;
  op->next = nullptr;
  --size_;
  return op;
}

// Undoes pop(): nothing has changed since then.
void PendingQueue::push_back_first(PendingList& list, efa_operation* op) {
  op->next = list.head_;
  if (!list.head_) list.tail_ = op;
  list.head_ = op;
  ++size_;
}

bool PendingQueue::remove(PendingList& list, efa_operation* op) {
  efa_operation* before = nullptr;
  for (efa_operation* at = list.first(); at; before = at, at = at->next) {
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
  efa_operation* op = list.first();
  if (op) remove(list, op);
  return op;
}

// Posts operations of a list that is not in the ring until one is refused; false then. Handlers may add to the list, and so
// put it into the ring, empty it, or mark it. An operation may end while it is posted, so it leaves the list before.
bool PendingQueue::post_all(efa_transport* transport, PendingList& list, int& left) {
  while (efa_operation* op = list.first()) {
    pop(list);
    efa_peer* const peer = op->peer;
    const int error = op->post(transport, op);
    if (error == -FI_EAGAIN) {
      push_back_first(list, op);
      ++refused_;
      return false;
    }
    ++left;
    if (peer) ++peer->steps;
    if (error) {
      const efa_failure failed{-error};
      op->completed(transport, op, &kNoEntry, &failed);
    }
    if (list.next_) break;  // the handler put it into the ring
  }
  return true;
}

int PendingQueue::serve(efa_transport* transport, PendingList& list) {
  int left = 0;
  post_all(transport, list, left);
  return left;
}

int PendingQueue::drain(efa_transport* transport) {
  int left = 0;
  for (int blocked = 0; ring_tail_ && blocked < kMostBlocked;) {
    PendingList& list = *ring_tail_->next_;
    // The list is out of the ring while it is served, because a handler may add to it.
    if (&list == ring_tail_) {
      ring_tail_ = nullptr;
    } else {
      ring_tail_->next_ = list.next_;
    }
    list.next_ = nullptr;
    if (post_all(transport, list, left)) continue;
    ++blocked;
    enter_ring(list);
  }
  return left;
}

}  // namespace efa

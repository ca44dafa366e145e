// The transport's lock, with MPI_THREAD_MULTIPLE, and the requests that ended while it was held.
//
// A request's `done` belongs to the caller: Open MPI completes requests in it, and callbacks of its own that take
// locks of theirs (coll/adapt's start the next operation). Called under this lock, such a lock and this one would be
// taken in both orders. So a request that ends is kept here, and whoever gives the lock back calls its `done`
// afterwards. Until then the request is finished for the transport (its kind is kNoRequest), and efa_cancel leaves it
// alone.
#pragma once

#include <mutex>

#include "interface/transport.h"

namespace efa {

class Lock {
 public:
  void lock() {
    mutex_.lock();
    ++held_;
  }
  bool try_lock() {
    if (!mutex_.try_lock()) return false;
    ++held_;
    return true;
  }
  // The outermost one of a thread tells the owners of the requests that have ended, in that order.
  void unlock() {
    if (--held_ == 0 && first_) [[unlikely]]
      unlock_and_tell();
    else
      mutex_.unlock();
  }
  // Only while the lock is held; uses the request's op.next.
  void tell_later(efa_request* r);
  // How many calls of this thread are telling: more than one if a `done` begins operations that end at once.
  static unsigned telling();

 private:
  void unlock_and_tell();

  std::recursive_mutex mutex_;
  unsigned held_ = 0;  // times, by the thread that holds it
  efa_request* first_ = nullptr;
  efa_request* last_ = nullptr;
};

}  // namespace efa

#include "protocol/lock.hpp"

#include <utility>


namespace efa {
namespace {

thread_local unsigned telling_depth = 0;

}  // namespace

unsigned Lock::telling() {
  return telling_depth;
}

void Lock::tell_later(efa_request* r) {
  r->op.next = nullptr;
  if (first_)
    last_->op.next = &r->op;
  else
    first_ = r;
  last_ = r;
}

void Lock::unlock_and_tell() {
  efa_request* r = std::exchange(first_, nullptr);
  last_ = nullptr;
  mutex_.unlock();
  ++telling_depth;
  while (r) {
    auto* next = reinterpret_cast<efa_request*>(r->op.next);  // `op` is its first member
    r->done(r);                                               // which may free it
    r = next;
  }
  --telling_depth;
}

}  // namespace efa

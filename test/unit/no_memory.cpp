#include "no_memory.hpp"

namespace {

// State of the thread whose allocations fail.
thread_local bool armed, only_one;
thread_local long next, failing_from, failures;
thread_local int exempt;

}  // namespace

namespace fake {

bool allocation_fails() {
  if (!armed || exempt) return false;
  const long index = next++;
  if (only_one ? index != failing_from : index < failing_from) return false;
  ++failures;
  return true;
}

NoMemory::NoMemory(long nth, bool only_that) {
  next = failures = 0;
  failing_from = nth;
  only_one = only_that;
  armed = true;
}
NoMemory::~NoMemory() {
  armed = false;
}
long NoMemory::failed() {
  return failures;
}
MemoryAvailable::MemoryAvailable() {
  ++exempt;
}
MemoryAvailable::~MemoryAvailable() {
  --exempt;
}

}  // namespace fake

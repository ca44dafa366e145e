// Failing allocations, for tests of out-of-memory handling: operator new, and aligned_alloc, which the buffer pool uses.
// The fake fabric's own allocations never fail. A test that uses this is linked with no_memory_operators.cpp.
#pragma once

namespace fake {

// During its lifetime, allocations of this thread fail: all of them from number `nth` on, or only number `nth`, counted
// from 0. A test must not check anything meanwhile, because the test framework allocates.
class NoMemory {
 public:
  explicit NoMemory(long nth = 0, bool only_that = false);
  ~NoMemory();
  NoMemory(const NoMemory&) = delete;
  static long failed();  // allocations that failed since the last NoMemory was constructed
};

// Allocations in its scope succeed.
class MemoryAvailable {
 public:
  MemoryAvailable();
  ~MemoryAvailable();
  MemoryAvailable(const MemoryAvailable&) = delete;
};

// For no_memory_operators.cpp: whether the current allocation must fail.
bool allocation_fails();

}  // namespace fake

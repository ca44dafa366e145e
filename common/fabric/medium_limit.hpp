// Up to which length libfabric's efa sends without a handshake: a variable of libfabric, since there is no endpoint
// option for it (2.6).
//
// libfabric reads it when the process uses libfabric for the first time (2.0 and later) or when a domain is opened
// (1.x). The variable is set only while this component opens the provider, and only where the user has set none:
// other users of libfabric in the process, and the processes that it starts, do not see it.
#pragma once

#include <cstdint>

#include "fabric/provider_table.hpp"

namespace efa {

// False as long as nobody in this process has used libfabric.
bool libfabric_is_initialized();

// Sets the variable to kLongestMedium for a scope. setenv: during set-up only, where a program that reads its
// environment in another thread has to expect MPI_Init.
class MediumLimit {
 public:
  MediumLimit();
  ~MediumLimit();
  MediumLimit(const MediumLimit&) = delete;
  MediumLimit& operator=(const MediumLimit&) = delete;

  // Bytes, as the provider has it once it is open.
  uint64_t in_force() const { return in_force_; }

 private:
  bool set_here_ = false;
  uint64_t in_force_ = 0;
};

// The limit that is in force; separate from the process's state for tests. `user`: the variable's value or null;
// `ours`: libfabric was first used with our value, or is about to be; `library`: fi_version().
uint64_t medium_limit(const char* user, bool ours, uint32_t library);

}  // namespace efa

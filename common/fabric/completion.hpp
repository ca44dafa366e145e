// The completion of an operation: libfabric's entry, and the failure if there was one. A handler
// (efa_operation.completed) gets a pointer into the batch that was read, so that a success needs no copy.
#pragma once

#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

struct efa_failure {
  int error = 0;                           // a positive fi_errno
  const fi_cq_err_entry* entry =
      nullptr;  // the provider's error entry; only if the error came from the queue
  bool reported = false;                   // it was said already, of the peer as a whole
};

namespace efa {

// For a failure that no queue reported, or that has nothing but its error.
inline constexpr fi_cq_tagged_entry kNoEntry{};

// Of an operation with a peer that failed as a whole.
inline constexpr efa_failure kPeerFailed{FI_ETIMEDOUT, nullptr, true};

}  // namespace efa

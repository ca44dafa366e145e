// How an operation ended: libfabric's own entry, and beside it what went wrong. A handler (efa_operation.completed)
// gets the entry as it lies in the batch that was read, so that a success costs no copy.
#pragma once

#include <rdma/fi_eq.h>

struct efa_failure {
  int error = 0;                           // a positive fi_errno
  const fi_cq_err_entry* entry = nullptr;  // the provider's words; only if the error came from the queue
};

namespace efa {

// For a failure that no queue reported, or that tells nothing but its error.
inline constexpr fi_cq_tagged_entry kNoEntry{};

}  // namespace efa

// What a handler (efa_operation.completed) learns of how its operation ended.
#pragma once

#include <rdma/fi_eq.h>

#include <cstdint>

struct efa_completion {
  size_t length = 0;
  uint64_t data = 0;  // completion data: the sender's rank
  uint64_t tag = 0;
  int error = 0;                           // 0 or a positive fi_errno
  const fi_cq_err_entry* entry = nullptr;  // the provider's words; only if the error came from the queue
};

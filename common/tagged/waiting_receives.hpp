// Receives that wait, because the provider takes only so many (tcp;ofi_rxm: 2047 of an endpoint), or because the bound on
// the memory in which receives into layouts land is reached.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/user_message.hpp"
#include "interface/transport.h"
#include "peers/pending.hpp"

namespace efa {

// A receive that no message matches, which reserves room at the provider for another.
struct KeptReceive {
  efa_operation op;  // first
  bool posted;
  uint64_t bits;
};

struct KeptReceives {
  std::vector<std::unique_ptr<KeptReceive>> all;
  PendingList pending;
};

// Posts the receives that reserve room for internal ones; false with a reason.
bool keep_receives(efa_transport* t, unsigned count, UserMessage& why);
// Posts as many of the waiting receives as the provider accepts; returns their number.
int serve_receives(efa_transport* t);

}  // namespace efa

// The rails of a process.
#pragma once

#include <memory>
#include <vector>

#include "fabric/rail.hpp"
#include "peers/pending.hpp"

namespace efa {

struct OpenRail : Rail {
  PendingList pending_reads;  // that the provider refuses for now
  bool failed = false;        // not to be used any more; never set for rail 0
};

struct Rails {
  OpenRail first;                               // which does all matching
  std::vector<std::unique_ptr<OpenRail>> more;  // for rendezvous data only

  OpenRail& at(unsigned i) { return i == 0 ? first : *more[i - 1]; }
  unsigned count() const { return 1 + static_cast<unsigned>(more.size()); }
};

}  // namespace efa

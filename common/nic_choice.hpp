// The NIC for this process among those that libfabric offers: affinity (docs/affinity.md) applied to this
// machine and this process's binding.
#pragma once

#include <string>
#include <vector>

#include "discovery.hpp"

namespace efa {

struct NicPick {
  int index = -1;     // into the candidates; -1: none of them is a PCI device, or hwloc cannot help
  std::string place;  // for messages: "NUMA node 1, nearest"
  std::string hint;   // what the user could do better; may be empty
};

// Loads the machine's topology, which takes tens of milliseconds: only for candidates that are NICs.
NicPick pick_nic(const std::vector<Candidate>& candidates, int32_t local_rank, int32_t local_ranks);

}  // namespace efa

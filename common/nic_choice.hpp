// The NIC for this process among those that libfabric offers: affinity (docs/affinity.md) applied to this
// machine and this process's binding.
#pragma once

#include <string>
#include <vector>

#include "discovery.hpp"

namespace efa {

struct NicPick {
  // Into the candidates, nearest first; empty: none is a PCI device, or hwloc cannot help.
  std::vector<size_t> rails;
  std::string place;  // for messages: "NUMA node 1, nearest"
  std::string hint;   // what the user could do better; may be empty
};

// Loads the machine's topology, which takes tens of milliseconds: only for candidates that are NICs.
// `rails`: NICs for this process at most; 0: its share of the node's.
NicPick pick_nics(const std::vector<Candidate>& candidates, int32_t local_rank, int32_t local_ranks,
                  int rails);

}  // namespace efa

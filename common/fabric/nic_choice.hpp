// The NICs for this process among those that libfabric offers: affinity (docs/affinity.md) for this machine and this
// process's binding.
#pragma once

#include <string>
#include <vector>

#include "fabric/discovery.hpp"
#include "machine/affinity.hpp"

namespace efa {

struct NicPick {
  // Into the candidates, nearest first; empty: none is a PCI device, or hwloc cannot help.
  std::vector<size_t> rails;
  size_t usable = 0;  // NICs or interfaces that the processes of this node share
  std::string place;  // for messages: "NUMA node 1, nearest"
  UserMessage hint;   // advice for the user; may be empty
  UserMessage error;  // the parameters leave no NIC: what is wrong and what to do
};

// A candidate as affinity sees it.
Nic nic_of(const Candidate& candidate);

// The user's parameters for NICs.
NicParameters nic_parameters(const efa_options& options);

// Loads the machine's topology, which takes tens of milliseconds, but only if candidates are NICs or the user chooses.
NicPick pick_nics(const std::vector<Candidate>& candidates, int32_t local_rank, int32_t local_ranks,
                  const NicParameters& parameters);

}  // namespace efa

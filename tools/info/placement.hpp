// Which NICs the ranks of a node would use: affinity for all ranks of a node.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "machine/affinity.hpp"
#include "node.hpp"

namespace efa {

enum class Binding { core, numa, socket, none };
std::optional<Binding> parse_binding(std::string_view text);  // "core", "numa", "socket", "none"

struct RankPlace {
  std::string cores;              // where it is bound, as hwloc lists cores; "not bound"
  std::vector<size_t> core_list;  // the same as hwloc's numbers; empty: not bound
  std::vector<size_t> rails;      // indices of Node::nics, rail 0 first
  Nearness nearness = Nearness::kUnknown;
};

struct Placement {
  std::vector<RankPlace> ranks;
  std::vector<size_t> load;  // ranks whose rail 0 each NIC is, by index of Node::nics
  std::string hint;          // advice for the user
  std::string error;         // no NIC can be chosen
};

// `ranks` >= 1. core: consecutive blocks of cores (mpirun --map-by core); numa, socket: assigned to NUMA nodes or
// packages in turn, bound to the whole of one (--map-by numa --bind-to numa).
Placement place_ranks(const Node& node, int ranks, Binding binding, const NicParameters& parameters);

}  // namespace efa

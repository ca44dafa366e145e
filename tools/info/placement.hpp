// Which NICs the ranks of a node would use: affinity, asked for a whole node at once.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "affinity.hpp"
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
  std::string hint;          // what would be better
  std::string error;         // no NIC can be chosen
};

// `ranks` >= 1. core: consecutive blocks of cores (mpirun --map-by core); numa, socket: dealt round the
// NUMA nodes or packages, bound to the whole of one (--map-by numa --bind-to numa).
Placement place_ranks(const Node& node, int ranks, Binding binding, const NicParameters& parameters);

}  // namespace efa

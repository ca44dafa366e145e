#include "placement.hpp"

#include <memory>

#include "show.hpp"

namespace efa {
namespace {

// The cores of rank `rank` of `ranks`; null: not bound.
BitmapPtr binding_of(hwloc_topology_t topology, int rank, int ranks, Binding binding) {
  if (binding == Binding::none) return nullptr;
  BitmapPtr set(hwloc_bitmap_alloc());
  if (binding != Binding::core) {
    const auto type = binding == Binding::numa ? HWLOC_OBJ_NUMANODE : HWLOC_OBJ_PACKAGE;
    const int count = hwloc_get_nbobjs_by_type(topology, type);
    if (count <= 0) return nullptr;
    hwloc_bitmap_copy(set.get(),
                      hwloc_get_obj_by_type(topology, type, static_cast<unsigned>(rank % count))->cpuset);
    return set;
  }
  const int cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
  if (cores <= 0) return nullptr;
  // With more ranks than cores, the ranks are assigned to cores in turn, as by mpirun --oversubscribe.
  const int each = cores >= ranks ? cores / ranks : 1;
  for (int i = 0; i < each; ++i) {
    const auto core = static_cast<unsigned>((rank * each + i) % cores);
    hwloc_bitmap_or(set.get(), set.get(), hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, core)->cpuset);
  }
  return set;
}

std::vector<size_t> cores_of(hwloc_topology_t topology, hwloc_const_cpuset_t set) {
  std::vector<size_t> cores;
  for (hwloc_obj_t core = nullptr; (core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core));)
    if (hwloc_bitmap_intersects(core->cpuset, set)) cores.push_back(core->logical_index);
  return cores;
}

}  // namespace

std::optional<Binding> parse_binding(std::string_view text) {
  if (text == "core") return Binding::core;
  if (text == "numa") return Binding::numa;
  if (text == "socket") return Binding::socket;
  if (text == "none") return Binding::none;
  return std::nullopt;
}

Placement place_ranks(const Node& node, int ranks, Binding binding, const NicParameters& parameters) {
  Placement placement;
  placement.load.resize(node.nics.size());
  if (!node.topology) {
    placement.error = "hwloc cannot load the machine's topology.";
    return placement;
  }
  const NicAffinity affinity(node.topology.get(), node.plain_nics(), parameters);
  for (int rank = 0; rank < ranks; ++rank) {
    const BitmapPtr bound = binding_of(node.topology.get(), rank, ranks, binding);
    ProcessPlace place;
    place.binding = bound.get();
    place.local_rank = rank;
    place.local_size = ranks;
    const NicChoice choice = affinity.choose(place);
    if (choice.rails.empty()) {
      placement.error = choice.error;
      return placement;
    }
    RankPlace each;
    if (bound) each.core_list = cores_of(node.topology.get(), bound.get());
    each.cores = bound ? ranges(each.core_list) : "not bound";
    for (const auto& rail : choice.rails) each.rails.push_back(rail.nic);
    each.nearness = choice.rails.front().nearness;
    ++placement.load[each.rails.front()];
    placement.ranks.push_back(std::move(each));
    if (placement.hint.empty()) placement.hint = choice.hint;
  }
  return placement;
}

}  // namespace efa

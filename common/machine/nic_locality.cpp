#include "machine/nic_locality.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

namespace efa {
namespace {

/// The usable objects of a type, in the order of the topology.
std::vector<hwloc_obj_t> allowed_objects(hwloc_topology_t topology, hwloc_obj_type_t type) {
  const auto allowed = hwloc_topology_get_allowed_cpuset(topology);
  std::vector<hwloc_obj_t> objects;
  hwloc_obj_t object = nullptr;
  while ((object = hwloc_get_next_obj_by_type(topology, type, object)))
    if (hwloc_bitmap_intersects(object->cpuset, allowed)) objects.push_back(object);
  return objects;
}

Indices touched_by(hwloc_const_cpuset_t binding, const std::vector<hwloc_obj_t>& objects) {
  Indices touched;
  for (size_t i = 0; i < objects.size(); ++i)
    if (hwloc_bitmap_intersects(objects[i]->cpuset, binding)) touched.push_back(static_cast<int>(i));
  return touched;
}

/// The bridge two above the device: a switch's upstream port, or the host bridge. nullptr without bridges.
hwloc_obj_t pci_group_of(hwloc_obj_t device) {
  const auto is_bridge = [](hwloc_obj_t object) { return object && object->type == HWLOC_OBJ_BRIDGE; };
  hwloc_obj_t port = device->parent;
  if (!is_bridge(port)) return nullptr;
  return is_bridge(port->parent) ? port->parent : port;
}

}  // namespace

std::string_view to_string(Nearness nearness) {
  switch (nearness) {
    case Nearness::kNumaNode:
      return "same NUMA node";
    case Nearness::kPackage:
      return "same package";
    case Nearness::kUnknown:
      return "place unknown";
    case Nearness::kOtherPackage:
      return "other package";
  }
  return "?";
}

NicLocality::NicLocality(hwloc_topology_t topology, std::span<const Nic> nics, std::span<const size_t> usable)
    : topology_(topology),
      cores_(allowed_objects(topology, HWLOC_OBJ_CORE)),
      threads_(allowed_objects(topology, HWLOC_OBJ_PU)) {
  if (cores_.empty()) cores_ = threads_;
  place_nics(nics, usable);
  find_shared_nics();
  for (const auto& core : cores_) nearest_of_core_.push_back(nearest(core->cpuset));
  distance_matters_ = std::ranges::any_of(
      nearest_of_core_, [&](const Indices& near) { return near != nearest_of_core_.front(); });
  even_ = compute_even();
}

void NicLocality::place_nics(std::span<const Nic> nics, std::span<const size_t> usable) {
  std::map<hwloc_obj_t, int> groups;
  int next_group = 0;
  const bool uniform = hwloc_get_nbobjs_by_type(topology_, HWLOC_OBJ_NUMANODE) <= 1;
  for (size_t nic : usable) {
    Placed placed{nic, nullptr, nullptr, next_group++};
    const auto& pci = nics[nic].pci;
    hwloc_obj_t device =
        pci ? hwloc_get_pcidev_by_busid(topology_, pci->domain, pci->bus, pci->device, pci->function)
            : nullptr;
    if (device) {
      if (hwloc_obj_t group = pci_group_of(device))
        placed.group = groups.try_emplace(group, placed.group).first->second;
      hwloc_obj_t home = hwloc_get_non_io_ancestor_obj(topology_, device);
      // hwloc attaches devices with an unknown place, or a place that may not be used, to the machine.
      if (home && (home != hwloc_get_root_obj(topology_) || uniform)) {
        placed.local.reset(hwloc_bitmap_dup(home->cpuset));
        placed.packages = packages_of(home->cpuset);
      }
    }
    placed_.push_back(std::move(placed));
  }
  std::ranges::stable_sort(placed_, {}, [&](const Placed& placed) {
    const int first = placed.local ? hwloc_bitmap_first(placed.local.get()) : -1;
    const Nic& nic = nics[placed.nic];
    return std::make_tuple(first < 0, first, !nic.pci, nic.pci.value_or(PciAddress{}), nic.name);
  });
}

BitmapPtr NicLocality::packages_of(hwloc_const_cpuset_t set) const {
  BitmapPtr packages(hwloc_bitmap_dup(set));
  hwloc_obj_t package = nullptr;
  while ((package = hwloc_get_next_obj_by_type(topology_, HWLOC_OBJ_PACKAGE, package)))
    if (hwloc_bitmap_intersects(package->cpuset, set))
      hwloc_bitmap_or(packages.get(), packages.get(), package->cpuset);
  return packages;
}

Nearness NicLocality::nearness(int index, hwloc_const_cpuset_t binding) const {
  const Placed& placed = placed_[at(index)];
  if (!placed.local) return Nearness::kUnknown;
  if (hwloc_bitmap_intersects(placed.local.get(), binding)) return Nearness::kNumaNode;
  if (hwloc_bitmap_intersects(placed.packages.get(), binding)) return Nearness::kPackage;
  return Nearness::kOtherPackage;
}

Indices NicLocality::nearest(hwloc_const_cpuset_t binding) const {
  Indices near;
  Nearness best{};
  for (int index = 0; index < nic_count(); ++index) {
    const Nearness here = nearness(index, binding);
    if (!near.empty() && here > best) continue;
    if (!near.empty() && here < best) near.clear();
    best = here;
    near.push_back(index);
  }
  return near;
}

Indices NicLocality::cores(hwloc_const_cpuset_t binding) const {
  return touched_by(binding, cores_);
}

Indices NicLocality::threads(hwloc_const_cpuset_t binding) const {
  return touched_by(binding, threads_);
}

void NicLocality::find_shared_nics() {
  const auto allowed = hwloc_topology_get_allowed_cpuset(topology_);
  const auto root = hwloc_get_root_obj(topology_);
  const bool hidden_cores = !hwloc_bitmap_isequal(root->complete_cpuset, allowed);
  for (int index = 0; index < nic_count(); ++index) {
    const auto& local = placed_[at(index)].local;
    if (!hidden_cores || (local && hwloc_bitmap_intersects(local.get(), allowed))) shared_.push_back(index);
  }
  if (shared_.empty()) {
    shared_.resize(placed_.size());
    std::iota(shared_.begin(), shared_.end(), 0);
  }
}

bool NicLocality::compute_even() const {
  std::map<Indices, size_t> cores_of;  // number of cores by their nearest NICs
  for (const Indices& near : nearest_of_core_) ++cores_of[near];
  if (cores_of.empty()) return false;

  std::vector<int> times_nearest(placed_.size(), 0);
  const auto& [first_nics, first_cores] = *cores_of.begin();
  for (const auto& [near, cores] : cores_of) {
    for (int index : near) ++times_nearest[at(index)];
    if (cores * first_nics.size() != first_cores * near.size()) return false;
  }
  return std::ranges::all_of(shared_, [&](int index) { return times_nearest[at(index)] == 1; });
}

}  // namespace efa

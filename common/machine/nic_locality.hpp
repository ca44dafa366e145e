#pragma once

// Where a node's NICs are relative to its cores, from hwloc.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "machine/hwloc_handles.hpp"
#include "machine/nic_filter.hpp"

namespace efa {

/// How far a NIC is from where a process is bound, nearest first.
enum class Nearness : uint8_t {
  kNumaNode,      ///< local to a NUMA node (or a larger part) that the binding touches
  kPackage,       ///< in a package that the binding touches
  kUnknown,       ///< the place of the NIC is unknown to hwloc
  kOtherPackage,  ///< in another package
};
std::string_view to_string(Nearness nearness);  ///< "same NUMA node", ...

/// Indices, ascending: of NICs in their order here, of cores or of hardware threads.
using Indices = std::vector<int>;

/// Cores and NICs have indices here that follow the topology, so that neighbours are near to each other:
/// cores as hwloc numbers them, NICs by where they are attached, then by PCI address; those of unknown place
/// come last. Only cores that the process may use count (cgroups, Slurm).
class NicLocality {
 public:
  /// `usable`: indices in `nics`, none twice. Keeps a reference to the topology only.
  NicLocality(hwloc_topology_t topology, std::span<const Nic> nics, std::span<const size_t> usable);

  int nic_count() const { return static_cast<int>(placed_.size()); }
  size_t nic(int index) const { return placed_[at(index)].nic; }  ///< index in the caller's list
  /// NICs with the same number share a PCIe switch, or a root bus where there is no switch.
  int pci_group(int index) const { return placed_[at(index)].group; }
  Nearness nearness(int index, hwloc_const_cpuset_t binding) const;
  /// The nearest NICs, all at the same distance. Not empty if there are NICs.
  Indices nearest(hwloc_const_cpuset_t binding) const;

  int core_count() const { return static_cast<int>(cores_.size()); }
  Indices cores(hwloc_const_cpuset_t binding) const;    ///< the cores that it touches
  Indices threads(hwloc_const_cpuset_t binding) const;  ///< the hardware threads in it
  const Indices& nearest_of_core(int core) const { return nearest_of_core_[at(core)]; }
  hwloc_const_cpuset_t core_set(int core) const { return cores_[at(core)]->cpuset; }
  hwloc_const_cpuset_t everywhere() const { return hwloc_topology_get_allowed_cpuset(topology_); }

  /// The NICs that all processes of this node share if distance does not decide: all except those next to cores that this
  /// process may not use, which probably serve another job.
  const Indices& shared() const { return shared_; }
  /// Every group of cores with the same nearest NICs has its own NICs, and the number of cores per NIC is the same: then
  /// the nearest NICs are also a balanced choice on a full node.
  bool even() const { return even_; }
  /// Distances differ, so binding makes a difference.
  bool distance_matters() const { return distance_matters_; }

 private:
  struct Placed {
    size_t nic;
    BitmapPtr local;     ///< cores that the NIC is local to; null: unknown
    BitmapPtr packages;  ///< all cores of the packages that `local` touches
    int group;
  };

  static size_t at(int index) { return static_cast<size_t>(index); }
  void place_nics(std::span<const Nic> nics, std::span<const size_t> usable);
  void find_shared_nics();
  bool compute_even() const;
  BitmapPtr packages_of(hwloc_const_cpuset_t set) const;

  hwloc_topology_t topology_;
  std::vector<Placed> placed_;
  std::vector<hwloc_obj_t> cores_;  ///< hardware threads where hwloc does not know cores
  std::vector<hwloc_obj_t> threads_;
  std::vector<Indices> nearest_of_core_;
  Indices shared_;
  bool even_ = false;
  bool distance_matters_ = false;
};

}  // namespace efa

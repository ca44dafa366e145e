#pragma once

// Where a node's NICs are relative to its cores: the part of NIC affinity that asks hwloc.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "hwloc_handles.hpp"
#include "nic_filter.hpp"

namespace efa {

/// How far a NIC is from where a process is bound, nearest first.
enum class Nearness : uint8_t {
  kNumaNode,      ///< local to a NUMA node (or a larger part) that the binding touches
  kPackage,       ///< in a package that the binding touches
  kUnknown,       ///< hwloc does not know where the NIC is
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
  /// The NICs that no other is nearer than. Never empty if there are NICs.
  Indices nearest(hwloc_const_cpuset_t binding) const;

  int core_count() const { return static_cast<int>(cores_.size()); }
  Indices cores(hwloc_const_cpuset_t binding) const;    ///< the cores that it touches
  Indices threads(hwloc_const_cpuset_t binding) const;  ///< the hardware threads in it
  const Indices& nearest_of_core(int core) const { return nearest_of_core_[at(core)]; }
  hwloc_const_cpuset_t core_set(int core) const { return cores_[at(core)]->cpuset; }
  hwloc_const_cpuset_t everywhere() const { return hwloc_topology_get_allowed_cpuset(topology_); }

  /// The NICs that all processes of this node share evenly when distance does not decide: all, but without
  /// those of cores that are hidden from us, which probably serve somebody else.
  const Indices& shared() const { return shared_; }
  /// Every core has its nearest NICs, every such group of cores has its own, and all have the same number of
  /// cores per NIC: then going by distance also balances a full node.
  bool even() const { return even_; }
  /// Some NICs are nearer to some cores than others are, so binding makes a difference.
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

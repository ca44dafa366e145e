// The processes of a job on one node of an instance type, and a short notation for their NICs.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "catch.hpp"
#include "machine/affinity.hpp"
#include "machine/machine_topology.hpp"

namespace efa::test {

inline std::vector<Nic> nics_of(const InstanceType& instance) {
  std::vector<Nic> nics;
  for (const auto& nic : instance.nics)
    nics.push_back({rdma_device_name(nic.pci) + "-rdm", nic.pci, uint64_t{1'000'000'000} * instance.nic_gbps,
                    true, "efa"});
  return nics;
}

/// "3": one process on NIC 3; "2x3": two consecutive ones; "2x0-3": two on each of NICs 0, 1, 2, 3.
inline std::string encode(const std::vector<size_t>& nics) {
  struct Run {
    size_t times, first, last;
  };
  std::vector<Run> runs;
  for (size_t nic : nics) {
    if (!runs.empty() && runs.back().last == nic)
      ++runs.back().times;
    else
      runs.push_back({1, nic, nic});
  }
  std::vector<Run> ranges;
  for (const Run& run : runs) {
    if (!ranges.empty() && ranges.back().times == run.times && ranges.back().last + 1 == run.first)
      ranges.back().last = run.last;
    else
      ranges.push_back(run);
  }
  std::string text;
  for (const auto& [times, first, last] : ranges) {
    if (!text.empty()) text += ' ';
    if (times > 1) text += std::to_string(times) + "x";
    text += std::to_string(first);
    if (last != first) text += "-" + std::to_string(last);
  }
  return text;
}

/// The processes of a job on one node of a given machine.
class Node {
 public:
  explicit Node(const char* type) : Node(*find_instance(type)) {}
  explicit Node(const InstanceType& type)
      : instance(type), topology(load_topology(to_hwloc_xml(type))), nics(nics_of(type)) {}

  int cores() const { return hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_CORE); }

  /// A process bound to cores [first, last).
  Node& bind(int first, int last) {
    BitmapPtr set(hwloc_bitmap_alloc());
    for (int core = first; core < last; ++core)
      hwloc_bitmap_or(set.get(), set.get(),
                      hwloc_get_obj_by_type(topology.get(), HWLOC_OBJ_CORE, core)->cpuset);
    bindings_.push_back(std::move(set));
    return *this;
  }
  /// A process bound to one hardware thread.
  Node& bind_thread(int thread) {
    bindings_.emplace_back(hwloc_bitmap_dup(
        hwloc_get_obj_by_type(topology.get(), HWLOC_OBJ_PU, static_cast<unsigned>(thread))->cpuset));
    return *this;
  }
  /// `processes` that fill the node, each with an equal part of the cores.
  Node& fill(int processes) {
    for (int rank = 0; rank < processes; ++rank)
      bind(rank * cores() / processes, (rank + 1) * cores() / processes);
    return *this;
  }
  Node& unbound(int processes) {
    for (int rank = 0; rank < processes; ++rank) bindings_.emplace_back(nullptr);
    return *this;
  }
  Node& clear() {
    bindings_.clear();
    return *this;
  }

  std::vector<NicChoice> choices(bool know_all) const {
    std::vector<hwloc_const_cpuset_t> all;
    for (const auto& binding : bindings_) all.push_back(binding.get());
    const NicAffinity affinity(topology.get(), nics, parameters);
    std::vector<NicChoice> chosen;
    for (size_t rank = 0; rank < all.size(); ++rank) {
      ProcessPlace place{all[rank], static_cast<int>(rank), static_cast<int>(all.size())};
      if (know_all) place.all_bindings = all;
      chosen.push_back(affinity.choose(place));
    }
    return chosen;
  }

  std::vector<size_t> first_rails(bool know_all) const {
    std::vector<size_t> rails;
    for (const auto& choice : choices(know_all)) {
      REQUIRE(choice.error == "");
      REQUIRE(!choice.rails.empty());
      rails.push_back(choice.rails.front().nic);
    }
    return rails;
  }

  /// Rail 0 of all processes if each knows only its own binding.
  std::string map() const { return encode(first_rails(false)); }
  /// The same if each knows all bindings.
  std::string map_knowing_all() const { return encode(first_rails(true)); }

  /// All rails of each process: "0,1 2,3".
  std::string rails() const {
    std::string text;
    for (const auto& choice : choices(false)) {
      if (!text.empty()) text += ' ';
      for (size_t i = 0; i < choice.rails.size(); ++i)
        text += (i ? "," : "") + std::to_string(choice.rails[i].nic);
    }
    return text;
  }

  hwloc_const_cpuset_t binding(size_t rank) const { return bindings_[rank].get(); }

  const InstanceType instance;
  TopologyPtr topology;
  std::vector<Nic> nics;
  NicParameters parameters;

 private:
  std::vector<BitmapPtr> bindings_;
};

/// The number of processes that use each NIC.
inline std::vector<int> load(const std::vector<size_t>& map, size_t nics) {
  std::vector<int> served(nics, 0);
  for (size_t nic : map) ++served[nic];
  return served;
}

}  // namespace efa::test

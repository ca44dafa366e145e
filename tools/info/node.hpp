// The node that the tool speaks about: this machine, or an instance type of the table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hwloc_handles.hpp"
#include "nic_filter.hpp"

namespace efa {

struct NodeNic {
  Nic nic;
  bool reads = false;      // RDMA read by the NIC itself
  bool writes = false;     // and RDMA write
  uint64_t endpoints = 0;  // that it can have; 0: unknown
  std::string trouble;     // why its endpoint could not be opened; empty: it could, or nobody tried
};

struct Node {
  std::string title;      // "this machine (host)", "p4d.24xlarge, as the instance table knows it"
  bool is_here = false;   // this machine
  std::string provider;   // whose NICs these are; empty: there is none
  std::string libfabric;  // version of the library, "" for another machine
  std::string versions;   // of the provider, and of the NICs' driver and firmware as far as libfabric tells
  TopologyPtr topology;   // null: hwloc failed
  std::vector<NodeNic> nics;

  std::vector<Nic> plain_nics() const {
    std::vector<Nic> plain;
    for (const auto& each : nics) plain.push_back(each.nic);
    return plain;
  }
};

// EFA's NICs, or where there are none what the component would use instead. Opens an endpoint on each NIC.
Node this_node();
// Nullopt: the table does not know it.
std::optional<Node> instance_node(const std::string& name);

}  // namespace efa

// The node that the tool describes: this machine, or an instance type of the table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "machine/hwloc_handles.hpp"
#include "machine/nic_filter.hpp"

namespace efa {

struct NodeNic {
  Nic nic;
  bool reads = false;      // RDMA read by the NIC itself
  bool writes = false;     // and RDMA write
  uint64_t endpoints = 0;  // maximum; 0: unknown
  std::string trouble;     // why its endpoint could not be opened; empty: it was opened, or not tried
};

struct Node {
  std::string title;      // "this machine (host)", "p4d.24xlarge, from the instance table"
  bool is_here = false;   // this machine
  std::string provider;   // whose NICs these are; empty: there is none
  std::string libfabric;  // version of the library, "" for another machine
  std::string versions;   // of the provider, and of the NICs' driver and firmware if libfabric reports them
  std::string path;       // that a job started now would take, and why; "" for another machine
  TopologyPtr topology;   // null: hwloc failed
  std::vector<NodeNic> nics;

  std::vector<Nic> plain_nics() const {
    std::vector<Nic> plain;
    for (const auto& each : nics) plain.push_back(each.nic);
    return plain;
  }
};

// The EFA NICs or, without any, what the component would use instead. Opens an endpoint on each NIC.
Node this_node();
// Nullopt: not in the table.
std::optional<Node> instance_node(const std::string& name);

}  // namespace efa

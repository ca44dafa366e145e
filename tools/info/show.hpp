// The output of the tool: text, and JSON for scripts.
#pragma once

#include <string>

#include "placement.hpp"
#include "preflight.hpp"

namespace efa {

// `fancy`: lines and colours for a terminal; otherwise plain ASCII.
void show_node(const Node& node, const Placement& placement, bool fancy);
void show_map(const Node& node, const Placement& placement);
void show_protocols();
void show_parameters();
void show_findings(const std::vector<Finding>& findings, bool fancy);

void show_node_json(const Node& node, const Placement& placement);
void show_protocols_json();
void show_parameters_json();
void show_findings_json(const std::vector<Finding>& findings);

// Parts of the text, for other outputs.
std::string headline(const Node& node);    // "2 packages, 2 NUMA nodes, 48 cores, 4 EFA NICs"
std::string device_of(const Nic& nic);     // "rdmap16s27": the domain's name without libfabric's suffix
std::string rate_of(const Nic& nic);       // "100 Gbit/s"
const char* rdma_of(const NodeNic& each);  // "RDMA read and write"

// "0-3,8": ascending numbers as ranges.
std::string ranges(const std::vector<size_t>& numbers);

}  // namespace efa

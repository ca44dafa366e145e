#pragma once

// A row of the instance table as an hwloc topology: packages, NUMA nodes, cores, and the NICs and
// accelerators on the PCI tree, as hwloc itself reports them on the real machine.

#include <string>

#include "machine/hwloc_handles.hpp"
#include "machine/instances.hpp"

namespace efa {

/// The machine in hwloc's XML format, version 2: for HWLOC_XMLFILE, `lstopo -i FILE` and load_topology().
/// Every NIC is a PCI device with an OpenFabrics OS device that has the name of rdma_device_name(). Caches
/// and memory sizes are omitted: the table does not have them, and nothing here depends on them.
std::string to_hwloc_xml(const InstanceType& instance);

/// Loads hwloc XML with I/O devices kept; nullptr if hwloc does not accept it. Throws nothing.
TopologyPtr load_topology(const std::string& hwloc_xml);

}  // namespace efa

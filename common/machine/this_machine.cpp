#include "machine/this_machine.hpp"

namespace efa {

TopologyPtr load_this_machine() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  TopologyPtr topology(raw);
  // Only what affinity needs, and quickly: no caches, and no OS devices, for which hwloc's plugins would
  // start OpenCL and ask an X server for GPUs. "Important" PCI devices are NICs, GPUs and disks.
  if (hwloc_topology_set_cache_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE) != 0 ||
      hwloc_topology_set_icache_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE) != 0 ||
      hwloc_topology_set_type_filter(raw, HWLOC_OBJ_PCI_DEVICE, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) != 0 ||
      hwloc_topology_set_type_filter(raw, HWLOC_OBJ_BRIDGE, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) != 0 ||
      hwloc_topology_load(raw) != 0)
    return nullptr;
  return topology;
}

BitmapPtr own_binding(hwloc_topology_t topology) {
  BitmapPtr binding(hwloc_bitmap_alloc());
  if (!binding || hwloc_get_cpubind(topology, binding.get(), HWLOC_CPUBIND_THREAD) != 0) return nullptr;
  return binding;
}

}  // namespace efa

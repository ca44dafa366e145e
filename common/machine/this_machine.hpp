#pragma once

#include "machine/hwloc_handles.hpp"

namespace efa {

/// The machine that this process runs on, with its PCI devices, as our own hwloc sees it (HWLOC_XMLFILE and
/// the like work). Open MPI has a topology too, but its hwloc may be another copy, built in and of another
/// version, so their objects must not be mixed. nullptr if hwloc fails. Takes tens of milliseconds on a large
/// machine.
TopologyPtr load_this_machine();

/// The cores to which the calling thread is bound; nullptr if hwloc cannot tell. Not those of the process, which hwloc takes
/// to be the cores of all its threads: UCX starts one that may run on all cores.
BitmapPtr own_binding(hwloc_topology_t topology);

}  // namespace efa

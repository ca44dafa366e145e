#pragma once

// The EC2 instance types with EFA that users run: their processors, NICs and accelerators, in one table.
//
// Three things are made from it: the hwloc topologies of the affinity tests (machine_topology.hpp), the
// profiles of the software EFA device (test/efasim), and docs/instances.md. The component itself does not
// consult it to choose a NIC: it asks libfabric and hwloc about the machine that it runs on.
//
// Many details of the machines are not documented. Every row has the source of each group of facts; kAssumed is a
// plausible layout that nobody has confirmed.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "machine/pci_address.hpp"

namespace efa {

/// Where a group of facts of a row is from. describe(source) has the address.
enum class InstanceSource : uint8_t {
  kEc2,       ///< EC2's DescribeInstanceTypes, as Karpenter's instance-types reference publishes it
  kEfaGuide,  ///< the EFA chapter of the EC2 user guide
  kOfiNccl,  ///< topology files of aws-ofi-nccl: recorded hwloc XML (p4d, p5en, p6), NCCL topology (p4de, g5)
  kFabtests,  ///< libfabric's fabtests, prov/efa
  kLog,       ///< output of lscpu, lstopo, fi_info, ibv_devinfo or nvidia-smi that users published
  kAssumed,   ///< not public
};
std::string_view name(InstanceSource source);      ///< one word, for a table's cell
std::string_view describe(InstanceSource source);  ///< a sentence with the address

enum class CpuVendor : uint8_t { kIntel, kAmd, kGraviton };

/// NUMA node of a device that the machine does not tell (sysfs numa_node -1), as all virtualized instances up
/// to the generation of g5 do except p4d: hwloc then puts the device below the whole machine.
inline constexpr int8_t kNoNuma = -1;

/// A NIC or an accelerator.
struct InstanceDevice {
  PciAddress pci;
  int8_t numa;        ///< index of the NUMA node (of the whole machine), or kNoNuma
  uint8_t pci_group;  ///< devices of one group share a PCIe switch, or a root bus where there is no switch
};

struct InstanceType {
  std::string_view name;
  CpuVendor cpu;

  uint16_t vcpus;
  uint8_t threads_per_core;
  uint8_t packages;
  uint8_t numa_nodes;         ///< of the whole machine, a multiple of `packages`
  InstanceSource cpu_source;  ///< of packages, NUMA nodes and threads; vCPUs are always kEc2

  std::span<const InstanceDevice> nics;  ///< the EFA NICs, in the order of their PCI addresses
  uint16_t nic_gbps;  ///< line rate of one of them, Gbit/s: the published total over their number
  uint16_t nic_part;  ///< PCI device number below vendor 0x1d0f: 0xefa0 (EFA v1) to 0xefa3 (EFA v4)
  InstanceSource nic_pci_source;
  InstanceSource nic_numa_source;

  bool rdma_read;  ///< these, and the generation of the NIC in nic_part, are always kEfaGuide
  bool rdma_write;

  std::string_view accelerator;  ///< model, "" if none
  std::span<const InstanceDevice> accelerators;
  InstanceSource accelerator_source;  ///< of addresses and NUMA nodes
  bool pcie_switches;                 ///< a pci_group is a PCIe switch (else a root bus)

  int cores() const { return vcpus / threads_per_core; }
  int total_gbps() const { return static_cast<int>(nics.size()) * nic_gbps; }
};

/// The whole table, grouped by family.
std::span<const InstanceType> instances();

/// nullptr if the table does not know it. Names are EC2's, for example "p4d.24xlarge".
const InstanceType* find_instance(std::string_view instance_name);

/// What the kernel calls the RDMA device at this address: "rdmap16s27" at 0000:10:1b.0. libfabric's domain is
/// this name and "-rdm".
std::string rdma_device_name(const PciAddress& pci);

}  // namespace efa

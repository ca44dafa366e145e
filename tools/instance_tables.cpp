// instance_tables                  the instance table as Markdown: docs/instances.md is its output
// instance_tables --list           the names of the instance types, one a line
// instance_tables --hwloc NAME     that machine as hwloc XML, for HWLOC_XMLFILE or lstopo -i
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "instances.hpp"
#include "machine_topology.hpp"

namespace {

const char* cpu_name(efa::CpuVendor cpu) {
  switch (cpu) {
    case efa::CpuVendor::kIntel:
      return "Intel";
    case efa::CpuVendor::kAmd:
      return "AMD";
    case efa::CpuVendor::kGraviton:
      return "Graviton";
  }
  return "?";
}

std::string numa_list(std::span<const efa::InstanceDevice> devices) {
  std::string text;
  int previous = -2;
  for (const auto& device : devices) {
    if (device.numa == previous) continue;
    previous = device.numa;
    text +=
        (text.empty() ? "" : ", ") + (device.numa < 0 ? std::string("unknown") : std::to_string(device.numa));
  }
  return text;
}

std::string source(efa::InstanceSource from) {
  return std::string(efa::name(from));
}

constexpr const char* kIntroduction =
    R"(# EFA instance types

<!-- Made by tools/instance_tables.cpp from common/instances.cpp; change the table there. -->

One table serves the affinity tests, the profiles of the software EFA device and this page. The component does not
consult it at run time: it asks libfabric and hwloc. The number of vCPUs, of NICs and their rate are EC2's own; the
generation of the NIC and its RDMA capabilities are from the EFA guide; for every other group of facts the table says
its source, and `assumed` means a plausible layout that nobody has confirmed.

`instance_tables --hwloc NAME` prints a row as an hwloc topology:

    instance_tables --hwloc p4d.24xlarge >p4d.xml
    lstopo-no-graphics -i p4d.xml

## Processors and network

| Type | CPU | vCPUs | Cores | Packages | NUMA nodes | Source | EFA | NICs | Gbit/s each | Gbit/s | RDMA read | RDMA write |
|---|---|---:|---:|---:|---:|---|---|---:|---:|---:|---|---|
)";

constexpr const char* kPlaces =
    R"(
## Where the NICs and accelerators are

NUMA node *unknown*: the machine does not tell (sysfs says -1), so hwloc shows the NIC below the whole machine, equally
near to every core. A PCI group is a PCIe switch or, before p5, a root bus.

| Type | First NIC | Source | NUMA nodes of NICs | Source | NICs per PCI group | Accelerators | NUMA nodes | Source |
|---|---|---|---|---|---:|---|---|---|
)";

void print_network(const efa::InstanceType& row) {
  std::printf("| %s | %s | %d | %d | %d | %d | %s | v%d | %zu | %d | %d | %s | %s |\n", row.name.data(),
              cpu_name(row.cpu), row.vcpus, row.cores(), row.packages, row.numa_nodes,
              source(row.cpu_source).c_str(), row.nic_part - 0xefa0 + 1, row.nics.size(), row.nic_gbps,
              row.total_gbps(), row.rdma_read ? "yes" : "no", row.rdma_write ? "yes" : "no");
}

void print_places(const efa::InstanceType& row) {
  const efa::PciAddress& first = row.nics.front().pci;
  size_t groups = 0;
  for (const auto& nic : row.nics) groups = std::max<size_t>(groups, nic.pci_group + 1u);
  std::printf("| %s | %s (%s) | %s | %s | %s | %zu |", row.name.data(), efa::rdma_device_name(first).c_str(),
              efa::to_string(first).c_str(), source(row.nic_pci_source).c_str(), numa_list(row.nics).c_str(),
              source(row.nic_numa_source).c_str(), row.nics.size() / groups);
  if (row.accelerators.empty())
    std::puts(" - | - | - |");
  else
    std::printf(" %zu %s | %s | %s |\n", row.accelerators.size(), row.accelerator.data(),
                numa_list(row.accelerators).c_str(), source(row.accelerator_source).c_str());
}

void print_markdown() {
  std::fputs(kIntroduction, stdout);
  for (const auto& row : efa::instances()) print_network(row);
  std::fputs(kPlaces, stdout);
  for (const auto& row : efa::instances()) print_places(row);
  std::puts("\n## Sources\n\n| Word | Meaning |\n|---|---|");
  using Source = efa::InstanceSource;
  for (Source from :
       {Source::kEc2, Source::kEfaGuide, Source::kOfiNccl, Source::kFabtests, Source::kLog, Source::kAssumed})
    std::printf("| %s | %s |\n", efa::name(from).data(), efa::describe(from).data());
}

int usage() {
  std::fputs(
      "usage: instance_tables                the instance table as Markdown\n"
      "       instance_tables --list         the names of the instance types\n"
      "       instance_tables --hwloc NAME   the machine as hwloc XML\n",
      stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) {
    print_markdown();
    return 0;
  }
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const auto& row : efa::instances()) std::puts(row.name.data());
    return 0;
  }
  if (argc != 3 || std::strcmp(argv[1], "--hwloc") != 0) return usage();
  const auto* instance = efa::find_instance(argv[2]);
  if (!instance) {
    std::fprintf(
        stderr,
        "instance_tables: unknown instance type '%s'; `instance_tables --list` shows the known ones\n",
        argv[2]);
    return 1;
  }
  std::fputs(efa::to_hwloc_xml(*instance).c_str(), stdout);
  return 0;
}

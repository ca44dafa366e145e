// The table of instance types, and the hwloc topologies that are made from it.
#include "machine/instances.hpp"

#include <algorithm>
#include <set>
#include <string>

#include "catch.hpp"
#include "machine/machine_topology.hpp"

using namespace efa;

namespace {

int count(hwloc_topology_t topology, hwloc_obj_type_t type) {
  return hwloc_get_nbobjs_by_type(topology, type);
}

hwloc_obj_t find_pci(hwloc_topology_t topology, const PciAddress& pci) {
  return hwloc_get_pcidev_by_busid(topology, pci.domain, pci.bus, pci.device, pci.function);
}

}  // namespace

TEST_CASE("The published figures of well-known instance types", "[instances]") {
  struct Figures {
    const char* name;
    int vcpus, cores, packages, numa_nodes, nics, gbps;
    bool rdma_read, rdma_write;
  };
  // clang-format off
  const Figures known[] = {
      {"c5n.18xlarge",      72,  36, 2, 2,  1,  100, false, false},
      {"c5n.metal",         72,  36, 2, 2,  1,  100, false, false},
      {"g4dn.metal",        96,  48, 2, 2,  1,  100, false, false},
      {"i3en.24xlarge",     96,  48, 2, 2,  1,  100, false, false},
      {"i3en.metal",        96,  48, 2, 2,  1,  100, false, false},
      {"inf1.24xlarge",     96,  48, 2, 2,  1,  100, false, false},
      {"m5dn.24xlarge",     96,  48, 2, 2,  1,  100, false, false},
      {"m5n.24xlarge",      96,  48, 2, 2,  1,  100, false, false},
      {"p3dn.24xlarge",     96,  48, 2, 2,  1,  100, false, false},
      {"r5dn.24xlarge",     96,  48, 2, 2,  1,  100, false, false},
      {"r5n.24xlarge",      96,  48, 2, 2,  1,  100, false, false},
      {"c6gn.16xlarge",     64,  64, 1, 1,  1,  100, true, true},
      {"c6i.32xlarge",     128,  64, 2, 2,  1,   50, true, true},
      {"c6in.32xlarge",    128,  64, 2, 2,  2,  200, true, true},
      {"c7gn.16xlarge",     64,  64, 1, 1,  1,  200, true, false},
      {"hpc6a.48xlarge",    96,  96, 2, 4,  1,  100, true, true},
      {"hpc6id.32xlarge",   64,  64, 2, 2,  2,  200, true, true},
      {"hpc7a.96xlarge",   192, 192, 2, 4,  2,  300, true, true},
      {"hpc7g.16xlarge",    64,  64, 1, 1,  1,  200, true, false},
      {"hpc8a.96xlarge",   192, 192, 2, 2,  2,  300, true, true},
      {"p4d.24xlarge",      96,  48, 2, 2,  4,  400, true, false},
      {"p4de.24xlarge",     96,  48, 2, 2,  4,  400, true, false},
      {"p5.48xlarge",      192,  96, 2, 2, 32, 3200, true, true},
      {"p5e.48xlarge",     192,  96, 2, 2, 32, 3200, true, true},
      {"p5en.48xlarge",    192,  96, 2, 2, 16, 3200, true, true},
      {"p6-b200.48xlarge", 192,  96, 2, 2,  8, 3200, true, true},
      {"p6-b300.48xlarge", 192,  96, 2, 2, 16, 6400, true, true},
      {"trn1.32xlarge",    128,  64, 2, 2,  8,  800, true, true},
      {"trn1n.32xlarge",   128,  64, 2, 2, 16, 1600, true, true},
      {"trn2.48xlarge",    192,  96, 2, 2, 16, 3200, true, true},
  };
  // clang-format on
  for (const auto& figures : known) {
    INFO(figures.name);
    const auto* row = find_instance(figures.name);
    REQUIRE(row);
    CHECK(row->vcpus == figures.vcpus);
    CHECK(row->cores() == figures.cores);
    CHECK(row->packages == figures.packages);
    CHECK(row->numa_nodes == figures.numa_nodes);
    CHECK(row->nics.size() == static_cast<size_t>(figures.nics));
    CHECK(row->total_gbps() == figures.gbps);
    CHECK(row->rdma_read == figures.rdma_read);
    CHECK(row->rdma_write == figures.rdma_write);
  }
}

TEST_CASE("An unknown instance type is not found", "[instances]") {
  CHECK(find_instance("p4d.25xlarge") == nullptr);
  CHECK(find_instance("p4d") == nullptr);
  CHECK(find_instance("") == nullptr);
}

TEST_CASE("The addresses and names of recorded machines", "[instances]") {
  const auto names = [](const char* type) {
    std::string all;
    for (const auto& nic : find_instance(type)->nics)
      all += rdma_device_name(nic.pci) + "@" + std::to_string(nic.numa) + " ";
    return all;
  };
  CHECK(names("p4d.24xlarge") == "rdmap16s27@0 rdmap32s27@0 rdmap144s27@1 rdmap160s27@1 ");
  CHECK(
      names("p6-b200.48xlarge") ==
      "rdmap79s0@0 rdmap80s0@0 rdmap96s0@0 rdmap97s0@0 rdmap113s0@1 rdmap114s0@1 rdmap132s0@1 rdmap133s0@1 ");
  CHECK(names("p5en.48xlarge") ==
        "rdmap85s0@0 rdmap86s0@0 rdmap87s0@0 rdmap88s0@0 rdmap110s0@0 rdmap111s0@0 rdmap112s0@0 rdmap113s0@0 "
        "rdmap135s0@1 rdmap136s0@1 rdmap137s0@1 rdmap138s0@1 rdmap160s0@1 rdmap161s0@1 rdmap162s0@1 "
        "rdmap163s0@1 ");
  CHECK(names("g5.48xlarge") == "rdmap0s21@-1 ");

  CHECK(to_string(find_instance("p5.48xlarge")->nics[31].pci) == "0000:c9:00.0");
  CHECK(to_string(find_instance("p5.48xlarge")->accelerators[7].pci) == "0000:ca:00.0");
  CHECK(to_string(find_instance("p6-b200.48xlarge")->accelerators[4].pci) == "0000:75:00.0");
  CHECK(to_string(find_instance("p6-b300.48xlarge")->accelerators[7].pci) == "0000:c1:00.0");
}

TEST_CASE("RDMA devices are named after their PCI address", "[instances]") {
  CHECK(rdma_device_name({0, 0, 6, 0}) == "rdmap0s6");
  CHECK(rdma_device_name({0, 0x10, 0x1b, 0}) == "rdmap16s27");
  CHECK(rdma_device_name({1, 0x10, 0, 2}) == "rdmaP1p16s0f2");
}

TEST_CASE("Every row of the table is consistent", "[instances]") {
  std::set<std::string_view> names;
  for (const auto& row : instances()) {
    INFO(row.name);
    CHECK(names.insert(row.name).second);
    CHECK(row.vcpus % row.threads_per_core == 0);
    CHECK(row.numa_nodes % row.packages == 0);
    CHECK(row.cores() % row.numa_nodes == 0);
    REQUIRE(!row.nics.empty());
    CHECK(row.accelerator.empty() == row.accelerators.empty());
    CHECK(std::ranges::is_sorted(row.nics, {}, &InstanceDevice::pci));

    std::set<PciAddress> addresses;
    for (const auto* devices : {&row.nics, &row.accelerators})
      for (const auto& device : *devices) {
        CHECK(addresses.insert(device.pci).second);
        CHECK(device.numa >= kNoNuma);
        CHECK(device.numa < row.numa_nodes);
      }
  }
  CHECK(names.size() >= 50);
}

// Pushed data uses rail 0 only (docs/protocols.md, "Rendezvous, push"). A type that fails this test would gain from more.
TEST_CASE("Every instance type with several NICs has RDMA read", "[instances]") {
  for (const auto& row : instances()) {
    INFO(row.name);
    CHECK((row.nics.size() == 1 || row.rdma_read));
  }
}

TEST_CASE("The hwloc topology of every row has its cores, and its NICs at their PCI addresses",
          "[instances]") {
  for (const auto& row : instances()) {
    INFO(row.name);
    const auto topology = load_topology(to_hwloc_xml(row));
    REQUIRE(topology);
    CHECK(count(topology.get(), HWLOC_OBJ_PU) == row.vcpus);
    CHECK(count(topology.get(), HWLOC_OBJ_CORE) == row.cores());
    CHECK(count(topology.get(), HWLOC_OBJ_PACKAGE) == row.packages);
    CHECK(count(topology.get(), HWLOC_OBJ_NUMANODE) == row.numa_nodes);
    CHECK(count(topology.get(), HWLOC_OBJ_PCI_DEVICE) ==
          static_cast<int>(row.nics.size() + row.accelerators.size()));
    CHECK(std::string(hwloc_obj_get_info_by_name(hwloc_get_root_obj(topology.get()), "DMIProductName")) ==
          row.name);

    for (const auto* devices : {&row.nics, &row.accelerators})
      for (const auto& device : *devices) {
        INFO(to_string(device.pci));
        const auto object = find_pci(topology.get(), device.pci);
        REQUIRE(object);
        const auto home = hwloc_get_non_io_ancestor_obj(topology.get(), object);
        if (device.numa == kNoNuma || row.numa_nodes == 1) {
          CHECK(hwloc_bitmap_isequal(home->cpuset, hwloc_get_root_obj(topology.get())->cpuset));
        } else {
          REQUIRE(hwloc_bitmap_weight(home->nodeset) == 1);
          CHECK(hwloc_bitmap_first(home->nodeset) == device.numa);
        }
        if (devices == &row.accelerators) continue;
        const auto rdma = object->io_first_child;
        REQUIRE(rdma);
        CHECK(rdma->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS);
        CHECK(rdma->name == rdma_device_name(device.pci));
      }
  }
}

TEST_CASE("Threads of a core are numbered as on EC2: first threads of all cores first", "[instances]") {
  const auto topology = load_topology(to_hwloc_xml(*find_instance("p4d.24xlarge")));
  REQUIRE(topology);
  const auto core = hwloc_get_obj_by_type(topology.get(), HWLOC_OBJ_CORE, 24);  // the first of package 1
  CHECK(hwloc_bitmap_first(core->cpuset) == 24);
  CHECK(hwloc_bitmap_last(core->cpuset) == 72);
}

TEST_CASE("A NIC and the GPUs of its PCI group share a switch, or a root bus if there is no switch",
          "[instances]") {
  const auto common_bridge = [](const char* type, size_t nic, size_t gpu) {
    const auto* row = find_instance(type);
    const auto topology = load_topology(to_hwloc_xml(*row));
    const auto a = find_pci(topology.get(), row->nics[nic].pci);
    const auto b = find_pci(topology.get(), row->accelerators[gpu].pci);
    const auto common = hwloc_get_common_ancestor_obj(topology.get(), a, b);
    if (common->type != HWLOC_OBJ_BRIDGE) return "none";
    return common->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_PCI ? "switch" : "root bus";
  };
  CHECK(common_bridge("p4d.24xlarge", 0, 1) == std::string("root bus"));
  CHECK(common_bridge("p4d.24xlarge", 0, 2) == std::string("none"));
  CHECK(common_bridge("p5.48xlarge", 3, 0) == std::string("switch"));
  CHECK(common_bridge("p5.48xlarge", 4, 0) == std::string("none"));
  CHECK(common_bridge("p5en.48xlarge", 3, 1) == std::string("switch"));
}

TEST_CASE("Text that is not an hwloc topology is refused", "[instances]") {
  CHECK(load_topology("<topology") == nullptr);
}

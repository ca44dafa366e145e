// NIC affinity: parameters, and machines with NICs, cores or topology missing.
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <latch>
#include <string>
#include <thread>

#include "affinity_node.hpp"
#include "machine/this_machine.hpp"

using namespace efa;
using namespace efa::test;

TEST_CASE("A binding to all cores counts as unbound; a binding to cores that do not exist is ignored",
          "[affinity]") {
  Node node("p4d.24xlarge");
  for (int rank = 0; rank < 4; ++rank) node.bind(0, 48);
  CHECK(node.map() == "0-3");
  CHECK(node.choices(false)[0].hint != "");
  BitmapPtr elsewhere(hwloc_bitmap_alloc());
  hwloc_bitmap_set(elsewhere.get(), 4000);
  const NicAffinity affinity(node.topology.get(), node.nics, {});
  CHECK(affinity.choose({elsewhere.get(), 3, 4}).rails[0].nic == 3);
}

TEST_CASE("Policies", "[affinity]") {
  Node node("p4d.24xlarge");
  SECTION("spread: the same number on each NIC, whatever the distance") {
    node.parameters.policy = NicPolicy::kSpread;
    for (int rank = 0; rank < 8; ++rank) node.bind(rank, rank + 1);  // all on the first socket
    CHECK(node.map() == "2x0-3");
    CHECK(node.map_knowing_all() == "2x0-3");
    CHECK(node.clear().fill(48).map() == "12x0-3");

    node.clear();  // a full node, alternately on both sockets: balance needs no far NIC
    for (int rank = 0; rank < 8; ++rank) {
      const int core = rank % 2 * 24 + rank / 2 * 6;
      node.bind(core, core + 6);
    }
    CHECK(node.map() == "0 2 0 2 1 3 1 3");
  }
  SECTION("one: all processes on the first NIC") {
    node.parameters.policy = NicPolicy::kOne;
    CHECK(node.fill(48).map() == "48x0");
    CHECK(node.clear().unbound(3).map() == "3x0");
  }
  SECTION("their names") {
    CHECK(parse_nic_policy("near") == NicPolicy::kNear);
    CHECK(parse_nic_policy("spread") == NicPolicy::kSpread);
    CHECK(parse_nic_policy("one") == NicPolicy::kOne);
    CHECK(!parse_nic_policy("Near"));
    CHECK(!parse_nic_policy(""));
  }
}

TEST_CASE("Explicit NICs", "[affinity]") {
  Node node("p4d.24xlarge");
  node.fill(4);
  SECTION("one NIC for all processes") {
    node.parameters.nics = "rdmap144s27";
    CHECK(node.map() == "4x2");
  }
  SECTION("a list of rails, by domain, PCI address and pattern, without duplicates") {
    node.parameters.nics = "rdmap160s27-rdm, 0000:20:1b.0, 10:1b.*, rdmap*";
    CHECK(node.rails() == "3,1,0,2 3,1,0,2 3,1,0,2 3,1,0,2");
    CHECK(node.choices(false)[3].rails[0].nearness == Nearness::kNumaNode);
    CHECK(node.choices(false)[3].rails[1].nearness == Nearness::kOtherPackage);
  }
  SECTION("one list per process, by local rank") {
    node.parameters.nics = "rdmap160s27;rdmap16s27,rdmap32s27";
    CHECK(node.rails() == "3 0,1 3 0,1");
  }
  SECTION("they override policy, rails, include and exclude") {
    node.parameters = {NicPolicy::kOne, {"", "rdmap16s27", "rdmap32s27", true}, "rdmap32s27", 3};
    CHECK(node.rails() == "1 1 1 1");
  }
  SECTION("an unknown name is an error that lists the NICs") {
    node.parameters.nics = "rdmap16s27,rdmap17s27";
    const auto choice = node.choices(false)[0];
    CHECK(choice.rails.empty());
    CHECK(choice.error ==
          "The explicit list of NICs names 'rdmap17s27', which cannot be used: there is no such NIC. Usable "
          "NICs: "
          "rdmap16s27-rdm, rdmap32s27-rdm, rdmap144s27-rdm, rdmap160s27-rdm.");
  }
  SECTION("a NIC whose link is down is an error") {
    node.nics[1].link_up = false;
    node.parameters.nics = "rdmap32s27";
    CHECK(
        node.choices(false)[0].error ==
        "The explicit list of NICs names 'rdmap32s27', which cannot be used: its link is down. Usable NICs: "
        "rdmap16s27-rdm, rdmap144s27-rdm, rdmap160s27-rdm.");
  }
  SECTION("a list without names is an error") {
    node.parameters.nics = " ; ,";
    const auto choices = node.choices(false);
    CHECK(choices[0].error == "The explicit list of NICs, ' ; ,', is empty.");
    CHECK(choices[0].rails.empty());
  }
}

TEST_CASE("Include and exclude lists", "[affinity]") {
  Node node("p4d.24xlarge");
  node.fill(48);
  SECTION("include: the map is balanced over the included NICs") {
    node.parameters.filter.include = "rdmap16s27,rdmap160*";
    CHECK(node.map() == "24x0 24x3");
  }
  SECTION("exclude has precedence") {
    node.parameters.filter = {"", "rdmap1*", "*:90:1b.0,rdmap160s27", true};
    CHECK(node.map() == "48x0");
  }
  SECTION("no NIC left: the error names every NIC with the reason") {
    node.parameters.filter = {"", "mlx5_*", "", true};
    const auto choice = node.choices(false)[7];
    CHECK(choice.rails.empty());
    CHECK(choice.error ==
          "None of the NICs that libfabric offers on this node can be used: rdmap16s27-rdm: the include list "
          "does "
          "not name it. rdmap32s27-rdm: the include list does not name it. rdmap144s27-rdm: the include list "
          "does "
          "not name it. rdmap160s27-rdm: the include list does not name it.");
  }
}

TEST_CASE("Names and patterns that match a NIC", "[affinity]") {
  const Nic nic{"rdmap16s27-rdm", PciAddress{0, 0x10, 0x1b, 0}, 0, true, "efa"};
  for (const char* pattern : {"rdmap16s27-rdm", "rdmap16s27", "rdmap*", "0000:10:1b.0", "10:1b.0", "10:*"})
    CHECK(matches(nic, pattern));
  for (const char* pattern : {"rdmap16s2", "rdmap16s27-dgrm", "0001:10:1b.0", "10:1b", "", "efa"})
    CHECK(!matches(nic, pattern));

  const Nic second_segment{"rdmaP1p16s27-rdm", PciAddress{1, 0x10, 0x1b, 0}, 0, true, "efa"};
  CHECK(matches(second_segment, "0001:10:1b.0"));
  CHECK(!matches(second_segment, "10:1b.0"));
  CHECK(!matches(Nic{"eth0", std::nullopt, 0, true, "tcp"}, "10:1b.0"));
}

TEST_CASE("No NIC at all is an error", "[affinity]") {
  Node node("p4d.24xlarge");
  node.nics.clear();
  CHECK(node.fill(1).choices(false)[0].error == "libfabric offers no NIC on this node.");
}

TEST_CASE("NICs whose link is down, duplicates and other providers are skipped", "[affinity]") {
  // What libfabric shows on a p6-b200: two ConnectX-7 bridges of the NVLink switches before the EFA NICs,
  // every EFA NIC once per fabric (efa-direct and efa), and software providers.
  Node node("p6-b200.48xlarge");
  const auto efa_nics = node.nics;
  std::vector<Nic> offered{{"mlx5_0", PciAddress{0, 0x73, 0, 0}, 0, true, "verbs;ofi_rxm"},
                           {"mlx5_1", PciAddress{0, 0x74, 0, 0}, 0, true, "verbs;ofi_rxm"}};
  offered.insert(offered.end(), efa_nics.begin(), efa_nics.end());
  for (Nic nic : efa_nics) {
    nic.name =
        "efa_" + std::to_string(nic.pci->bus);  // the naming of older rdma-core: the PCI address decides
    offered.push_back(nic);
  }
  offered.push_back({"eth0", std::nullopt, 0, true, "tcp;ofi_rxm"});
  node.nics = offered;

  CHECK(node.fill(96).map() == "12x2-9");
  CHECK(node.map_knowing_all() == "12x2-9");
  const NicAffinity affinity(node.topology.get(), node.nics, {});
  REQUIRE(affinity.skipped().size() == 11);
  CHECK(affinity.skipped()[0].why == "it belongs to provider verbs;ofi_rxm, not efa");
  CHECK(affinity.skipped()[2].why == "it is listed twice");

  SECTION("a link down in each half of the machine: the other NICs share the processes") {
    node.nics[2].link_up = node.nics[10].link_up = false;  // rdmap79s0, in both lists
    node.nics[9].link_up = node.nics[17].link_up = false;  // rdmap133s0
    CHECK(node.map() == "16x3-8");
  }
  SECTION("a link down in one half only: balance has precedence over distance") {
    node.nics[2].link_up = node.nics[10].link_up = false;
    const auto map = node.first_rails(false);
    const auto served = load(map, node.nics.size());
    CHECK(std::vector<int>(served.begin() + 2, served.begin() + 10) ==
          std::vector<int>{0, 14, 14, 14, 13, 14, 14, 13});
    CHECK(node.first_rails(true) == map);
  }
  SECTION("another provider on request") {
    node.parameters.filter.provider = "tcp;ofi_rxm";
    CHECK(node.map() == "96x18");
  }
  SECTION("without EFA NICs the first NIC's provider is used") {
    node.nics = {{"eth0", std::nullopt, 0, true, "tcp;ofi_rxm"}, {"shm", std::nullopt, 0, true, "shm"}};
    CHECK(node.map() == "96x0");
  }
}

TEST_CASE("A much slower NIC is skipped unless it is named", "[affinity]") {
  Node node("p4d.24xlarge");
  node.fill(4);
  node.nics[1].bits_per_second = 25'000'000'000;
  CHECK(node.map() == "2x0 2-3");
  node.nics[1].bits_per_second = 50'000'000'000;
  CHECK(node.map() == "0-3");
  node.nics[1].bits_per_second = 0;  // unknown
  CHECK(node.map() == "0-3");
  node.nics[1].bits_per_second = 1;
  node.parameters.nics = "rdmap32s27";
  CHECK(node.map() == "4x1");
}

TEST_CASE("On an instance launched with some of its NICs, the map is balanced", "[affinity]") {
  Node node("p4d.24xlarge");
  node.nics.pop_back();  // three of four
  const auto map = node.fill(48).first_rails(false);
  CHECK(encode(map) == "16x0-2");
  CHECK(node.map_knowing_all() == "16x0-2");
  node.nics.resize(2);  // both on the first socket
  CHECK(node.map() == "24x0-1");
}

TEST_CASE("NICs that hwloc does not know", "[affinity]") {
  SECTION("one of four: used as much as the others") {
    Node node("p4d.24xlarge");
    node.nics[1].pci.reset();
    CHECK(load(node.fill(48).first_rails(false), 4) == std::vector<int>{12, 12, 12, 12});
    CHECK(load(node.first_rails(true), 4) == std::vector<int>{12, 12, 12, 12});
  }
  SECTION("one of three; the other two are on different sockets") {
    Node node("p4d.24xlarge");
    node.nics.pop_back();
    node.nics[1].pci.reset();
    CHECK(load(node.fill(48).first_rails(false), 3) == std::vector<int>{16, 16, 16});
  }
  SECTION("the only NIC, which belongs to the whole machine") {
    Node node("g5.48xlarge");
    CHECK(node.fill(96).map() == "96x0");
    CHECK(node.choices(false)[0].rails[0].nearness == Nearness::kUnknown);
  }
  SECTION("an address that is not in the topology") {
    Node node("p4d.24xlarge");
    node.nics[2].pci = PciAddress{7, 1, 2, 3};
    CHECK(load(node.fill(48).first_rails(false), 4) == std::vector<int>{12, 12, 12, 12});
  }
  SECTION("all of them, as in a container without PCI in sysfs: round robin") {
    Node node("p4d.24xlarge");
    for (auto& nic : node.nics) nic.pci.reset();
    CHECK(load(node.fill(48).first_rails(false), 4) == std::vector<int>{12, 12, 12, 12});
    CHECK(node.choices(false)[0].rails[0].nearness == Nearness::kUnknown);
    CHECK(node.clear().unbound(4).choices(false)[0].hint == "");  // binding would not help
  }
}

TEST_CASE("A cgroup or container that hides cores", "[affinity]") {
  const auto confine = [](Node& node, const char* cpus) {
    std::string xml = to_hwloc_xml(node.instance);
    const std::string key = "allowed_cpuset=\"";
    const size_t begin = xml.find(key) + key.size();
    xml.replace(begin, xml.find('"', begin) - begin, cpus);
    node.topology = load_topology(xml);
    REQUIRE(node.topology);
  };
  SECTION("only cores of the second socket: they use its NICs, bound or not") {
    Node node("p4d.24xlarge");
    confine(node, "0xffffff00,0x0000ffff,0xff000000");
    REQUIRE(node.cores() == 24);
    CHECK(node.fill(24).map() == "12x2-3");
    CHECK(node.map_knowing_all() == "12x2-3");
    CHECK(node.clear().unbound(24).map() == "12x2-3");
  }
  SECTION("half of each socket: as on the whole machine") {
    Node node("p4d.24xlarge");
    confine(node, "0x000fff00,0x0fff000f,0xff000fff");  // cores 0-11 and 24-35, both threads
    REQUIRE(node.cores() == 24);
    CHECK(node.fill(24).map() == "6x0-3");
  }
  SECTION("twelve cores of one socket and four of the other: balanced, and near where balance allows it") {
    Node node("p4d.24xlarge");
    confine(node, "0x00000000,0x00000000,0x0f000fff");  // one thread of each
    REQUIRE(node.cores() == 16);
    CHECK(node.fill(16).map() == "4x0-3");
    CHECK(node.map_knowing_all() == "4x0-3");
  }
}

TEST_CASE("Ranks out of range are taken as the nearest in range", "[affinity]") {
  Node node("p4d.24xlarge");
  const NicAffinity affinity(node.topology.get(), node.nics, {});
  CHECK(affinity.choose({nullptr, -1, 4}).rails[0].nic == 0);
  CHECK(affinity.choose({nullptr, 9, 4}).rails[0].nic == 3);
  CHECK(affinity.choose({nullptr, 0, 0}).rails[0].nic == 0);
}

TEST_CASE("A topology without I/O devices", "[affinity]") {
  hwloc_topology_t raw = nullptr;
  REQUIRE(hwloc_topology_init(&raw) == 0);
  const TopologyPtr topology(raw);
  REQUIRE(hwloc_topology_set_synthetic(raw, "pack:2 numa:1 core:4 pu:2") == 0);
  REQUIRE(hwloc_topology_load(raw) == 0);
  const NicAffinity affinity(raw, nics_of(*find_instance("p4d.24xlarge")), {});
  std::vector<size_t> map;
  for (int rank = 0; rank < 8; ++rank) {
    const auto core = hwloc_get_obj_by_type(raw, HWLOC_OBJ_CORE, static_cast<unsigned>(rank));
    map.push_back(affinity.choose({core->cpuset, rank, 8}).rails[0].nic);
  }
  CHECK(encode(map) == "2x0-3");
}

TEST_CASE("The order in which libfabric lists the NICs does not matter", "[affinity]") {
  Node node("p5.48xlarge");
  std::ranges::reverse(node.nics);
  node.fill(8);
  std::string names;
  for (size_t nic : node.first_rails(false)) names += node.nics[nic].name + " ";
  CHECK(names ==
        "rdmap79s0-rdm rdmap96s0-rdm rdmap113s0-rdm rdmap130s0-rdm rdmap147s0-rdm rdmap164s0-rdm "
        "rdmap181s0-rdm rdmap198s0-rdm ");
}

TEST_CASE("Unbound processes get one hint, if binding would help", "[affinity]") {
  Node node("p4d.24xlarge");
  CHECK(
      node.unbound(4).choices(false)[1].hint ==
      "Processes are not bound to cores, so the NIC of each is chosen by its local rank and may be far away. "
      "Bind them to cores (mpirun --bind-to core, srun --cpu-bind=cores) to use NICs of the same NUMA node.");
  CHECK(node.clear().fill(4).choices(false)[1].hint == "");
  Node single("c6i.32xlarge");
  CHECK(single.unbound(2).choices(false)[1].hint == "");
}

TEST_CASE("The reason says how rail 0 was chosen", "[affinity]") {
  Node node("p4d.24xlarge");
  CHECK(node.fill(48).choices(false)[13].reason ==
        "process 14 of 24 nearest to rdmap16s27-rdm, rdmap32s27-rdm");
  node.clear().bind(25, 26);
  CHECK(node.choices(false)[0].reason == "place 2 nearest to rdmap144s27-rdm, rdmap160s27-rdm");
  node.clear().unbound(3);
  CHECK(node.choices(false)[2].reason ==
        "process 3 of 3 on the node, over rdmap16s27-rdm, rdmap32s27-rdm, rdmap144s27-rdm, rdmap160s27-rdm "
        "(not bound to cores)");
}

TEST_CASE("This machine's topology and this process's binding", "[affinity]") {
  const auto machine = load_this_machine();
  REQUIRE(machine);
  const auto binding = own_binding(machine.get());
  REQUIRE(binding);
  CHECK(hwloc_bitmap_weight(binding.get()) >= 1);
  CHECK(hwloc_bitmap_isincluded(binding.get(), hwloc_topology_get_complete_cpuset(machine.get())));

  SECTION(
      "the binding is that of the calling thread: libraries (UCX) start threads that bind themselves "
      "elsewhere") {
    cpu_set_t before, one, other;
    REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
    if (CPU_COUNT(&before) < 2) return;
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before)) ++cpu;
    other = before;
    CPU_CLR(cpu, &other);
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    std::latch bound(1), seen(1);
    std::jthread thread([&] {
      sched_setaffinity(0, sizeof other, &other);
      bound.count_down();
      seen.wait();
    });
    bound.wait();
    const auto mine = own_binding(machine.get());
    seen.count_down();
    sched_setaffinity(0, sizeof before, &before);
    REQUIRE(mine);
    CHECK(hwloc_bitmap_weight(mine.get()) == 1);
    CHECK(hwloc_bitmap_isset(mine.get(), static_cast<unsigned>(cpu)));
  }

  SECTION("the topology of another machine from HWLOC_XMLFILE") {
    const std::string path = "affinity_test." + std::to_string(getpid()) + ".xml";
    std::ofstream(path) << to_hwloc_xml(*find_instance("p4d.24xlarge"));
    REQUIRE(setenv("HWLOC_XMLFILE", path.c_str(), 1) == 0);
    const auto p4d = load_this_machine();
    unsetenv("HWLOC_XMLFILE");
    std::remove(path.c_str());
    REQUIRE(p4d);
    const NicAffinity affinity(p4d.get(), nics_of(*find_instance("p4d.24xlarge")), {});
    const auto core = hwloc_get_obj_by_type(p4d.get(), HWLOC_OBJ_CORE, 30);
    const auto choice = affinity.choose({core->cpuset, 0, 1});
    CHECK(choice.rails[0].nearness == Nearness::kNumaNode);
    CHECK(choice.rails[0].nic == 2);
  }
}

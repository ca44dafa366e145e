// Which NIC each process uses on a healthy node: literal maps of full nodes for every instance type, of partial jobs, and
// of several rails.
#include "affinity_node.hpp"

using namespace efa;
using namespace efa::test;

namespace {

/// Whether no NIC is nearer to the binding than this one, by the instance table, without hwloc.
bool is_nearest(const Node& node, hwloc_const_cpuset_t binding, size_t chosen) {
  BitmapPtr numa_nodes(hwloc_bitmap_alloc());
  hwloc_cpuset_to_nodeset(node.topology.get(), binding, numa_nodes.get());
  const int numa = hwloc_bitmap_first(numa_nodes.get());
  const int per_package = node.instance.numa_nodes / node.instance.packages;
  const auto distance = [&](const InstanceDevice& nic) {
    if (nic.numa == kNoNuma) return 1;
    return nic.numa == numa ? 0 : nic.numa / per_package == numa / per_package ? 1 : 2;
  };
  const int own = distance(node.instance.nics[chosen]);
  return std::ranges::all_of(node.instance.nics, [&](const auto& nic) { return distance(nic) >= own; });
}

struct FullNode {
  const char* type;
  const char*
      per_gpu;  ///< one process per accelerator, each with an equal part of the cores; "": no accelerators
  const char* per_numa;  ///< one per NUMA node
  const char* per_core;
  const char* unbound;  ///< one per core, not bound
};

// clang-format off
const FullNode kFullNodes[] = {
    {"c5n.9xlarge",      "",       "0",         "18x0",       "18x0"},
    {"c5n.18xlarge",     "",       "2x0",       "36x0",       "36x0"},
    {"c5n.metal",        "",       "2x0",       "36x0",       "36x0"},
    {"i3en.24xlarge",    "",       "2x0",       "48x0",       "48x0"},
    {"i3en.metal",       "",       "2x0",       "48x0",       "48x0"},
    {"m5dn.24xlarge",    "",       "2x0",       "48x0",       "48x0"},
    {"m5n.24xlarge",     "",       "2x0",       "48x0",       "48x0"},
    {"r5dn.24xlarge",    "",       "2x0",       "48x0",       "48x0"},
    {"r5n.24xlarge",     "",       "2x0",       "48x0",       "48x0"},
    {"c6a.48xlarge",     "",       "4x0",       "96x0",       "96x0"},
    {"c6gn.16xlarge",    "",       "0",         "64x0",       "64x0"},
    {"c6i.32xlarge",     "",       "2x0",       "64x0",       "64x0"},
    {"c6in.32xlarge",    "",       "0-1",       "32x0-1",     "32x0-1"},
    {"m6i.32xlarge",     "",       "2x0",       "64x0",       "64x0"},
    {"r6i.32xlarge",     "",       "2x0",       "64x0",       "64x0"},
    {"c7a.48xlarge",     "",       "4x0",       "192x0",      "192x0"},
    {"c7g.16xlarge",     "",       "0",         "64x0",       "64x0"},
    {"c7gn.16xlarge",    "",       "0",         "64x0",       "64x0"},
    {"c7i.48xlarge",     "",       "2x0",       "96x0",       "96x0"},
    {"r7iz.32xlarge",    "",       "2x0",       "64x0",       "64x0"},
    {"c8g.48xlarge",     "",       "2x0",       "192x0",      "192x0"},
    {"c8gn.48xlarge",    "",       "0-1",       "96x0-1",     "96x0-1"},
    {"c8i.96xlarge",     "",       "6x0",       "192x0",      "192x0"},
    {"hpc6a.48xlarge",   "",       "4x0",       "96x0",       "96x0"},
    {"hpc6id.32xlarge",  "",       "0-1",       "32x0-1",     "32x0-1"},
    {"hpc7a.12xlarge",   "",       "2x0-1",     "12x0-1",     "12x0-1"},
    {"hpc7a.24xlarge",   "",       "2x0-1",     "24x0-1",     "24x0-1"},
    {"hpc7a.48xlarge",   "",       "2x0-1",     "48x0-1",     "48x0-1"},
    {"hpc7a.96xlarge",   "",       "2x0-1",     "96x0-1",     "96x0-1"},
    {"hpc7g.4xlarge",    "",       "0",         "16x0",       "16x0"},
    {"hpc7g.8xlarge",    "",       "0",         "32x0",       "32x0"},
    {"hpc7g.16xlarge",   "",       "0",         "64x0",       "64x0"},
    {"hpc8a.96xlarge",   "",       "0-1",       "96x0-1",     "96x0-1"},
    {"p3dn.24xlarge",    "8x0",    "2x0",       "48x0",       "48x0"},
    {"g4dn.metal",       "8x0",    "2x0",       "48x0",       "48x0"},
    {"g5.48xlarge",      "8x0",    "2x0",       "96x0",       "96x0"},
    {"g6.48xlarge",      "8x0",    "2x0",       "96x0",       "96x0"},
    {"g6e.48xlarge",     "2x0-3",  "0 2",       "24x0-3",     "24x0-3"},
    {"g7e.48xlarge",     "2x0-3",  "0 2",       "24x0-3",     "24x0-3"},
    {"p4d.24xlarge",     "2x0-3",  "0 2",       "12x0-3",     "12x0-3"},
    {"p4de.24xlarge",    "2x0-3",  "0 2",       "12x0-3",     "12x0-3"},
    {"p5.4xlarge",       "0",      "0",         "8x0",        "8x0"},
    {"p5.48xlarge",      "0 4 8 12 16 20 24 28", "0 16", "3x0-31", "3x0-31"},
    {"p5e.48xlarge",     "0 4 8 12 16 20 24 28", "0 16", "3x0-31", "3x0-31"},
    {"p5en.48xlarge",    "0 2 4 6 8 10 12 14",   "0 8",  "6x0-15", "6x0-15"},
    {"p6-b200.48xlarge", "0-7",    "0 4",       "12x0-7",     "12x0-7"},
    {"p6-b300.48xlarge", "0 2 4 6 8 10 12 14",   "0 8",  "6x0-15", "6x0-15"},
    {"inf1.24xlarge",    "16x0",   "2x0",       "48x0",       "48x0"},
    {"trn1.32xlarge",    "2x0-7",  "0 4",       "8x0-7",      "8x0-7"},
    {"trn1n.32xlarge",   "0-15",   "0 8",       "4x0-15",     "4x0-15"},
    {"trn2.48xlarge",    "0-15",   "0 8",       "6x0-15",     "6x0-15"},
};
// clang-format on

/// Checks a full node: the map is the same whether or not the processes know each other's bindings; only the nearest NICs
/// are used; every NIC is used if there are enough processes; the numbers of processes per NIC differ by at most one.
void check_full(Node& node, const char* expected, bool bound) {
  const auto map = node.first_rails(false);
  CHECK(encode(map) == expected);
  CHECK(node.map_knowing_all() == expected);
  const auto served = load(map, node.nics.size());
  CHECK(std::ranges::max(served) - std::ranges::min(served) <= 1);
  for (size_t rank = 0; bound && rank < map.size(); ++rank) {
    INFO("rank " << rank);
    CHECK(is_nearest(node, node.binding(rank), map[rank]));
  }
}

}  // namespace

TEST_CASE("Full nodes: the literal map of every instance type", "[affinity]") {
  REQUIRE(std::size(kFullNodes) == instances().size());
  for (const auto& full : kFullNodes) {
    INFO(full.type);
    REQUIRE(find_instance(full.type));
    Node node(full.type);
    if (node.instance.accelerators.empty())
      CHECK(std::string(full.per_gpu).empty());
    else
      check_full(node.clear().fill(static_cast<int>(node.instance.accelerators.size())), full.per_gpu, true);
    check_full(node.clear().fill(node.instance.numa_nodes), full.per_numa, true);
    check_full(node.clear().fill(node.cores()), full.per_core, true);
    check_full(node.clear().unbound(node.cores()), full.unbound, false);
  }
}

TEST_CASE("The map of a job does not depend on the order in which libfabric lists the NICs", "[affinity]") {
  const auto names = [](const Node& node) {
    std::string text;
    for (const auto& choice : node.choices(false)) {
      for (const auto& rail : choice.rails) text += node.nics[rail.nic].name + " ";
      text += "; ";
    }
    return text;
  };
  for (const auto& instance : instances()) {
    INFO(instance.name);
    Node first(instance), second(instance);
    first.parameters.rails = second.parameters.rails = 0;
    std::ranges::rotate(second.nics, second.nics.begin() + static_cast<long>(second.nics.size() / 2));
    std::ranges::reverse(second.nics.begin(),
                         second.nics.begin() + static_cast<long>(second.nics.size() / 2));
    for (const int ranks : {3, 8, first.cores()}) {
      CHECK(names(first.clear().fill(ranks)) == names(second.clear().fill(ranks)));
      CHECK(names(first.clear().unbound(ranks)) == names(second.clear().unbound(ranks)));
    }
  }
}

TEST_CASE("One process per GPU uses a NIC of its GPU's switch or root bus", "[affinity]") {
  for (const char* type :
       {"p4d.24xlarge", "p4de.24xlarge", "p5.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge",
        "p6-b300.48xlarge", "trn1.32xlarge", "trn2.48xlarge", "g7e.48xlarge"}) {
    INFO(type);
    Node node(type);
    const auto map = node.fill(static_cast<int>(node.instance.accelerators.size())).first_rails(false);
    for (size_t rank = 0; rank < map.size(); ++rank)
      CHECK(node.instance.nics[map[rank]].pci_group == node.instance.accelerators[rank].pci_group);
  }
}

TEST_CASE("Bound to sockets, two cores or hardware threads, a full node is balanced too", "[affinity]") {
  Node p4d("p4d.24xlarge");
  check_full(p4d.fill(24), "6x0-3", true);
  p4d.clear();
  for (int thread = 0; thread < 96; ++thread) p4d.bind_thread(thread);
  check_full(p4d, "24x0-3", true);

  Node hpc7a("hpc7a.96xlarge");
  check_full(hpc7a.fill(2), "0-1", false);
  check_full(hpc7a.clear().fill(24), "12x0-1", true);  // one per L3 cache
}

TEST_CASE("Several processes share a binding", "[affinity]") {
  SECTION("round robin over the sockets, as with --map-by socket --bind-to socket") {
    Node node("p4d.24xlarge");
    for (int rank = 0; rank < 48; ++rank) rank % 2 ? node.bind(24, 48) : node.bind(0, 24);
    CHECK(load(node.first_rails(false), 4) == std::vector<int>{12, 12, 12, 12});
    CHECK(load(node.first_rails(true), 4) == std::vector<int>{12, 12, 12, 12});
    for (size_t rank = 0; rank < 48; ++rank)
      CHECK(is_nearest(node, node.binding(rank), node.first_rails(false)[rank]));
  }
  SECTION("first one socket, then the other") {
    Node node("p4d.24xlarge");
    for (int rank = 0; rank < 48; ++rank) rank < 24 ? node.bind(0, 24) : node.bind(24, 48);
    CHECK(load(node.first_rails(false), 4) == std::vector<int>{12, 12, 12, 12});
    CHECK(node.map_knowing_all() == "12x0-3");
  }
  SECTION("bound to NUMA nodes, with more NUMA nodes than NICs") {
    Node node("hpc7a.96xlarge");
    for (int rank = 0; rank < 192; ++rank) node.bind(rank % 4 * 48, (rank % 4 + 1) * 48);
    CHECK(load(node.first_rails(false), 2) == std::vector<int>{96, 96});
    CHECK(load(node.first_rails(true), 2) == std::vector<int>{96, 96});
  }
}

TEST_CASE("The processes of a partial job are balanced over the near NICs", "[affinity]") {
  SECTION("mapped by core: all processes on the first socket") {
    Node node("p4d.24xlarge");
    for (int rank = 0; rank < 6; ++rank) node.bind(rank, rank + 1);
    CHECK(node.map() == "0-1 0-1 0-1");
    CHECK(node.map_knowing_all() == "3x0-1");
  }
  SECTION("mapped by socket: alternately on both sockets") {
    Node node("p4d.24xlarge");
    for (int rank = 0; rank < 8; ++rank) node.bind(rank % 2 * 24 + rank / 2, rank % 2 * 24 + rank / 2 + 1);
    CHECK(node.map() == "0 2 1 3 0 2 1 3");
    CHECK(node.map_knowing_all() == "0 2 0 2 1 3 1 3");
  }
  SECTION("a few processes on a machine with many NICs: one switch each") {
    Node node("p5.48xlarge");
    for (int rank = 0; rank < 5; ++rank) node.bind(rank, rank + 1);
    CHECK(node.map() == "0 4 8 12 1");
    node.clear();
    for (int rank = 0; rank < 4; ++rank) node.bind(rank, rank + 1);
    CHECK(node.map_knowing_all() == "0 4 8 12");
  }
  SECTION("half of the cores, in pairs (--map-by core:PE=2)") {
    Node node("p4d.24xlarge");
    for (int rank = 0; rank < 12; ++rank) node.bind(2 * rank, 2 * rank + 2);
    CHECK(load(node.first_rails(false), 4) == std::vector<int>{6, 6, 0, 0});
  }
  SECTION("a single process") {
    Node node("hpc7a.96xlarge");
    node.bind(100, 101);
    CHECK(node.map() == "1");
    CHECK(node.choices(false)[0].rails[0].nearness == Nearness::kNumaNode);
    node.clear().bind(150, 151);
    CHECK(node.map() == "1");
    CHECK(node.choices(false)[0].rails[0].nearness == Nearness::kPackage);
  }
  SECTION("unbound: spread over all NICs, the first process on the first") {
    Node node("p4d.24xlarge");
    CHECK(node.unbound(1).map() == "0");
    CHECK(node.clear().unbound(2).map() == "0 2");
    CHECK(node.clear().unbound(5).map() == "2x0 1-3");
    Node p5("p5.48xlarge");
    CHECK(p5.unbound(8).map() == "0 4 8 12 16 20 24 28");
  }
}

TEST_CASE("Rails: NICs of one switch first, and no NIC carries more than its share", "[affinity]") {
  SECTION("p5, a process per GPU, four rails: the four NICs of its GPU") {
    Node node("p5.48xlarge");
    node.parameters.rails = 4;
    CHECK(node.fill(8).rails() ==
          "0,1,2,3 4,5,6,7 8,9,10,11 12,13,14,15 16,17,18,19 20,21,22,23 24,25,26,27 28,29,30,31");
    node.parameters.rails = 0;  // an equal share: 32 NICs for 8 processes
    CHECK(node.rails() ==
          "0,1,2,3 4,5,6,7 8,9,10,11 12,13,14,15 16,17,18,19 20,21,22,23 24,25,26,27 28,29,30,31");
  }
  SECTION("p4d: both NICs of the socket; each process has its own one as rail 0") {
    Node node("p4d.24xlarge");
    node.parameters.rails = 2;
    CHECK(node.fill(8).rails() == "0,1 0,1 1,0 1,0 2,3 2,3 3,2 3,2");
    node.parameters.rails = 0;  // more processes than NICs: one each
    CHECK(node.rails() == "0 0 1 1 2 2 3 3");
  }
  SECTION("more rails than near NICs: far NICs are last; more rails than NICs: all NICs") {
    Node node("p4d.24xlarge");
    node.parameters.rails = 3;
    node.bind(24, 25);
    CHECK(node.rails() == "2,3,0");
    node.parameters.rails = 9;
    CHECK(node.rails() == "2,3,0,1");
    const auto rails = node.choices(false)[0].rails;
    CHECK(rails[1].nearness == Nearness::kNumaNode);
    CHECK(rails[3].nearness == Nearness::kOtherPackage);
  }
  SECTION("far NICs are in the order of their distance") {
    // A NIC on each of four NUMA nodes in two packages.
    const InstanceDevice nics[] = {
        {{0, 0x00, 6, 0}, 0, 0}, {{0, 0x40, 6, 0}, 1, 1}, {{0, 0x80, 6, 0}, 2, 2}, {{0, 0xc0, 6, 0}, 3, 3}};
    InstanceType machine = *find_instance("hpc7a.96xlarge");
    machine.nics = nics;
    Node node(machine);
    node.parameters.rails = 4;
    node.bind(150, 151);
    CHECK(node.rails() == "3,2,0,1");
  }
}

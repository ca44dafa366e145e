// The text picture of a node: cores, NICs, ranks and colours.
#include "picture.hpp"

#include <set>

#include "catch.hpp"
#include "placement.hpp"

using namespace efa;

TEST_CASE("The picture shows cores with their ranks and NICs, and NICs in the colour of their switch") {
  const auto node = instance_node("p5.48xlarge");
  REQUIRE(node);
  const Placement placement = place_ranks(*node, 8, Binding::core, {});
  const Picture picture = picture_of(*node, placement);
  REQUIRE(picture.packages.size() == 2);
  CHECK(picture.elsewhere.empty());
  const PictureNuma& second = picture.packages[1].numa_nodes.at(0);
  CHECK(second.cores.size() == 48);
  CHECK(second.nics.size() == 16);
  CHECK(second.cores[13].core == 61);
  CHECK(second.cores[13].rank == 5);
  CHECK(second.cores[13].nic == placement.ranks[5].rails[0]);
  const PictureNic* nic = picture.find(second.cores[13].nic);
  REQUIRE(nic);
  CHECK(nic->ranks == std::vector<size_t>{5});
  CHECK(picture.find(0)->group == picture.find(3)->group);
  CHECK(picture.find(0)->group != picture.find(4)->group);
  std::set<std::string> colours;
  for (size_t k = 0; k < 32; ++k) colours.insert(picture.find(k)->colour.hex());
  CHECK(colours.size() == 32);

  // Ranks that share cores: each is shown on some of them.
  const Picture shared = picture_of(*node, place_ranks(*node, 6, Binding::numa, {}));
  std::set<size_t> ranks;
  for (const auto& core : shared.packages[0].numa_nodes[0].cores) ranks.insert(core.rank);
  CHECK(ranks == std::set<size_t>{0, 2, 4});

  const Picture loose = picture_of(*node, place_ranks(*node, 8, Binding::none, {}));
  CHECK(loose.packages[0].numa_nodes[0].cores[0].rank == kNobody);
}

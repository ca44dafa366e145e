// Which rank uses which NIC on an instance type, as mtl_efa_info shows it.
#include "placement.hpp"

#include "catch.hpp"

using namespace efa;

TEST_CASE("The map of an instance type is the one that the ranks compute") {
  const auto node = instance_node("p4d.24xlarge");
  REQUIRE(node);
  REQUIRE(node->nics.size() == 4);
  const Placement full = place_ranks(*node, 48, Binding::core, {});
  CHECK(full.load == std::vector<size_t>{12, 12, 12, 12});
  CHECK(full.ranks[13].cores == "13");
  CHECK(full.ranks[13].rails == std::vector<size_t>{1});

  const Placement gpus = place_ranks(*node, 8, Binding::core, {});
  CHECK(gpus.load == std::vector<size_t>{2, 2, 2, 2});
  CHECK(gpus.ranks[7].cores == "42-47");

  const Placement loose = place_ranks(*node, 4, Binding::none, {});
  CHECK(loose.load == std::vector<size_t>{1, 1, 1, 1});
  CHECK(loose.ranks[0].cores == "not bound");
  CHECK_THAT(loose.hint, Contains("--bind-to core"));

  NicParameters wrong;
  wrong.nics = "mlx5_0";
  CHECK_THAT(place_ranks(*node, 4, Binding::core, wrong).error, Contains("mlx5_0"));
  CHECK_FALSE(instance_node("p4d.unheard"));
}

// The texts of mtl_efa_info.
#include "show.hpp"

#include "catch.hpp"

using namespace efa;

TEST_CASE("Numbers as ranges") {
  CHECK(ranges({}) == "");
  CHECK(ranges({3}) == "3");
  CHECK(ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
}

// Ids that are sent to peers and returned by them: valid ids are found, stale and forged ones are not.
#include "base/id_table.hpp"

#include "catch.hpp"

using namespace efa;

TEST_CASE("An id finds its object until it is removed, and never the next object in the same slot") {
  IdTable<int> table;
  int a = 0, b = 0;
  const uint64_t first = table.add(&a);
  CHECK(table.find(first) == &a);
  table.remove(first);
  CHECK(table.find(first) == nullptr);
  const uint64_t second = table.add(&b);
  CHECK(second != first);
  CHECK(static_cast<uint32_t>(second) == static_cast<uint32_t>(first));  // the same slot
  CHECK(table.find(first) == nullptr);
  table.remove(first);  // removing a stale id has no effect
  CHECK(table.find(second) == &b);
  CHECK(table.find(~uint64_t{0}) == nullptr);
  CHECK(table.find(0) == nullptr);
  CHECK(table.size() == 1);
}

// Comma-separated lists in parameters.
#include "base/lists.hpp"

#include "catch.hpp"

using namespace efa;

TEST_CASE("Lists are split at commas, or refused") {
  CHECK(split_list("").value().empty());
  CHECK(split_list("efa").value() == std::vector<std::string>{"efa"});
  CHECK(split_list("tcp;ofi_rxm,shm").value() == std::vector<std::string>{"tcp;ofi_rxm", "shm"});
  for (const char* bad : {",", "efa,", ",efa", "efa,,shm", "efa shm", "^efa", "efa, shm", "a\nb"}) {
    INFO(bad);
    CHECK_FALSE(split_list(bad));
  }
}

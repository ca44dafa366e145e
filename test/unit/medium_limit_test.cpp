// Which medium message limit of libfabric's efa is in force. The variable is set only while the component opens.
#include "fabric/medium_limit.hpp"

#include <cstdlib>
#include <string>

#include "catch.hpp"

using namespace efa;

TEST_CASE("the limit in force is the user's, or that of the first user of libfabric in the process") {
  constexpr uint32_t kOld = FI_VERSION(1, 17), kNew = FI_VERSION(2, 1);
  CHECK(medium_limit("65536", true, kNew) == 65536);
  CHECK(medium_limit("0", false, kOld) == 0);
  CHECK(medium_limit(nullptr, true, kNew) == kLongestMedium);
  CHECK(medium_limit(nullptr, false, kNew) == 64 * kKiB);
  CHECK(medium_limit(nullptr, false, kOld) ==
        kLongestMedium);  // libfabric 1.x reads the variable whenever a domain is opened
}

TEST_CASE("the variable is set for a scope, and the user's value is kept") {
  constexpr const char* kName = "FI_EFA_INTER_MAX_MEDIUM_MESSAGE_SIZE";
  unsetenv(kName);
  CHECK_FALSE(libfabric_is_initialized());
  {
    const MediumLimit limit;
    REQUIRE(std::getenv(kName));
    CHECK(std::string(std::getenv(kName)) == "262144");
    CHECK(limit.in_force() == kLongestMedium);
    fi_info* list = nullptr;
    if (fi_getinfo(FI_VERSION(1, 11), nullptr, nullptr, 0, nullptr, &list) == 0) fi_freeinfo(list);
    CHECK(libfabric_is_initialized());
  }
  CHECK(std::getenv(kName) == nullptr);
  CHECK(MediumLimit().in_force() == kLongestMedium);  // libfabric has read it at its first use
  setenv(kName, "100000", 1);
  CHECK(MediumLimit().in_force() == 100000);
  CHECK(std::string(std::getenv(kName)) == "100000");
  unsetenv(kName);
}

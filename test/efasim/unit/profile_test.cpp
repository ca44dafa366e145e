// Profiles: the NICs and limits of each instance type.
#include "profile.hpp"

#include "settings.hpp"
#include "test/unit/catch.hpp"

using namespace efasim;

TEST_CASE("profiles have the NICs and capabilities of their instance types", "[profile]") {
  const auto make = [](const char* name, uint32_t nics = 0, int read = -1) {
    Settings settings;
    settings.profile = name;
    settings.nics = nics;
    settings.rdma_read = read;
    Profile profile{};
    std::string error;
    REQUIRE(make_profile(settings, &profile, &error));
    return profile;
  };
  const Profile c5n = make("c5n.18xlarge");
  CHECK(c5n.nics.size() == 1);
  CHECK_FALSE(c5n.rdma_read);
  CHECK_FALSE(c5n.rdma_write);
  const Profile p4d = make("p4d.24xlarge");
  REQUIRE(p4d.nics.size() == 4);
  CHECK(p4d.nics[0].name == "rdmap16s27");
  CHECK(p4d.nics[0].pci == "0000:10:1b.0");
  CHECK(p4d.rdma_read);
  CHECK(p4d.device.mtu == 8928);
  const Profile p5 = make("p5.48xlarge");
  CHECK(p5.nics.size() == 32);
  CHECK(p5.rdma_write);
  CHECK(make("hpc7a.96xlarge").nics.size() == 2);
  CHECK(make("p5.48xlarge", 3).nics.size() == 3);
  CHECK(make("c5n.18xlarge", 0, 1).rdma_read);

  Settings settings;
  Profile profile{};
  std::string error;
  settings.profile = "x1.tiny";
  CHECK_FALSE(make_profile(settings, &profile, &error));
  CHECK(error.find("x1.tiny") != std::string::npos);
  settings.profile = "c5n.18xlarge";
  settings.nics = 2;
  CHECK_FALSE(make_profile(settings, &profile, &error));
}

TEST_CASE("every instance type has a device", "[profile]") {
  for (const efa::InstanceType& type : efa::instances()) {
    INFO(type.name);
    Settings settings;
    settings.profile = type.name;
    Profile profile{};
    std::string error;
    CHECK(make_profile(settings, &profile, &error));
    CHECK_FALSE(profile.nics.empty());
  }
}

TEST_CASE("limits only make a device smaller", "[profile]") {
  Settings settings;
  settings.limits.sq = 8;
  settings.limits.ah = 1'000'000;
  Profile profile{};
  std::string error;
  REQUIRE(make_profile(settings, &profile, &error));
  CHECK(profile.device.max_sq_wr == 8);
  CHECK(profile.device.max_ah == 4096);
}

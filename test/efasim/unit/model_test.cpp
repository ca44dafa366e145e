// The link model, fault rules, settings and profiles: pure functions against literals.
#include <atomic>
#include <cstdlib>

#include "faults.hpp"
#include "link_model.hpp"
#include "profile.hpp"
#include "settings.hpp"
#include "test/unit/catch.hpp"

using namespace efasim;

TEST_CASE("one packet arrives after latency and its time on the line", "[link]") {
  LinkModel link;
  link.latency_ns = 10'000;
  link.bits_per_second = 10'000'000'000;
  std::atomic<uint64_t> tx{0}, rx{0};
  CHECK(serialisation_ns(link, 1250) == 1000);
  CHECK(reserve_lines(link, 1'000'000, 1250, tx, rx) == 1'011'000);
  CHECK(tx == 1'001'000);
  CHECK(rx == 1'011'000);
}

TEST_CASE("a stream runs at the line's rate", "[link]") {
  LinkModel link;
  link.latency_ns = 10'000;
  link.bits_per_second = 10'000'000'000;
  std::atomic<uint64_t> tx{0}, rx{0};
  uint64_t due = 0;
  for (int i = 0; i < 100; i++) due = reserve_lines(link, 0, 12'500, tx, rx);
  CHECK(due == 100 * 10'000 + 10'000);
}

TEST_CASE("two senders share the receiver's line", "[link]") {
  LinkModel link;
  link.bits_per_second = 8'000'000'000;  // a byte per ns
  std::atomic<uint64_t> tx_a{0}, tx_b{0}, rx{0};
  CHECK(reserve_lines(link, 0, 100, tx_a, rx) == 100);
  CHECK(reserve_lines(link, 0, 100, tx_b, rx) == 200);
  CHECK(reserve_lines(link, 500, 100, tx_a, rx) == 600);
}

TEST_CASE("chance is repeatable and depends on seed, stream and number", "[link]") {
  CHECK(random_unit(1, 2, 3) == random_unit(1, 2, 3));
  CHECK(random_unit(1, 2, 3) != random_unit(2, 2, 3));
  CHECK(random_unit(1, 2, 3) != random_unit(1, 3, 3));
  CHECK(random_unit(1, 2, 3) != random_unit(1, 2, 4));
  double sum = 0;
  for (uint64_t i = 0; i < 10'000; i++) {
    const double value = random_unit(7, 1, i);
    REQUIRE((value >= 0 && value < 1));
    sum += value;
  }
  CHECK(sum > 4800);
  CHECK(sum < 5200);
}

TEST_CASE("jitter is bounded and reordering holds a share of the packets", "[link]") {
  LinkModel link;
  link.jitter_ns = 500;
  link.reorder = 0.25;
  link.reorder_ns = 40'000;
  unsigned held = 0;
  for (uint64_t i = 0; i < 4000; i++) {
    const uint64_t delay = chance_delay_ns(link, 9, i);
    if (delay >= 40'000) held++;
    REQUIRE((delay < 500 || (delay >= 40'000 && delay < 40'500)));
  }
  CHECK(held > 850);
  CHECK(held < 1150);
  CHECK_FALSE(LinkModel{}.enabled());
}

TEST_CASE("fault rules are read, or refused with the reason", "[faults]") {
  std::vector<FaultRule> rules;
  std::string error;
  REQUIRE(parse_faults("rnr:p=0.5;abort:at=3,nic=1,times=2;nic_dies:every=10,node=h1", &rules, &error));
  REQUIRE(rules.size() == 3);
  CHECK(rules[0].kind == FaultKind::kRnr);
  CHECK(rules[0].probability == 0.5);
  CHECK(rules[1].at == 3);
  CHECK(rules[1].nic == 1);
  CHECK(rules[1].times == 2);
  CHECK(rules[2].node == "h1");
  for (const char* bad : {"flood:at=1", "rnr", "rnr:at=x", "rnr:colour=2", "abort:p=1.5", "abort:node="}) {
    error.clear();
    CHECK_FALSE(parse_faults(bad, &rules, &error));
    CHECK_FALSE(error.empty());
  }
}

TEST_CASE("a rule fires on the events that it names and for whom it names", "[faults]") {
  const auto fired = [](const char* text, int nic, const char* node) {
    std::vector<FaultRule> rules;
    std::string error, pattern;
    REQUIRE(parse_faults(text, &rules, &error));
    FaultInjector injector(rules, 1, node, nic, 0);
    for (int i = 0; i < 8; i++) {
      pattern += injector.fire(FaultKind::kRnr, FaultKind::kKill) < 0 ? '.' : 'X';
    }
    return pattern;
  };
  CHECK(fired("abort:at=3", 0, "a") == "..X.....");
  CHECK(fired("abort:at=3,times=2", 0, "a") == "..XX....");
  CHECK(fired("abort:every=3", 0, "a") == "..X..X..");
  CHECK(fired("abort:every=2,times=1", 0, "a") == ".X......");
  CHECK(fired("abort:at=1,nic=1", 0, "a") == "........");
  CHECK(fired("abort:at=1,nic=1", 1, "a") == "X.......");
  CHECK(fired("abort:at=1,node=b", 0, "a") == "........");
  CHECK(fired("abort:p=1", 0, "a") == "XXXXXXXX");
  CHECK(fired("mr_refused:at=1", 0, "a") == "........");  // another kind of event
}

TEST_CASE("numbers with units", "[settings]") {
  uint64_t value = 0;
  CHECK((parse_duration_ns("10us", &value) && value == 10'000));
  CHECK((parse_duration_ns("1.5ms", &value) && value == 1'500'000));
  CHECK((parse_duration_ns("250", &value) && value == 250));
  CHECK((parse_number("10G", &value) && value == 10'000'000'000));
  CHECK((parse_number("64Ki", &value) && value == 65'536));
  for (const char* bad : {"", "us", "-1", "10 us", "1e30", "5x"}) CHECK_FALSE(parse_duration_ns(bad, &value));
}

TEST_CASE("a setting that is not understood names its variable", "[settings]") {
  const char* bad[][2] = {{"EFASIM_LINK", "latency=soon"}, {"EFASIM_LINK", "colour=1"}, {"EFASIM_LIMITS", "ring=100"},
                          {"EFASIM_LIMITS", "ah=0"},       {"EFASIM_CAPS", "rdma=1"},   {"EFASIM_CMA", "maybe"},
                          {"EFASIM_FAULTS", "flood:at=1"}, {"EFASIM_NICS", "many"}};
  for (const auto& [variable, value] : bad) {
    setenv(variable, value, 1);
    Settings settings;
    std::string error;
    CHECK_FALSE(read_settings(&settings, &error));
    CHECK(error.find(std::string(variable) + "=" + value) == 0);
    unsetenv(variable);
  }
  Settings settings;
  std::string error;
  CHECK(read_settings(&settings, &error));
}

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

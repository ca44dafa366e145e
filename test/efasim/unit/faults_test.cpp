// Fault rules: read, refused, and when they fire.
#include "faults.hpp"

#include "test/unit/catch.hpp"

using namespace efasim;

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

// Which provider and NIC are taken from what libfabric offers, and what is said when none can be; options.
#include <map>

#include "catch.hpp"
#include "discovery.hpp"
#include "lists.hpp"
#include "nic_choice.hpp"
#include "options.h"

using namespace efa;

namespace {

constexpr uint32_t kOld = FI_VERSION(1, 17), kNew = FI_VERSION(2, 1);
const std::vector<std::string> kKnown = {"efa", "shm", "tcp;ofi_rxm", "tcp", "sockets"};

Candidate nic(const std::string& provider, const std::string& domain, bool ipv4 = true, bool up = true) {
  Candidate c;
  c.provider = provider;
  c.domain = domain;
  c.loopback = domain == "lo";
  c.ipv4 = ipv4;
  c.link_up = up;
  return c;
}

struct Machine {
  std::map<std::string, std::vector<Candidate>> has = {
      {"shm", {nic("shm", "shm")}},
      {"tcp;ofi_rxm",
       {nic("tcp;ofi_rxm", "eth0", false), nic("tcp;ofi_rxm", "eth0"), nic("tcp;ofi_rxm", "lo")}},
  };
  std::string choose(const Wish& wish) {
    chosen = efa::choose(
        wish, [&](const std::string& name) { return has[name]; }, kKnown);
    return chosen.index < 0 ? "none"
                            : chosen.provider + " " + has[chosen.provider][size_t(chosen.index)].domain;
  }
  Choice chosen;
};

Wish wish(bool named, bool local, uint32_t library = kNew) {
  Wish wish;
  wish.named_by_user = named;
  wish.all_ranks_local = local;
  wish.library = library;
  return wish;
}

}  // namespace

TEST_CASE("Without an EFA NIC nothing is used unless the component was asked for") {
  Machine machine;
  CHECK(machine.choose(wish(false, true)) == "none");
  CHECK(machine.choose(wish(true, true)) == "shm shm");
}

TEST_CASE("An EFA NIC comes first") {
  Machine machine;
  machine.has["efa"] = {nic("efa", "rdmap0s6-rdm")};
  CHECK(machine.choose(wish(false, false)) == "efa rdmap0s6-rdm");
  CHECK(machine.choose(wish(true, true)) == "efa rdmap0s6-rdm");
}

TEST_CASE("shm serves one node only, and only where it can probe") {
  Machine machine;
  CHECK(machine.choose(wish(true, false)) == "tcp;ofi_rxm eth0");
  CHECK(machine.choose(wish(true, true, kOld)) == "tcp;ofi_rxm lo");
}

TEST_CASE("Between nodes an IPv4 interface that is up is preferred, and the loopback never taken") {
  Machine machine;
  machine.choose(wish(true, false));
  CHECK(machine.chosen.index == 1);
  machine.has["tcp;ofi_rxm"] = {nic("tcp;ofi_rxm", "lo"), nic("tcp;ofi_rxm", "eth0", true, false),
                                nic("tcp;ofi_rxm", "eth1")};
  CHECK(machine.choose(wish(true, false)) == "tcp;ofi_rxm eth1");
}

TEST_CASE("EFA NICs that nothing is known of are dealt out by local rank") {
  Machine machine;
  machine.has["efa"] = {nic("efa", "a"), nic("efa", "b"), nic("efa", "dead", true, false)};
  for (int rank = 0; rank < 6; ++rank) {
    Wish each = wish(false, true);
    each.local_rank = rank;
    CHECK(machine.choose(each) == std::string("efa ") + (rank % 2 ? "b" : "a"));
  }
}

TEST_CASE("Lists of providers are obeyed, in their order") {
  Machine machine;
  Wish listed = wish(true, true);
  listed.include = {"tcp;ofi_rxm", "shm"};
  CHECK(machine.choose(listed) == "tcp;ofi_rxm lo");
  listed.exclude = {"tcp;ofi_rxm"};
  CHECK(machine.choose(listed) == "shm shm");
  listed.exclude = {"tcp;ofi_rxm", "shm"};
  CHECK(machine.choose(listed) == "none");
  CHECK_THAT(machine.chosen.why, Contains("none is allowed") && Contains("mtl_efa_provider_include"));
}

TEST_CASE("A provider that this libfabric's version breaks is refused, with the version that will do") {
  Machine machine;
  Wish listed = wish(true, true, kOld);
  listed.include = {"shm"};
  CHECK(machine.choose(listed) == "none");
  CHECK_THAT(machine.chosen.why,
             Contains("names \"shm\"") && Contains("libfabric 1.17") && Contains("from 1.20 on"));
}

TEST_CASE("A provider that libfabric does not have is named, with those it has") {
  Machine machine;
  Wish listed = wish(true, true);
  listed.include = {"shm", "etherfabric"};
  CHECK(machine.choose(listed) == "none");
  CHECK_THAT(machine.chosen.why,
             Contains("mtl_efa_provider_include names \"etherfabric\"") && Contains("efa, shm, tcp;ofi_rxm"));
}

TEST_CASE("Lists are split, or refused") {
  CHECK(split_list("").value().empty());
  CHECK(split_list("efa").value() == std::vector<std::string>{"efa"});
  CHECK(split_list("tcp;ofi_rxm,shm").value() == std::vector<std::string>{"tcp;ofi_rxm", "shm"});
  for (const char* bad : {",", "efa,", ",efa", "efa,,shm", "efa shm", "^efa", "efa, shm", "a\nb"}) {
    INFO(bad);
    CHECK_FALSE(split_list(bad));
  }
}

TEST_CASE("Options: the defaults are good, and each bad value is named with its range") {
  efa_options options;
  char why[512] = "";
  efa_options_defaults(&options);
  CHECK(efa_options_check(&options, why, sizeof why));
  struct {
    long efa_options::*field;
    long value;
    const char* says;
  } bad[] = {
      {&efa_options::eager_limit, -2, "mtl_efa_eager_limit is -2, but must be from -1 to 1073741824 bytes"},
      {&efa_options::inject_limit, 65537,
       "mtl_efa_inject_limit is 65537, but must be from -1 to 65536 bytes"},
      {&efa_options::send_timeout, 0, "mtl_efa_send_timeout is 0, but must be from 1 to 86400 seconds"},
      {&efa_options::priority, 101, "mtl_efa_priority is 101, but must be from 0 to 100"},
      {&efa_options::staging_window, 65, "mtl_efa_staging_window is 65, but must be from 1 to 64 pieces"},
      {&efa_options::progress_batch, 257, "mtl_efa_progress_batch is 257, but must be from 1 to 256"},
  };
  for (const auto& each : bad) {
    efa_options_defaults(&options);
    options.*each.field = each.value;
    CHECK_FALSE(efa_options_check(&options, why, sizeof why));
    CHECK_THAT(why, Contains(each.says));
  }
  efa_options_defaults(&options);
  char list[] = "shm, tcp";
  options.provider_exclude = list;
  CHECK_FALSE(efa_options_check(&options, why, sizeof why));
  CHECK_THAT(why, Contains("mtl_efa_provider_exclude is \"shm, tcp\""));

  struct {
    char* efa_options::*field;
    const char* value;
    const char* says;  // empty: it is good
  } texts[] = {
      {&efa_options::nic_policy, "nearest",
       "mtl_efa_nic_policy is \"nearest\", but must be near, spread or one"},
      {&efa_options::nic_policy, "spread", ""},
      {&efa_options::nic_include, "rdmap16s27,",
       "mtl_efa_nic_include is \"rdmap16s27,\", which has an empty"},
      {&efa_options::nic_include, "rdmap*, 0000:10:1b.0", ""},
      {&efa_options::nics, "a;;b", "mtl_efa_nics is \"a;;b\", which has an empty entry"},
      {&efa_options::nics, "a,b;c,d", ""},
  };
  for (const auto& each : texts) {
    efa_options_defaults(&options);
    std::string value = each.value;
    options.*each.field = value.data();
    CHECK(efa_options_check(&options, why, sizeof why) == !*each.says);
    if (*each.says) CHECK_THAT(why, Contains(each.says));
  }
}

TEST_CASE("The options for NICs become those of affinity") {
  efa_options options;
  efa_options_defaults(&options);
  NicParameters parameters = nic_parameters(options);
  CHECK(parameters.policy == NicPolicy::kNear);
  CHECK(parameters.rails == 0);
  CHECK(parameters.nics.empty());
  std::string policy = "one", include = "a*", exclude = "ab", nics = "x;y";
  options.nic_policy = policy.data();
  options.nic_include = include.data();
  options.nic_exclude = exclude.data();
  options.nics = nics.data();
  options.rails = 3;
  parameters = nic_parameters(options);
  CHECK(parameters.policy == NicPolicy::kOne);
  CHECK(parameters.filter.include == include);
  CHECK(parameters.filter.exclude == exclude);
  CHECK(parameters.nics == nics);
  CHECK(parameters.rails == 3);
}

TEST_CASE("NICs without a PCI address are chosen by name, and a name that none has is an error") {
  const std::vector<Candidate> interfaces = {{"tcp;ofi_rxm", "lo", true}, {"tcp;ofi_rxm", "eth0"}};
  std::vector<fi_info> infos(2);
  std::vector<Candidate> offered = interfaces;
  for (size_t i = 0; i < offered.size(); ++i) offered[i].info = &infos[i];
  NicParameters parameters;
  CHECK(pick_nics(offered, 0, 1, parameters).rails.empty());  // by interface, not by distance
  parameters.filter.include = "eth*";
  CHECK(pick_nics(offered, 0, 1, parameters).rails == std::vector<size_t>{1});
  parameters.filter.include = "ib0";
  const NicPick none = pick_nics(offered, 0, 1, parameters);
  CHECK(none.rails.empty());
  CHECK_THAT(none.error,
             Contains("eth0: the include list does not name it") && Contains("mtl_efa_nic_include"));
}

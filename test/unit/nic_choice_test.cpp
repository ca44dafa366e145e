// The choice of a process's NICs from the options and libfabric's list.
#include "fabric/nic_choice.hpp"

#include "catch.hpp"
#include "interface/options.h"

using namespace efa;

TEST_CASE("The options for NICs are passed to affinity") {
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

TEST_CASE("NICs without a PCI address are chosen by name; an unknown name is an error") {
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

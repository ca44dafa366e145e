// mtl_efa_info: its judgement of a node, and the maps that it shows.
#include <rdma/fabric.h>

#include "catch.hpp"
#include "placement.hpp"
#include "preflight.hpp"
#include "show.hpp"

using namespace efa;

namespace {

PreflightFacts good() {
  PreflightFacts facts;
  facts.ranks = 48;
  facts.provider = "efa";
  facts.libfabric = FI_VERSION(2, 1);
  facts.provider_built_in = true;
  facts.kernel_devices = facts.nics = facts.nics_up = 4;
  facts.reads = true;
  facts.endpoints = 256;
  facts.kernel_major = 6;
  facts.built_for = "5.0.7";
  facts.running = "5.0.3";
  return facts;
}

// The only finding that is not ok; the test fails if there are others.
Finding only_trouble(const PreflightFacts& facts) {
  Finding trouble{Level::ok, "", "", ""};
  int count = 0;
  for (const auto& finding : judge(facts)) {
    if (finding.level == Level::ok) {
      CHECK(finding.remedy.empty());
      continue;
    }
    CHECK_FALSE(finding.remedy.empty());
    trouble = finding;
    ++count;
  }
  CHECK(count == 1);
  return trouble;
}

}  // namespace

TEST_CASE("A node without fault passes") {
  const auto findings = judge(good());
  CHECK(outcome(findings) == Level::ok);
  for (const auto& finding : findings) {
    INFO(finding.topic);
    CHECK(finding.level == Level::ok);
  }
}

TEST_CASE("Each fault is one finding with a remedy") {
  struct {
    void (*spoil)(PreflightFacts&);
    Level level;
    const char* topic;
    const char* says;
    const char* remedy;
  } faults[] = {
      {[](PreflightFacts& f) { f.nics = f.nics_up = f.kernel_devices = 0; }, Level::failure, "EFA NIC",
       "no EFA device", "modprobe efa"},
      {[](PreflightFacts& f) { f.nics = f.nics_up = 0, f.provider_built_in = false; }, Level::failure,
       "EFA NIC", "no efa provider", "LD_LIBRARY_PATH"},
      {[](PreflightFacts& f) { f.nics = f.nics_up = 0; }, Level::failure, "EFA NIC", "libfabric offers none",
       "uverbs"},
      {[](PreflightFacts& f) { f.nics_up = 3; }, Level::warning, "EFA NIC", "1 of 4 have their link down",
       "ibv_devinfo"},
      {[](PreflightFacts& f) { f.troubles = {"fi_endpoint failed on rdmap16s27-rdm"}; }, Level::failure,
       "EFA NIC", "rdmap16s27-rdm", "FI_LOG_LEVEL"},
      {[](PreflightFacts& f) { f.provider.clear(); }, Level::failure, "libfabric", "no provider", "fi_info"},
      {[](PreflightFacts& f) { f.libfabric = FI_VERSION(1, 17); }, Level::warning, "libfabric",
       "FI_EFA_ENABLE_SHM_TRANSFER=0", "update libfabric"},
      {[](PreflightFacts& f) { f.locked_memory = 65536; }, Level::failure, "locked memory", "0 MiB",
       "limits.conf"},
      {[](PreflightFacts& f) { f.locked_memory = 1 << 30; }, Level::warning, "locked memory", "1024 MiB",
       "ulimit -l"},
      {[](PreflightFacts& f) { f.shared_memory = 64 << 20; }, Level::warning, "shared memory",
       "64 MiB are free", "--shm-size"},
      {[](PreflightFacts& f) { f.kernel_major = 5, f.kernel_minor = 10; }, Level::warning, "fork", "5.10",
       "RDMAV_FORK_SAFE"},
      {[](PreflightFacts& f) { f.ptrace_scope = 1; }, Level::warning, "ptrace", "ptrace_scope is 1",
       "sysctl"},
      {[](PreflightFacts& f) { f.ranks = 1025; }, Level::failure, "ranks", "only 1024 endpoints", "fewer"},
      {[](PreflightFacts& f) { f.running = "4.1.6"; }, Level::failure, "Open MPI", "built for 5.0.7",
       "Build"},
      {[](PreflightFacts& f) { f.running.clear(); }, Level::warning, "Open MPI", "not in PATH", "PATH"},
  };
  for (const auto& fault : faults) {
    PreflightFacts facts = good();
    fault.spoil(facts);
    const Finding found = only_trouble(facts);
    CHECK(found.level == fault.level);
    CHECK(found.topic == fault.topic);
    CHECK_THAT(found.text, Contains(fault.says));
    CHECK_THAT(found.remedy, Contains(fault.remedy));
    CHECK(outcome(judge(facts)) == fault.level);
  }
}

TEST_CASE("A variable makes an old kernel safe to fork on") {
  PreflightFacts facts = good();
  facts.kernel_major = 4, facts.kernel_minor = 14;
  facts.fork_safe_by_variable = true;
  CHECK(outcome(judge(facts)) == Level::ok);
}

TEST_CASE("Maps of an instance type are those of the ranks themselves") {
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

TEST_CASE("Numbers as ranges") {
  CHECK(ranges({}) == "");
  CHECK(ranges({3}) == "3");
  CHECK(ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
}

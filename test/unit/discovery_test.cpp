// The choice of provider and NIC from what libfabric offers, and the message if there is none.
#include "fabric/discovery.hpp"

#include <map>

#include "catch.hpp"

using namespace efa;

namespace {

constexpr uint32_t kOld = FI_VERSION(1, 17), kNew = FI_VERSION(2, 1);
const std::vector<std::string> kKnown = {"efa", "shm", "tcp;ofi_rxm", "tcp", "sockets"};

Candidate nic(const std::string& provider, const std::string& domain, bool ipv4 = true, bool up = true) {
  Candidate candidate;
  candidate.provider = provider;
  candidate.domain = domain;
  candidate.loopback = domain == "lo";
  candidate.ipv4 = ipv4;
  candidate.link_up = up;
  return candidate;
}

struct Machine {
  std::map<std::string, std::vector<Candidate>> has = {
      {"shm", {nic("shm", "shm")}},
      {"tcp;ofi_rxm",
       {nic("tcp;ofi_rxm", "eth0", false), nic("tcp;ofi_rxm", "eth0"), nic("tcp;ofi_rxm", "lo")}},
  };
  std::string choose(const ProviderRequest& request) {
    chosen = efa::choose(
        request, [&](const std::string& name) { return has[name]; },
        [&](const std::string& name) { return reasons.contains(name) ? reasons[name] : "nothing found"; },
        kKnown);
    return chosen.index < 0 ? "none"
                            : chosen.provider + " " + has[chosen.provider][size_t(chosen.index)].domain;
  }
  std::map<std::string, std::string> reasons;
  Choice chosen;
};

ProviderRequest request(bool named, bool local, uint32_t library = kNew) {
  ProviderRequest request;
  request.named_by_user = named;
  request.all_ranks_local = local;
  request.library = library;
  return request;
}

}  // namespace

TEST_CASE("Without an EFA NIC no provider is used unless the user named the component") {
  Machine machine;
  CHECK(machine.choose(request(false, true)) == "none");
  CHECK(machine.choose(request(true, true)) == "shm shm");
}

TEST_CASE("An EFA NIC is the first choice") {
  Machine machine;
  machine.has["efa"] = {nic("efa", "rdmap0s6-rdm")};
  CHECK(machine.choose(request(false, false)) == "efa rdmap0s6-rdm");
  CHECK(machine.choose(request(true, true)) == "efa rdmap0s6-rdm");
}

TEST_CASE("shm is used inside one node only, and only if it supports probes") {
  Machine machine;
  CHECK(machine.choose(request(true, false)) == "tcp;ofi_rxm eth0");
  CHECK(machine.choose(request(true, true, kOld)) == "tcp;ofi_rxm lo");
}

TEST_CASE("Between nodes an IPv4 interface that is up is preferred, and the loopback is never used") {
  Machine machine;
  machine.choose(request(true, false));
  CHECK(machine.chosen.index == 1);
  machine.has["tcp;ofi_rxm"] = {nic("tcp;ofi_rxm", "lo"), nic("tcp;ofi_rxm", "eth0", true, false),
                                nic("tcp;ofi_rxm", "eth1")};
  CHECK(machine.choose(request(true, false)) == "tcp;ofi_rxm eth1");
}

TEST_CASE("Ranks that another job spawned on one node do not use the loopback: that job may be on other nodes") {
  Machine machine;
  ProviderRequest spawned = request(true, true, kOld);
  spawned.spawned = true;
  CHECK(machine.choose(spawned) == "tcp;ofi_rxm eth0");
  spawned.library = kNew;
  CHECK(machine.choose(spawned) == "shm shm");  // as the job that has spawned them there
}

TEST_CASE("EFA NICs without a PCI address are chosen by local rank") {
  Machine machine;
  machine.has["efa"] = {nic("efa", "a"), nic("efa", "b"), nic("efa", "dead", true, false)};
  for (int rank = 0; rank < 6; ++rank) {
    ProviderRequest each = request(false, true);
    each.local_rank = rank;
    CHECK(machine.choose(each) == std::string("efa ") + (rank % 2 ? "b" : "a"));
  }
}

TEST_CASE("Providers are tried in the order of the list") {
  Machine machine;
  ProviderRequest listed = request(true, true);
  listed.include = {"tcp;ofi_rxm", "shm"};
  CHECK(machine.choose(listed) == "tcp;ofi_rxm lo");
  listed.exclude = {"tcp;ofi_rxm"};
  CHECK(machine.choose(listed) == "shm shm");
  listed.exclude = {"tcp;ofi_rxm", "shm"};
  CHECK(machine.choose(listed) == "none");
  CHECK_THAT(machine.chosen.why, Contains("none is allowed") && Contains("mtl_efa_provider_include"));
}

TEST_CASE(
    "A provider that is not usable in this version of libfabric is refused; the message has the version that "
    "is needed") {
  Machine machine;
  ProviderRequest listed = request(true, true, kOld);
  listed.include = {"shm"};
  CHECK(machine.choose(listed) == "none");
  CHECK_THAT(machine.chosen.why,
             Contains("names \"shm\"") && Contains("libfabric 1.17") && Contains("from 1.20 on"));
}

TEST_CASE("An unknown provider is an error that lists the providers of libfabric") {
  Machine machine;
  ProviderRequest listed = request(true, true);
  listed.include = {"shm", "etherfabric"};
  CHECK(machine.choose(listed) == "none");
  CHECK_THAT(machine.chosen.why,
             Contains("mtl_efa_provider_include names \"etherfabric\"") && Contains("efa, shm, tcp;ofi_rxm"));
}

TEST_CASE("The error names every provider that was tried, with its reason") {
  Machine machine;
  machine.has.clear();
  machine.reasons["shm"] = "No space left on device; 1 MiB are free in /dev/shm";
  CHECK(machine.choose(request(true, true)) == "none");
  CHECK_THAT(machine.chosen.why, Contains("shm: No space left on device; 1 MiB are free in /dev/shm") &&
                                     Contains("tcp;ofi_rxm: nothing found"));
}

TEST_CASE("If shm is skipped for another provider, the reason is reported") {
  Machine machine;
  machine.has.erase("shm");
  machine.reasons["shm"] = "No space left on device";
  CHECK(machine.choose(request(true, true)) == "tcp;ofi_rxm lo");
  CHECK_THAT(skipped_words(machine.chosen),
             Contains("shm is not used (No space left on device)") && Contains("go over tcp;ofi_rxm"));
  CHECK(machine.choose(request(true, false)) == "tcp;ofi_rxm eth0");  // between nodes shm is no choice
  CHECK(skipped_words(machine.chosen).empty());
}

TEST_CASE("FI_PROVIDER is interpreted as libfabric does") {
  CHECK(filter_allows(nullptr, "efa"));
  CHECK(filter_allows("", "efa"));
  CHECK(filter_allows("tcp,efa", "efa"));
  CHECK(filter_allows("EFA", "efa"));
  CHECK_FALSE(filter_allows("tcp,shm", "efa"));
  CHECK_FALSE(filter_allows("^tcp,efa", "efa"));
  CHECK(filter_allows("^tcp", "efa"));
}

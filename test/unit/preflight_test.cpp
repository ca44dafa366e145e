// mtl_efa_info --check: the findings for a node.
#include "preflight.hpp"

#include <rdma/fabric.h>

#include <cerrno>

#include "catch.hpp"

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
  facts.interfaces = {"lo", "eth0"};
  facts.kernel_major = 6;
  facts.built_for = "5.0.7";
  facts.running = "5.0.3";
  facts.path.why = "the default; mtl_efa_path is not set";
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

// The facts inside a job that uses the component.
PreflightFacts in_job() {
  PreflightFacts facts = good();
  facts.component.known = facts.component.in_job = facts.component.path_is_set = true;
  facts.component.searched = {"/opt/mtl_efa", "/usr/lib/openmpi"};
  facts.component.file = "/opt/mtl_efa/mca_mtl_efa.so";
  facts.component.built_for = "5.0.7";
  facts.component.mtl = "efa";
  facts.component.pml = "cm";
  return facts;
}

}  // namespace

TEST_CASE("A node without faults has only ok findings") {
  const auto findings = judge(good());
  CHECK(outcome(findings) == Level::ok);
  for (const auto& finding : findings) {
    INFO(finding.topic);
    CHECK(finding.level == Level::ok);
  }
}

TEST_CASE("The path that a job would take is a finding, also where nothing is wrong with it") {
  PreflightFacts facts = good();
  const auto finding = [&] {
    for (const auto& each : judge(facts))
      if (each.topic == "path") return each;
    return Finding{Level::failure, "none", "", ""};
  };
  CHECK(finding().text == "tagged (the default; mtl_efa_path is not set)");
  facts.path = job_path({"packets", "a file"}, {}, {});
  CHECK(finding().level == Level::ok);
  CHECK(finding().text == "packets (mtl_efa_path=packets from a file), peers of the node through shared memory");
  // What Yama costs depends on the path.
  facts.attach = Attach::refused;
  CHECK_THAT(only_trouble(facts).text, Contains("inside the node go through the provider"));
}

TEST_CASE("Each fault is one finding with a remedy") {
  struct {
    void (*spoil)(PreflightFacts&);
    Level level;
    const char* topic;
    const char* says;
    const char* remedy;
  } faults[] = {
      {[](PreflightFacts& facts) { facts.path = job_path({"packets", "a file"}, {}, {"memfd_create", EPERM}); },
       Level::warning, "path", "no memory can be shared: memfd_create", "seccomp profile"},
      {[](PreflightFacts& facts) { facts.path = job_path({"packet", "a file"}, {}, {}); }, Level::failure, "path",
       "mtl_efa_path is \"packet\"", "tagged or packets"},
      {[](PreflightFacts& facts) { facts.nics = facts.nics_up = facts.kernel_devices = 0; }, Level::failure,
       "EFA NIC", "no EFA device", "modprobe efa"},
      {[](PreflightFacts& facts) { facts.nics = facts.nics_up = 0, facts.provider_built_in = false; },
       Level::failure, "EFA NIC", "no efa provider", "LD_LIBRARY_PATH"},
      {[](PreflightFacts& facts) { facts.nics = facts.nics_up = 0; }, Level::failure, "EFA NIC",
       "libfabric offers none", "uverbs"},
      {[](PreflightFacts& facts) {
         facts.nics = facts.nics_up = facts.kernel_devices = 0, facts.bus_devices = 4;
       },
       Level::failure, "EFA NIC", "EFA device found but not used: 4 on the PCI bus", "modprobe efa"},
      {[](PreflightFacts& facts) {
         facts.nics = facts.nics_up = facts.kernel_devices = 0, facts.instance = "p4d.24xlarge",
         facts.instance_nics = 4;
       },
       Level::failure, "EFA NIC", "launched without an EFA network interface", "type efa"},
      {[](PreflightFacts& facts) {
         facts.nics = facts.nics_up = 0, facts.provider_built_in = false, facts.provider_filter = "tcp";
       },
       Level::failure, "EFA NIC", "FI_PROVIDER=tcp", "Unset"},
      {[](PreflightFacts& facts) { facts.nics = facts.nics_up = 3; }, Level::warning, "EFA NIC",
       "libfabric offers 3 of the 4 that the kernel shows", "/dev/infiniband"},
      {[](PreflightFacts& facts) {
         facts.nics = facts.nics_up = facts.kernel_devices = 1, facts.instance = "p4d.24xlarge",
         facts.instance_nics = 4;
       },
       Level::warning, "EFA NIC", "1 of the 4 that p4d.24xlarge can have", "each network card"},
      {[](PreflightFacts& facts) { facts.nics_up = 3; }, Level::warning, "EFA NIC",
       "1 of 4 have their link down", "ibv_devinfo"},
      {[](PreflightFacts& facts) { facts.troubles = {"fi_endpoint failed on rdmap16s27-rdm"}; },
       Level::failure, "EFA NIC", "rdmap16s27-rdm", "FI_LOG_LEVEL"},
      {[](PreflightFacts& facts) { facts.provider.clear(); }, Level::failure, "libfabric", "no provider",
       "fi_info"},
      {[](PreflightFacts& facts) { facts.libfabric = FI_VERSION(1, 17); }, Level::warning, "libfabric",
       "no shared memory inside a node (before 1.20)", "Update libfabric"},
      {[](PreflightFacts& facts) { facts.tcp_interface = "ens5"; }, Level::warning, "TCP interface",
       "FI_TCP_IFACE=ens5 names no interface of this machine", "one of lo, eth0"},
      {[](PreflightFacts& facts) { facts.locked_memory = 65536; }, Level::failure, "locked memory", "0 MiB",
       "limits.conf"},
      {[](PreflightFacts& facts) { facts.locked_memory = 1 << 30; }, Level::warning, "locked memory",
       "1024 MiB", "ulimit -l"},
      {[](PreflightFacts& facts) { facts.shared_memory = 64 << 20; }, Level::warning, "shared memory",
       "64 MiB are free", "--shm-size"},
      {[](PreflightFacts& facts) { facts.kernel_major = 5, facts.kernel_minor = 10; }, Level::warning, "fork",
       "5.10", "RDMAV_FORK_SAFE"},
      {[](PreflightFacts& facts) { facts.ptrace_scope = 1; }, Level::warning, "ptrace", "ptrace_scope is 1",
       "sysctl"},
      {[](PreflightFacts& facts) { facts.ptrace_scope = 1, facts.attach = Attach::refused; }, Level::warning,
       "ptrace", "ptrace_scope is 1", "sysctl"},
      {[](PreflightFacts& facts) { facts.attach = Attach::refused; }, Level::warning, "ptrace",
       "though kernel.yama.ptrace_scope is 0", "SYS_PTRACE"},
      {[](PreflightFacts& facts) { facts.ranks = 1025; }, Level::failure, "ranks", "only 1024 endpoints",
       "fewer"},
      {[](PreflightFacts& facts) { facts.running = "4.1.6"; }, Level::failure, "Open MPI", "built for 5.0.7",
       "Build"},
      {[](PreflightFacts& facts) { facts.running.clear(); }, Level::warning, "Open MPI", "not in PATH",
       "PATH"},
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

TEST_CASE("FI_TCP_IFACE may name any interface of the machine") {
  PreflightFacts facts = good();
  for (const char* name : {"lo", "eth0"}) {
    facts.tcp_interface = name;
    CHECK(outcome(judge(facts)) == Level::ok);
  }
}

TEST_CASE("A fork-safe variable removes the warning about an old kernel") {
  PreflightFacts facts = good();
  facts.kernel_major = 4, facts.kernel_minor = 14;
  facts.fork_safe_by_variable = true;
  CHECK(outcome(judge(facts)) == Level::ok);
}

TEST_CASE("The tried attach has precedence over ptrace_scope, which does not restrict root") {
  PreflightFacts facts = good();
  facts.ptrace_scope = 1;
  facts.attach = Attach::works;
  CHECK(outcome(judge(facts)) == Level::ok);
}

TEST_CASE("The preflight has a line for each topic, with versions and known issues") {
  std::string topics;
  std::string libfabric;
  PreflightFacts facts = good();
  facts.versions = "201.0, driver efa";
  for (const auto& finding : judge(facts)) {
    topics += finding.topic + "; ";
    if (finding.topic == "libfabric") libfabric = finding.text;
  }
  CHECK(topics ==
        "EFA NIC; libfabric; locked memory; shared memory; huge pages; path; fork; ptrace; ranks; Open MPI; ");
  CHECK_THAT(libfabric, Contains("2.1, provider efa 201.0, driver efa; known issue, avoided: inside a node"));
  facts.libfabric = FI_VERSION(2, 2);
  CHECK_THAT(judge(facts)[1].text, !Contains("known"));
  for (const int64_t pages : {-1, 0, 12}) {
    facts.free_huge_pages = pages;
    CHECK(outcome(judge(facts)) == Level::ok);
    CHECK_THAT(judge(facts)[4].text, Contains(pages < 0 ? "has none"
                                              : pages   ? "12 of 2 MiB free"
                                                        : "nr_hugepages"));
  }
}

TEST_CASE("A component that the job would not use is a failure, with the reason") {
  CHECK(outcome(judge(in_job())) == Level::ok);
  struct {
    void (*spoil)(PreflightFacts&);
    Level level;
    const char* topic;
    const char* says;
    const char* remedy;
  } const faults[] = {
      {[](PreflightFacts& facts) { facts.component.file.clear(); }, Level::failure, "component",
       "searches /opt/mtl_efa, /usr/lib/openmpi", "mtl_efa.sh"},
      {[](PreflightFacts& facts) {
         facts.component.load_error = "libfabric.so.1: cannot open shared object file";
       },
       Level::failure, "component", "mca_mtl_efa.so cannot be loaded: libfabric.so.1: cannot open", "ldd"},
      {[](PreflightFacts& facts) { facts.component.built_for = "4.1.4"; }, Level::failure, "component",
       "built for Open MPI 4.1.4, but 5.0.3", "Build"},
      {[](PreflightFacts& facts) { facts.component.pml = "ob1"; }, Level::failure, "selection",
       "exclude mtl_efa", "--mca"},
      {[](PreflightFacts& facts) { facts.component.pml = "^cm"; }, Level::failure, "selection", "pml=^cm",
       "--mca"},
      {[](PreflightFacts& facts) { facts.component.mtl = "ofi"; }, Level::failure, "selection", "mtl=ofi",
       "--mca"},
      {[](PreflightFacts& facts) { facts.component.mtl = "^efa,ofi"; }, Level::failure, "selection",
       "mtl=^efa,ofi", "--mca"},
      {[](PreflightFacts& facts) { facts.component.osc = "^rdma"; }, Level::warning, "one-sided",
       "MPI_ERR_WIN", "osc"},
  };
  for (const auto& fault : faults) {
    PreflightFacts facts = in_job();
    fault.spoil(facts);
    const Finding found = only_trouble(facts);
    INFO(found.text);
    CHECK(found.level == fault.level);
    CHECK(found.topic == fault.topic);
    CHECK_THAT(found.text, Contains(fault.says));
    CHECK_THAT(found.remedy, Contains(fault.remedy));
  }
}

TEST_CASE("Selection: if the component cannot be used, the job ends only if the pml is named") {
  const auto last = [](const PreflightFacts& facts) { return judge(facts).back(); };
  PreflightFacts facts = in_job();
  CHECK_THAT(last(facts).text, Contains("the job ends"));
  for (const char* pml : {"", "^ucx"}) {
    facts.component.pml = pml;
    CHECK(last(facts).level == Level::ok);
    CHECK_THAT(last(facts).text, Contains("goes on with another transport"));
  }
  facts.component.mtl = "^ofi";
  CHECK(last(facts).level == Level::ok);  // there is an EFA NIC
}

TEST_CASE("Outside a job there is a warning that mpirun of 5.0 hides a component without a search path") {
  PreflightFacts facts = in_job();
  facts.component.in_job = facts.component.path_is_set = false;
  CHECK_THAT(only_trouble(facts).text, Contains("#13314"));
  facts.built_for = facts.running = facts.component.built_for = "4.1.4";
  CHECK(outcome(judge(facts)) == Level::ok);
}

TEST_CASE("Lists of components") {
  CHECK(allows("", "efa"));
  CHECK(allows("ofi,efa", "efa"));
  CHECK(allows("^ofi", "efa"));
  CHECK_FALSE(allows("ofi", "efa"));
  CHECK_FALSE(allows("^ofi,efa", "efa"));
  CHECK_FALSE(allows("efab", "efa"));
}

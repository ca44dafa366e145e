#include "preflight.hpp"

#include <rdma/fabric.h>

#include <algorithm>
#include <string_view>

#include "fabric/provider_table.hpp"
#include "fabric/shm_files.hpp"

namespace efa {
namespace {

constexpr uint64_t kMib = 1024 * 1024;
// Memory that the provider registers for the packet pools of one endpoint, without the users' buffers. Measured with
// libfabric 1.17 and 2.1 by the limit of the software device (efasim-run --limits mr_bytes=16Mi).
constexpr uint64_t kLockedPerRank = 16 * kMib;
// Size of a process's segment of the provider's shared memory in /dev/shm (libfabric 2.1).
constexpr uint64_t kSharedPerRank = 16 * kMib;
// From Linux 5.12 on, a fork copies registered pages. Before, copy on write could move them away from the parent.
constexpr unsigned kForkMajor = 5, kForkMinor = 12;

// Issues of libfabric that mtl_efa works around (docs/known-issues.md), for the versions in which they were observed.
struct KnownFault {
  std::string_view provider;
  uint32_t library;
  const char* text;
};
constexpr KnownFault kKnownFaults[] = {
    {"efa", FI_VERSION(2, 1),
     "inside a node messages over 4 KiB go by rendezvous, because probes and cross-memory attach do not work "
     "together; MPI_Finalize receives messages that nobody received"},
    {"shm", FI_VERSION(2, 1),
     "messages over 4 KiB go by rendezvous where cross-memory attach is on, because probes do not work with "
     "it"},
    {"tcp;ofi_rxm", FI_VERSION(1, 17),
     "receives have room for longer messages, because truncation is not reliable"},
};

std::string version_text(uint32_t version) {
  return std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
}

std::string mib(uint64_t bytes) {
  return std::to_string(bytes / kMib) + " MiB";
}

class Judge {
 public:
  explicit Judge(const PreflightFacts& facts) : f(facts) {}
  void ok(const char* topic, std::string text) {
    findings.push_back({Level::ok, topic, std::move(text), ""});
  }
  void warn(const char* topic, std::string text, std::string remedy) {
    findings.push_back({Level::warning, topic, std::move(text), std::move(remedy)});
  }
  void fail(const char* topic, std::string text, std::string remedy) {
    findings.push_back({Level::failure, topic, std::move(text), std::move(remedy)});
  }

  void nics();
  void no_nic();
  void libfabric();
  void tcp_interface();
  void memory();
  void path();
  void processes();
  void open_mpi();

  std::vector<Finding> findings;

 private:
  const PreflightFacts& f;
};

// libfabric offers no NIC: finds where the device is still visible (instance type, PCI bus, kernel), and why not further.
void Judge::no_nic() {
  const std::string shown = "the kernel shows " + std::to_string(f.kernel_devices) + ", but ";
  if (f.kernel_devices == 0 && f.bus_devices > 0)
    return fail("EFA NIC",
                "EFA device found but not used: " + std::to_string(f.bus_devices) +
                    " on the PCI bus, but the kernel's driver shows none",
                "Load the driver: modprobe efa (it is part of the EFA installer). In a container, pass "
                "/dev/infiniband and /sys/class/infiniband through.");
  if (f.kernel_devices == 0 && f.instance_nics > 0)
    return fail("EFA NIC",
                "there is none: " + f.instance + " can have " + std::to_string(f.instance_nics) +
                    ", but this instance was launched without an EFA network interface",
                "Launch it with network interfaces of type efa (ParallelCluster: Efa: Enabled: true). An EFA "
                "interface cannot be added to a running instance.");
  if (f.kernel_devices == 0)
    return fail(
        "EFA NIC", "there is none: the kernel shows no EFA device",
        "Launch an instance type with EFA (docs/instances.md), attach EFA network interfaces, and load the "
        "efa driver (modprobe efa; it is part of the EFA installer). In a container, pass /dev/infiniband "
        "through.");
  if (!f.provider_built_in && !f.provider_filter.empty())
    return fail("EFA NIC",
                "EFA device found but not used: " + shown + "FI_PROVIDER=" + f.provider_filter +
                    " excludes libfabric's efa provider, so there is no efa provider",
                "Unset FI_PROVIDER.");
  if (!f.provider_built_in)
    return fail("EFA NIC", "EFA device found but not used: " + shown + "this libfabric has no efa provider",
                "Use the libfabric of the EFA installer (/opt/amazon/efa/lib64 first in LD_LIBRARY_PATH), or "
                "Debian 13's.");
  fail("EFA NIC", "EFA device found but not used: " + shown + "libfabric offers none",
       "`FI_LOG_LEVEL=warn fi_info -p efa` prints the reason, usually a missing permission for "
       "/dev/infiniband/uverbs*.");
}

void Judge::nics() {
  if (f.nics == 0) return no_nic();
  for (const auto& trouble : f.troubles)
    fail("EFA NIC", trouble,
         "`FI_LOG_LEVEL=warn fi_info -p efa` prints more. Other processes may use all queue pairs.");
  if (f.nics_up < f.nics)
    warn("EFA NIC",
         std::to_string(f.nics - f.nics_up) + " of " + std::to_string(f.nics) + " have their link down",
         "They are not used. ibv_devinfo prints their state. If it does not change, stop and start the "
         "instance.");
  if (f.nics < f.kernel_devices)
    warn("EFA NIC",
         "libfabric offers " + std::to_string(f.nics) + " of the " + std::to_string(f.kernel_devices) +
             " that the kernel shows",
         "`FI_LOG_LEVEL=warn fi_info -p efa` prints the reason. In a container, pass all of /dev/infiniband "
         "through.");
  else if (f.nics < f.instance_nics)
    warn("EFA NIC",
         std::to_string(f.nics) + " of the " + std::to_string(f.instance_nics) + " that " + f.instance +
             " can have",
         "For the full rate, launch it with an EFA interface on each network card.");
  if (f.troubles.empty() && f.nics_up > 0)
    ok("EFA NIC",
       std::to_string(f.nics_up) + " usable" + (f.reads ? ", with RDMA read" : ", without RDMA read"));
}

void Judge::libfabric() {
  if (f.provider.empty())
    return fail("libfabric", version_text(f.libfabric) + " has no provider that can carry MPI messages here",
                "fi_info lists its providers. Install the EFA software or another libfabric.");
  std::string problems;
  if (f.provider == "efa" && !FI_VERSION_GE(f.libfabric, kEfaSharesMemorySince))
    problems =
        "mtl_efa uses no shared memory inside a node (before " + version_text(kEfaSharesMemorySince) + ")";
  std::string what = version_text(f.libfabric) + ", provider " + f.provider;
  if (!f.versions.empty()) what += " " + f.versions;
  for (const auto& fault : kKnownFaults)
    if (fault.provider == f.provider && fault.library == f.libfabric)
      what += std::string("; known issue, avoided: ") + fault.text;
  if (problems.empty())
    ok("libfabric", what);
  else
    warn("libfabric", what + ": " + problems, "It works, but slower inside a node. Update libfabric.");
}

// libfabric before 2.5 ignores an unknown name without a warning (ofi_get_list_of_addr() in src/common.c).
void Judge::tcp_interface() {
  if (f.tcp_interface.empty() || f.interfaces.empty() ||
      std::ranges::find(f.interfaces, f.tcp_interface) != f.interfaces.end())
    return;
  std::string names;
  for (const auto& name : f.interfaces) names += (names.empty() ? "" : ", ") + name;
  warn("TCP interface",
       "FI_TCP_IFACE=" + f.tcp_interface +
           " names no interface of this machine; libfabric before 2.5 ignores such a name and uses any "
           "interface",
       "Set it to one of " + names + ", or unset it.");
}

void Judge::memory() {
  const uint64_t ranks = static_cast<uint64_t>(std::max(f.ranks, 1));
  if (f.locked_memory == kUnlimited)
    ok("locked memory", "unlimited");
  else if (f.locked_memory < kLockedPerRank)
    fail("locked memory",
         "a process may lock " + mib(f.locked_memory) + ", but the provider alone needs up to " +
             mib(kLockedPerRank),
         "Set `ulimit -l unlimited`, in /etc/security/limits.conf (* - memlock unlimited); under Slurm, set "
         "LimitMEMLOCK=infinity for slurmd.");
  else
    warn("locked memory", "a process may lock " + mib(f.locked_memory) + "; long messages can need more",
         "Set `ulimit -l unlimited`, in /etc/security/limits.conf (* - memlock unlimited).");

  if (f.shared_memory < ranks * kSharedPerRank)
    warn("shared memory",
         mib(f.shared_memory) + " are free in /dev/shm for " + std::to_string(ranks) +
             " ranks, which can use up to " + mib(ranks * kSharedPerRank),
         "mount -o remount,size=... /dev/shm; in a container --shm-size.");
  else
    ok("shared memory",
       f.shared_memory == kUnlimited ? "enough" : mib(f.shared_memory) + " free in /dev/shm");

  if (f.free_huge_pages < 0)
    ok("huge pages", "the kernel has none of 2 MiB; ordinary pages are used");
  else if (f.free_huge_pages == 0)
    ok("huge pages",
       "none of 2 MiB is free; ordinary pages are used (`sysctl -w vm.nr_hugepages=N` reserves N)");
  else
    ok("huge pages", std::to_string(f.free_huge_pages) + " of 2 MiB free");
}

void Judge::path() {
  if (f.path.name.empty())
    fail("path", f.path.trouble, f.path.remedy);
  else if (!f.path.trouble.empty())
    warn("path", f.path.name + " (" + f.path.why + "), " + f.path.node, f.path.remedy);
  else
    ok("path", f.path.name + " (" + f.path.why + ")" + (f.path.node.empty() ? "" : ", " + f.path.node));
}

void Judge::processes() {
  const bool safe_kernel =
      f.kernel_major > kForkMajor || (f.kernel_major == kForkMajor && f.kernel_minor >= kForkMinor);
  if (safe_kernel || f.fork_safe_by_variable)
    ok("fork",
       safe_kernel ? "safe: the kernel copies registered pages" : "safe: enabled by an environment variable");
  else
    warn("fork",
         "a program that forks can lose messages: Linux " + std::to_string(f.kernel_major) + "." +
             std::to_string(f.kernel_minor) + " is older than 5.12",
         "Set RDMAV_FORK_SAFE=1 for programs that call fork or system, or update the kernel.");

  const std::string effect = f.path.name == "packets"
                                 ? "long messages inside the node go through the provider"
                                 : "long messages inside the node are copied twice";
  if (f.attach == Attach::works || (f.attach == Attach::untried && f.ptrace_scope == 0))
    ok("ptrace", "processes of one user may read each other's memory: one copy inside the node");
  else if (f.ptrace_scope == 0)
    warn(
        "ptrace",
        "one process may not read another's memory, although kernel.yama.ptrace_scope is 0: " + effect,
        "In a container, allow process_vm_readv: --cap-add SYS_PTRACE, or a seccomp profile that allows it.");
  else
    warn("ptrace", "kernel.yama.ptrace_scope is " + std::to_string(f.ptrace_scope) + ": " + effect,
         "Run `sysctl -w kernel.yama.ptrace_scope=0` (the EFA installer does this).");

  const uint64_t nics = static_cast<uint64_t>(std::max(f.nics_up, 1));
  const uint64_t most = f.endpoints * nics;
  if (f.endpoints && static_cast<uint64_t>(f.ranks) > most)
    fail("ranks",
         std::to_string(f.ranks) + " per node, but the NICs have only " + std::to_string(most) + " endpoints",
         "Run fewer ranks per node.");
  else
    ok("ranks",
       std::to_string(f.ranks) + " per node" + (f.endpoints ? ", of at most " + std::to_string(most) : ""));
}

void Judge::open_mpi() {
  if (f.running.empty())
    warn("Open MPI", "ompi_info is not in PATH; the component was built for " + f.built_for,
         "Add the Open MPI that will run the job to PATH, then check again.");
  else if (series(f.running) != series(f.built_for))
    fail("Open MPI", f.running + " is in PATH, but the component was built for " + f.built_for,
         "Build the component against the Open MPI that runs (-Dopenmpi=PREFIX).");
  else
    ok("Open MPI", f.running + ", the component was built for " + f.built_for);
}

}  // namespace

std::string series(const std::string& version) {
  const auto dot = version.find('.');
  return version.substr(0, dot == std::string::npos ? dot : version.find('.', dot + 1));
}

std::vector<Finding> judge(const PreflightFacts& facts) {
  Judge judge(facts);
  judge.nics();
  judge.libfabric();
  judge.tcp_interface();
  judge.memory();
  judge.path();
  judge.processes();
  judge.open_mpi();
  judge_component(facts, judge.findings);
  return judge.findings;
}

Level outcome(const std::vector<Finding>& findings) {
  Level worst = Level::ok;
  for (const auto& finding : findings) worst = std::max(worst, finding.level);
  return worst;
}

}  // namespace efa

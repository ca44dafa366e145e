// Gathers the facts for the preflight.
#include <ifaddrs.h>
#include <rdma/fabric.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "channel/process_memory.hpp"
#include "fabric/discovery.hpp"
#include "fabric/efa_presence.hpp"
#include "machine/instances.hpp"
#include "preflight.hpp"

namespace efa {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

long number_in(const std::string& path, long otherwise) {
  const std::string line = first_line(path);
  return line.empty() ? otherwise : std::atol(line.c_str());
}

// A child reads from its parent: for Yama this is the same as one rank reading from another; a parent reading from its
// child would not be.
Attach try_attach() {
  static char there = 'x';
  const pid_t parent = getpid(), child = fork();
  if (child == 0) {
    char here = 0;
    const iovec to{&here, 1}, from{&there, 1};
    _exit(process_vm_readv(parent, &to, 1, &from, 1, 0) == 1 && here == there ? 0 : 1);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return Attach::untried;
  return WEXITSTATUS(status) == 0 ? Attach::works : Attach::refused;
}

// "5.0.7", or nothing if there is no ompi_info in PATH.
std::string open_mpi_in_path() {
  FILE* pipe = popen("ompi_info --version 2>/dev/null", "r");
  if (!pipe) return "";
  char line[256] = "";
  const bool got = std::fgets(line, sizeof line, pipe) != nullptr;
  pclose(pipe);
  const std::string text = got ? line : "";
  const auto v = text.find(" v");
  return v == std::string::npos ? "" : text.substr(v + 2, text.find_last_not_of(" \n") - v - 1);
}

// Names of the network interfaces, from the list in which libfabric looks up FI_TCP_IFACE.
std::vector<std::string> network_interfaces() {
  std::vector<std::string> names;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return names;
  for (const ifaddrs* each = list; each; each = each->ifa_next)
    if (std::ranges::find(names, each->ifa_name) == names.end()) names.emplace_back(each->ifa_name);
  freeifaddrs(list);
  return names;
}

// EFA devices in hwloc's topology, which may come from HWLOC_XMLFILE.
int functions_in(hwloc_topology_t topology) {
  int count = 0;
  for (hwloc_obj_t device = nullptr; topology && (device = hwloc_get_next_pcidev(topology, device));)
    count += device->attr->pcidev.vendor_id == 0x1d0f && (device->attr->pcidev.device_id & 0xfff0) == 0xefa0;
  return count;
}

// The type of this instance: EC2 reports it as the product name of the machine.
const InstanceType* instance_of(hwloc_topology_t topology) {
  const char* name =
      topology ? hwloc_obj_get_info_by_name(hwloc_get_root_obj(topology), "DMIProductName") : nullptr;
  return name ? find_instance(name) : nullptr;
}

}  // namespace

PreflightFacts gather(const Node& node, int ranks, bool in_job) {
  PreflightFacts facts;
  facts.ranks = ranks;
  facts.provider = node.provider;
  facts.versions = node.versions;
  facts.libfabric = fi_version();
  const auto providers = Discovery::known_providers();
  facts.provider_built_in = std::ranges::find(providers, "efa") != providers.end();
  facts.kernel_devices = kernel_efa_devices();
  facts.bus_devices = std::max(efa_functions(kPciDevices), functions_in(node.topology.get()));
  if (const char* filter = std::getenv("FI_PROVIDER")) facts.provider_filter = filter;
  if (const char* name = std::getenv("FI_TCP_IFACE")) facts.tcp_interface = name;
  facts.interfaces = network_interfaces();
  if (const InstanceType* instance = instance_of(node.topology.get())) {
    facts.instance = instance->name;
    facts.instance_nics = static_cast<int>(instance->nics.size());
  }
  if (node.provider == "efa") {
    const UsableNics usable = usable_nics(node.plain_nics(), {});
    facts.nics = facts.nics_up = static_cast<int>(usable.nics.size());
    facts.reads = true;
    for (const auto& skipped : usable.skipped) facts.nics += !node.nics[skipped.nic].nic.link_up;
    for (const size_t i : usable.nics) {
      facts.reads &= node.nics[i].reads;
      if (!node.nics[i].trouble.empty()) facts.troubles.push_back(node.nics[i].trouble);
      const uint64_t has = node.nics[i].endpoints;
      facts.endpoints = facts.endpoints ? std::min(facts.endpoints, has) : has;
    }
  }

  rlimit limit = {};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    facts.locked_memory = limit.rlim_cur;
  struct statvfs shm = {};
  if (statvfs("/dev/shm", &shm) == 0) facts.shared_memory = uint64_t{shm.f_bavail} * shm.f_frsize;
  facts.free_huge_pages = number_in("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", -1);
  facts.ptrace_scope = static_cast<int>(number_in("/proc/sys/kernel/yama/ptrace_scope", 0));
  facts.path = job_path();
  // On the packet path processes let each other read their memory where Yama leaves that to them.
  const bool allowed = facts.path.name == "packets" && allow_any_reader();
  facts.attach = try_attach();
  if (allowed) reset_readers();
  utsname system = {};
  if (uname(&system) == 0) std::sscanf(system.release, "%u.%u", &facts.kernel_major, &facts.kernel_minor);
  for (const char* variable : {"RDMAV_FORK_SAFE", "IBV_FORK_SAFE", "FI_EFA_FORK_SAFE"})
    facts.fork_safe_by_variable |= std::getenv(variable) != nullptr;
  facts.built_for = EFA_OPEN_MPI;
  facts.running = open_mpi_in_path();
  facts.component = component_facts(in_job);
  return facts;
}

}  // namespace efa

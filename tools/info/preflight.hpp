// The preflight for job scripts: whether this node is ready for EFA.
//
// judge() is a function of facts, so that a test can check every outcome on any machine. gather() collects the facts of
// this machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "component.hpp"
#include "node.hpp"
#include "path.hpp"

namespace efa {

constexpr uint64_t kUnlimited = UINT64_MAX;

// Whether a process may read the memory of another of its user that is not its child (cross-memory attach).
enum class Attach { untried, works, refused };

struct PreflightFacts {
  int ranks = 1;                        // of the job on this node
  std::string provider;                 // the one that the component would use
  std::string versions;                 // of that provider, driver and firmware
  uint32_t libfabric = 0;               // FI_VERSION
  bool provider_built_in = false;       // libfabric has an efa provider
  int kernel_devices = 0;               // EFA devices that the kernel's driver shows in /sys/class/infiniband
  int bus_devices = 0;                  // EFA devices on the PCI bus, with or without a driver
  int nics = 0, nics_up = 0;            // as libfabric lists them
  std::string instance;                 // type of this EC2 instance, if the table knows it
  int instance_nics = 0;                // EFA NICs that it can have
  std::string provider_filter;          // the variable FI_PROVIDER
  std::string tcp_interface;            // the variable FI_TCP_IFACE; empty: not set
  std::vector<std::string> interfaces;  // network interfaces of this machine
  bool reads = false;                   // all of them have RDMA read
  std::vector<std::string> troubles;    // endpoints that did not open
  uint64_t endpoints = 0;               // maximum per NIC; 0: unknown
  uint64_t locked_memory = kUnlimited;  // RLIMIT_MEMLOCK, bytes
  uint64_t shared_memory = kUnlimited;  // free in /dev/shm, bytes
  int64_t free_huge_pages = -1;         // of 2 MiB; -1: the kernel has none
  int ptrace_scope = 0;                 // Yama's; 0: processes of one user may read each other
  Attach attach = Attach::untried;      // depends also on root, capabilities and seccomp
  unsigned kernel_major = 0, kernel_minor = 0;
  bool fork_safe_by_variable = false;  // RDMAV_FORK_SAFE, IBV_FORK_SAFE or FI_EFA_FORK_SAFE is set
  std::string built_for, running;      // versions of Open MPI; `running` empty: no ompi_info in PATH
  ComponentFacts component;            // what a job would load
  JobPath path;                        // the path that its messages would take
};

enum class Level { ok, warning, failure };

struct Finding {
  Level level;
  std::string topic;   // "locked memory"
  std::string text;    // the finding
  std::string remedy;  // what to do; empty if ok
};

PreflightFacts gather(const Node& node, int ranks, bool in_job);
std::vector<Finding> judge(const PreflightFacts& facts);
// The part of judge() that is about the component and the parameters that select it.
void judge_component(const PreflightFacts& facts, std::vector<Finding>& findings);
// "5.0" of "5.0.7".
std::string series(const std::string& version);
// The worst level.
Level outcome(const std::vector<Finding>& findings);

}  // namespace efa

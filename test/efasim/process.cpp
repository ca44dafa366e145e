// The process's device: made on first use, removed from the fabric at exit.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "device.hpp"

namespace efasim {
namespace {

std::mutex create_mutex;
Process* owned = nullptr;

// A child after fork() has neither the thread nor the record lock, and must not remove its parent from the fabric.
void at_end() {
  if (owned == nullptr || owned->pid != getpid()) return;
  owned->exiting.store(true);
  engine_stop();
  owned->fabric->leave();
}

ibv_device describe(const Settings& settings, const NicProfile& nic, unsigned index) {
  ibv_device device = {};
  device.node_type = IBV_NODE_UNSPECIFIED;
  device.transport_type = IBV_TRANSPORT_UNSPECIFIED;
  snprintf(device.name, sizeof device.name, "%s", nic.name.c_str());
  snprintf(device.dev_name, sizeof device.dev_name, "uverbs%u", index);
  // The tree that efasim-run wrote (sysfs.cpp). The provider resolves device and driver below ibdev_path.
  const std::string sys = settings.directory + "/nodes/" + settings.node + "/sys/class/";
  snprintf(device.dev_path, sizeof device.dev_path, "%sinfiniband_verbs/uverbs%u", sys.c_str(), index);
  snprintf(device.ibdev_path, sizeof device.ibdev_path, "%sinfiniband/%s", sys.c_str(), nic.name.c_str());
  return device;
}

}  // namespace

Process* Process::create() {
  std::lock_guard<std::mutex> guard(create_mutex);
  if (owned != nullptr) return owned;
  static bool failed = false;
  if (failed) {
    errno = ENODEV;
    return nullptr;
  }
  auto process = std::make_unique<Process>();
  std::string error;
  bool ok = read_settings(&process->settings, &error);
  log_open(process->settings.log.c_str(), process->settings.verbose, process->settings.quiet);
  if (ok && process->settings.directory.empty()) {
    ok = false;
    error = "EFASIM_DIR is not set; start the program with efasim-run";
  }
  ok = ok && make_profile(process->settings, &process->profile, &error);
  if (ok) process->fabric = Fabric::attach(process->settings, process->profile, &error);
  if (!ok || process->fabric == nullptr) {
    failed = true;
    EFASIM_ERROR("no device: %s", error.c_str());
    errno = ENODEV;
    return nullptr;
  }
  for (unsigned i = 0; i < process->profile.nics.size(); i++) {
    process->devices.push_back(describe(process->settings, process->profile.nics[i], i));
  }
  process->pid = getpid();
  owned = process.release();  // never freed: handles may be used in other destructors
  current_.store(owned, std::memory_order_release);
  atexit(at_end);
  EFASIM_INFO("node %s: %s with %zu NICs, number %u in %s", owned->settings.node.c_str(), owned->profile.name.c_str(),
              owned->devices.size(), owned->fabric->proc_slot(), owned->settings.directory.c_str());
  return owned;
}

}  // namespace efasim

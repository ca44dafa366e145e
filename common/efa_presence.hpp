// How far an EFA device comes in this machine - PCI bus, kernel, libfabric - and what to say when it is there and not
// used: users look for "EFA device found but not used", and need the name of what did it.
#pragma once

#include <string>

#include "discovery.hpp"

namespace efa {

// "1 EFA device", "2 EFA devices".
std::string counted(int count, const char* thing);

struct EfaPresence {
  int on_bus = 0;         // EFA functions on the PCI bus, driven or not
  int in_kernel = 0;      // that the kernel's driver shows in /sys/class/infiniband
  bool provider = false;  // libfabric has the efa provider
  int offered = 0;        // NICs that libfabric offers
  std::string filter;     // the variable FI_PROVIDER, by which users restrict libfabric

  bool found() const { return on_bus > 0 || in_kernel > 0 || offered > 0; }
};

inline constexpr const char* kPciDevices = "/sys/bus/pci/devices";
// EFA functions (vendor 1d0f, device efa*) below `bus`, a directory like kPciDevices.
int efa_functions(const std::string& bus);

EfaPresence look_for_efa(Discovery& discovery);

// Why an EFA device that is there cannot be used, whatever the component's parameters say, and what to do; empty if
// it can. `library`: fi_version().
std::string why_not_usable(const EfaPresence& presence, uint32_t library);

// The hint that EFA is there but not used, while messages go over `provider` (empty: not over this component); empty
// if it is not there.
std::string unused_efa(const EfaPresence& presence, const Wish& wish, const std::string& provider);

}  // namespace efa

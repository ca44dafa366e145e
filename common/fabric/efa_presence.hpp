// Where an EFA device is visible on this machine (PCI bus, kernel, libfabric), and the message "EFA device found but not
// used", with the reason.
#pragma once

#include <string>

#include "fabric/discovery.hpp"

namespace efa {

// "1 EFA device", "2 EFA devices".
std::string counted(int count, const char* thing);

struct EfaPresence {
  int on_bus = 0;         // EFA functions on the PCI bus, with or without a driver
  int in_kernel = 0;      // that the kernel's driver shows in /sys/class/infiniband
  bool provider = false;  // libfabric has the efa provider
  int offered = 0;        // NICs that libfabric offers
  std::string filter;     // the variable FI_PROVIDER, by which users restrict libfabric

  bool found() const { return on_bus > 0 || in_kernel > 0 || offered > 0; }
};

inline constexpr const char* kPciDevices = "/sys/bus/pci/devices";
// EFA functions (vendor 1d0f, device efa*) below `bus`, a directory like kPciDevices.
int efa_functions(const std::string& bus);

// Without a discovery libfabric is not asked.
EfaPresence detect_efa(Discovery* discovery);

// Why a present EFA device cannot be used, independent of the component's parameters, and what to do; empty if it can. `library`: fi_version().
MessagePart why_not_usable(const EfaPresence& presence, uint32_t library);

// The hint that EFA is there but not used, while messages go over `provider` (empty: not over this component); empty
// if it is not there.
UserMessage unused_efa(const EfaPresence& presence, const ProviderRequest& request,
                       const std::string& provider);

// What to say where libfabric's efa goes without shared memory inside the node; `reason`: libfabric's, may be empty.
UserMessage efa_without_shared_memory(const std::string& reason);

}  // namespace efa

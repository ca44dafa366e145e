#pragma once

#include <compare>
#include <cstdint>
#include <cstdio>
#include <string>

namespace efa {

/// Where a device sits on PCI: what libfabric's fi_info->nic->bus_attr, sysfs and hwloc all agree on, and
/// therefore the key by which a NIC of one is found in the other.
struct PciAddress {
  uint16_t domain = 0;  ///< PCI segment
  uint8_t bus = 0;
  uint8_t device = 0;    ///< slot, 0-31
  uint8_t function = 0;  ///< 0-7

  auto operator<=>(const PciAddress&) const = default;
};

/// "dddd:bb:dd.f", as sysfs and lspci -D write it.
inline std::string to_string(const PciAddress& pci) {
  char text[16];
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", unsigned{pci.domain}, unsigned{pci.bus},
                unsigned{pci.device}, unsigned{pci.function} & 7u);
  return text;
}

}  // namespace efa

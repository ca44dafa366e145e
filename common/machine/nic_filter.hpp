#pragma once

// Which of the NICs that libfabric offers may be used, and the names of NICs in parameters.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/user_message.hpp"
#include "machine/pci_address.hpp"

namespace efa {

/// A NIC as libfabric describes it; the caller's list is in the order in which libfabric gave it.
struct Nic {
  std::string name;               ///< libfabric's domain ("rdmap16s27-rdm") or the device ("rdmap16s27")
  std::optional<PciAddress> pci;  ///< none: a software provider, or unknown
  uint64_t bits_per_second = 0;   ///< 0: unknown
  bool link_up = true;            ///< also true if unknown
  std::string provider;           ///< "efa", "tcp;ofi_rxm", ...
};

struct NicFilter {
  /// Use only its NICs. "": "efa" if there is such a NIC, else the first NIC's provider.
  std::string provider;
  std::string include;        ///< comma-separated patterns; "": all
  std::string exclude;        ///< comma-separated patterns; wins over include
  bool similar_rates = true;  ///< drop NICs with less than half the rate of the fastest that is left
};

struct SkippedNic {
  size_t nic;       ///< index in the caller's list
  MessagePart why;  ///< "its link is down", ...
};

struct UsableNics {
  std::vector<size_t> nics;  ///< indices in the caller's list, in its order
  std::vector<SkippedNic> skipped;
};

/// Drops NICs of other providers, with the link down, listed twice (libfabric lists a NIC once per fabric and
/// endpoint type; the first stays), not included, excluded, or much slower than the others: processes are
/// assigned by number, so a slow NIC would delay its processes.
UsableNics usable_nics(std::span<const Nic> nics, const NicFilter& filter);

/// Whether a pattern names this NIC: a shell pattern (fnmatch(3)) for its domain, its device or its PCI
/// address, so "rdmap16s27-rdm", "rdmap16s27", "rdmap1*", "0000:10:1b.0" and "10:1b.0" all do.
bool matches(const Nic& nic, const std::string& pattern);

/// The non-empty parts of `list` between separators, without surrounding blanks.
std::vector<std::string> split_patterns(std::string_view list, char separator);

}  // namespace efa

#pragma once

// Which NICs a process uses: docs/affinity.md explains the rules with examples.
//
// Runs once, at set-up, in every process. It needs no communication, and all processes of a node come to maps
// that fit together, since each applies the same rules to the same machine and to its own place.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nic_locality.hpp"

namespace efa {

enum class NicPolicy : uint8_t {
  kNear,    ///< the nearest NICs; processes that are equally near to several take turns
  kSpread,  ///< the same number of processes on every NIC, whatever the distance
  kOne,     ///< every process of the node on the first NIC
};
std::optional<NicPolicy> parse_nic_policy(std::string_view text);  ///< "near", "spread" or "one"

struct NicParameters {
  NicPolicy policy = NicPolicy::kNear;
  NicFilter filter;
  /// Explicit choice, which overrides policy, rails, include and exclude: names or patterns of NICs, rail 0
  /// first, separated by commas. Several such lists, separated by semicolons, are dealt out by local rank:
  /// rank i takes list i modulo their number. "": none.
  std::string nics;
  /// NICs per process, at least 1; 0: an equal share of the NICs, at least one, for each process of the node.
  int rails = 1;
};

struct ProcessPlace {
  /// Where the process is bound; nullptr, or all cores of the topology: unbound. The caller's.
  hwloc_const_cpuset_t binding = nullptr;
  /// Among the job's processes on this node; out of range is taken as the nearest in range.
  int local_rank = 0;
  int local_size = 1;
  /// The bindings of all `local_size` processes by local rank, nullptr where one is unbound, if they are
  /// known (by an exchange at start): then balance is exact for any placement. Empty: unknown; then it is
  /// exact where the processes fill the node with bindings of one size that do not overlap, and close to it
  /// elsewhere.
  std::span<const hwloc_const_cpuset_t> all_bindings{};
};

struct NicRail {
  size_t nic;  ///< index in the list that NicAffinity was made from
  Nearness nearness;
};

struct NicChoice {
  std::vector<NicRail> rails;  ///< rail 0 first; empty if and only if `error` is set
  std::string reason;          ///< one line: why rail 0
  std::string hint;            ///< "" or what the user could do better; for verbosity 1, once per job
  std::string error;           ///< no NIC can be chosen: what is wrong and what to do
};

class NicAffinity {
 public:
  /// `topology` must outlive this object; nothing else is kept of the arguments but copies. A topology
  /// without I/O objects is accepted: the place of all NICs is unknown then.
  NicAffinity(hwloc_topology_t topology, std::vector<Nic> nics, NicParameters parameters);

  /// The same arguments give the same answer in every process. Thread safe.
  NicChoice choose(const ProcessPlace& given) const;

  /// The NICs that are not used at all, and why.
  const std::vector<SkippedNic>& skipped() const { return usable_.skipped; }

 private:
  /// A process's place among those that share some NICs.
  struct Turn {
    int index;
    int of;  ///< how many they are; 0: not known, `index` counts the places before it
  };

  NicChoice choose_explicit(const ProcessPlace& place) const;
  NicChoice choose_near(const ProcessPlace& place, hwloc_const_cpuset_t binding) const;
  NicChoice choose_shared(const ProcessPlace& place, hwloc_const_cpuset_t binding, const char* why) const;
  Turn turn_near(const ProcessPlace& place, hwloc_const_cpuset_t binding, const Indices& near) const;
  Turn turn_on_node(const ProcessPlace& place, hwloc_const_cpuset_t binding) const;
  template <typename Shares>
  Turn turn_among(const ProcessPlace& place, Shares shares) const;
  static bool knows_all(const ProcessPlace& place);
  bool bound(hwloc_const_cpuset_t binding) const;
  std::vector<NicRail> rails(const Indices& ring, size_t start, hwloc_const_cpuset_t binding,
                             int local_size) const;
  std::string names(const Indices& indices) const;
  std::string no_name_error() const;
  std::string unusable_name_error(const std::string& pattern) const;
  std::string no_nic_error() const;

  std::vector<Nic> nics_;
  NicParameters parameters_;
  UsableNics usable_;
  NicLocality locality_;
};

}  // namespace efa

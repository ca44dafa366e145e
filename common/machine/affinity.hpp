#pragma once

// Which NICs a process uses: docs/affinity.md explains the rules with examples.
//
// Runs once, at set-up, in every process, without communication. The results of the processes of a node fit together,
// because all apply the same rules to the same machine.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "machine/nic_locality.hpp"

namespace efa {

enum class NicPolicy : uint8_t {
  kNear,    ///< the nearest NICs; processes that are equally near to several NICs share them
  kSpread,  ///< the same number of processes on every NIC, whatever the distance
  kOne,     ///< every process of the node on the first NIC
};
std::optional<NicPolicy> parse_nic_policy(std::string_view text);  ///< "near", "spread" or "one"

struct NicParameters {
  NicPolicy policy = NicPolicy::kNear;
  NicFilter filter;
  /// Explicit choice, which overrides policy, rails, include and exclude: names or patterns of NICs, rail 0
  /// first, separated by commas. Several such lists, separated by semicolons, are assigned by local rank:
  /// rank i takes list i modulo their number. "": none.
  std::string nics;
  /// NICs per process, at least 1; 0: an equal share of the NICs, at least one, for each process of the node.
  int rails = 1;
};

struct ProcessPlace {
  /// The binding of the process; nullptr, or all cores of the topology: unbound. Owned by the caller.
  hwloc_const_cpuset_t binding = nullptr;
  /// Among the job's processes on this node; clamped to the valid range.
  int local_rank = 0;
  int local_size = 1;
  /// The bindings of all `local_size` processes by local rank (nullptr: unbound), if they are known: then the balance is
  /// exact for any placement. Empty: unknown; then it is exact if the processes fill the node with bindings of one size
  /// that do not overlap, otherwise approximate.
  std::span<const hwloc_const_cpuset_t> all_bindings{};
};

struct NicRail {
  size_t nic;  ///< index in the list that NicAffinity was made from
  Nearness nearness;
};

struct NicChoice {
  std::vector<NicRail> rails;  ///< rail 0 first; empty if and only if `error` is set
  std::string reason;          ///< one line: why rail 0
  UserMessage hint;            ///< "" or what the user could do better; for verbosity 1, once per job
  UserMessage error;           ///< no NIC can be chosen: what is wrong and what to do
};

class NicAffinity {
 public:
  /// `topology` must outlive this object; the other arguments are copied. A topology without I/O objects is accepted:
  /// then the place of all NICs is unknown.
  NicAffinity(hwloc_topology_t topology, std::vector<Nic> nics, NicParameters parameters);

  /// The same arguments give the same answer in every process. Thread safe.
  NicChoice choose(const ProcessPlace& given) const;

  /// The NICs that are not used at all, and why.
  const std::vector<SkippedNic>& skipped() const { return usable_.skipped; }

 private:
  /// The index of a process among those that share some NICs.
  struct Turn {
    int index;
    int of;  ///< their number; 0: unknown, then `index` is the number of bindings before it
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
  UserMessage no_name_error() const;
  UserMessage unusable_name_error(const std::string& pattern) const;
  UserMessage no_nic_error() const;

  std::vector<Nic> nics_;
  NicParameters parameters_;
  UsableNics usable_;
  NicLocality locality_;
};

}  // namespace efa

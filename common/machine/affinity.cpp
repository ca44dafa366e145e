#include "machine/affinity.hpp"

#include <algorithm>
#include <utility>

namespace efa {
namespace {

/// The position at which process `index` of `of` begins in a ring of `count` NICs. The numbers of processes per NIC
/// differ by at most one, and neighbours get neighbouring NICs.
size_t start_of_part(int index, int of, size_t count) {
  return static_cast<size_t>(index) * count / static_cast<size_t>(of);
}

/// The positions of the ring, one per PCI switch first, then a second one per switch and so on, so that the first few
/// processes of a node that is not full do not share a switch.
std::vector<size_t> dealt_over_switches(const Indices& ring, const NicLocality& locality) {
  struct Deal {
    int round;
    size_t position;
  };
  std::vector<Deal> deals;
  for (size_t position = 0; position < ring.size(); ++position) {
    const int group = locality.pci_group(ring[position]);
    const auto before = std::ranges::count_if(
        deals, [&](const Deal& deal) { return locality.pci_group(ring[deal.position]) == group; });
    deals.push_back({static_cast<int>(before), position});
  }
  std::ranges::stable_sort(deals, {}, &Deal::round);
  std::vector<size_t> dealt;
  for (const Deal& deal : deals) dealt.push_back(deal.position);
  return dealt;
}

/// Names override include, exclude and rate, but not the link state and the provider.
NicFilter filter_of(const NicParameters& parameters) {
  if (parameters.nics.empty()) return parameters.filter;
  return {parameters.filter.provider, "", "", false};
}

}  // namespace

std::optional<NicPolicy> parse_nic_policy(std::string_view text) {
  if (text == "near") return NicPolicy::kNear;
  if (text == "spread") return NicPolicy::kSpread;
  if (text == "one") return NicPolicy::kOne;
  return std::nullopt;
}

NicAffinity::NicAffinity(hwloc_topology_t topology, std::vector<Nic> nics, NicParameters parameters)
    : nics_(std::move(nics)),
      parameters_(std::move(parameters)),
      usable_(usable_nics(nics_, filter_of(parameters_))),
      locality_(topology, nics_, usable_.nics) {}

bool NicAffinity::bound(hwloc_const_cpuset_t binding) const {
  if (!binding) return false;
  const size_t touched = locality_.cores(binding).size();
  return touched > 0 && touched < static_cast<size_t>(locality_.core_count());
}

NicChoice NicAffinity::choose(const ProcessPlace& given) const {
  ProcessPlace place = given;
  place.local_size = std::max(1, place.local_size);
  place.local_rank = std::clamp(place.local_rank, 0, place.local_size - 1);
  if (usable_.nics.empty()) return {{}, "", {}, no_nic_error()};
  if (!parameters_.nics.empty()) return choose_explicit(place);

  const auto binding = bound(place.binding) ? place.binding : nullptr;
  if (parameters_.policy == NicPolicy::kOne)
    return {rails({locality_.shared().front()}, 0, binding, place.local_size), "policy 'one'", {}, {}};
  if (parameters_.policy == NicPolicy::kSpread) return choose_shared(place, binding, "policy 'spread'");
  if (!binding) {
    NicChoice choice = choose_shared(place, binding, "not bound to cores");
    if (locality_.distance_matters()) choice.hint = msg::nic_unbound();
    return choice;
  }
  if (!locality_.even())
    return choose_shared(place, binding, "NICs are placed unevenly, so balance comes before distance");
  return choose_near(place, binding);
}

NicChoice NicAffinity::choose_near(const ProcessPlace& place, hwloc_const_cpuset_t binding) const {
  const Indices near = locality_.nearest(binding);
  const Turn turn = turn_near(place, binding, near);
  NicChoice choice;
  size_t start;
  if (turn.of > 0) {
    start = start_of_part(turn.index, turn.of, near.size());
    choice.reason = "process " + std::to_string(turn.index + 1) + " of " + std::to_string(turn.of) +
                    " nearest to " + names(near);
  } else {
    const auto dealt = dealt_over_switches(near, locality_);
    start = dealt[static_cast<size_t>(turn.index) % dealt.size()];
    choice.reason = "place " + std::to_string(turn.index + 1) + " nearest to " + names(near);
  }
  choice.rails = rails(near, start, binding, place.local_size);
  return choice;
}

NicChoice NicAffinity::choose_shared(const ProcessPlace& place, hwloc_const_cpuset_t binding,
                                     const char* why) const {
  const Indices& ring = locality_.shared();
  const Turn turn = turn_on_node(place, binding);
  NicChoice choice;
  choice.rails = rails(ring, start_of_part(turn.index, turn.of, ring.size()), binding, place.local_size);
  choice.reason = "process " + std::to_string(turn.index + 1) + " of " + std::to_string(turn.of) +
                  " on the node, over " + names(ring) + " (" + why + ")";
  return choice;
}

NicAffinity::Turn NicAffinity::turn_near(const ProcessPlace& place, hwloc_const_cpuset_t binding,
                                         const Indices& near) const {
  const Indices mine = locality_.cores(binding);
  if (knows_all(place))
    return turn_among(
        place, [&](hwloc_const_cpuset_t other) { return bound(other) && locality_.nearest(other) == near; });

  // Otherwise a process knows only its own binding. Assume that all have bindings of the same size, side by side: then
  // its index is the number of such bindings before it on the cores that have the same nearest NICs.
  std::vector<bool> shares_nics(static_cast<size_t>(locality_.core_count()));
  for (int core = 0; core < locality_.core_count(); ++core)
    shares_nics[static_cast<size_t>(core)] =
        std::ranges::find_first_of(locality_.nearest_of_core(core), near) !=
        locality_.nearest_of_core(core).end();
  int before = static_cast<int>(std::count(shares_nics.begin(), shares_nics.begin() + mine.front(), true));
  int part = static_cast<int>(std::count(shares_nics.begin(), shares_nics.end(), true));
  int width = static_cast<int>(mine.size());
  int whole = locality_.core_count();

  if (mine.size() == 1 && place.local_size > whole) {
    // More processes than cores, and this one is bound within a core: count hardware threads instead.
    const Indices core_threads = locality_.threads(locality_.core_set(mine.front()));
    const Indices own_threads = locality_.threads(binding);
    const int per_core = static_cast<int>(core_threads.size());
    if (own_threads.size() < core_threads.size()) {
      before = before * per_core + (own_threads.front() - core_threads.front());
      part *= per_core;
      whole *= per_core;
      width = static_cast<int>(own_threads.size());
    }
  }

  const int processes = place.local_size;
  if (processes * width == whole && part % width == 0)
    return {before / width, part / width};  // the node is full
  if (processes * width <= whole) return {before / width, 0};
  // Several processes share a binding. mpirun --map-by numa or socket assigns them to the bindings in turn.
  const int bindings = std::max(1, whole / width), bindings_here = std::max(1, part / width);
  return {place.local_rank / bindings * bindings_here + before / width, 0};
}

bool NicAffinity::knows_all(const ProcessPlace& place) {
  return place.all_bindings.size() == static_cast<size_t>(place.local_size);
}

template <typename Shares>
NicAffinity::Turn NicAffinity::turn_among(const ProcessPlace& place, Shares shares) const {
  const auto first_core = [&](hwloc_const_cpuset_t other) {
    return bound(other) ? locality_.cores(other).front() : -1;
  };
  const int own_core = first_core(place.binding);
  Turn turn{0, 1};
  for (int rank = 0; rank < place.local_size; ++rank) {
    const auto other = place.all_bindings[static_cast<size_t>(rank)];
    if (rank == place.local_rank || !shares(other)) continue;
    ++turn.of;
    const int core = first_core(other);
    if (core < own_core || (core == own_core && rank < place.local_rank)) ++turn.index;
  }
  return turn;
}

NicAffinity::Turn NicAffinity::turn_on_node(const ProcessPlace& place, hwloc_const_cpuset_t binding) const {
  const int processes = place.local_size;
  if (knows_all(place)) return turn_among(place, [](hwloc_const_cpuset_t) { return true; });
  if (binding) {
    const Indices mine = locality_.cores(binding);
    const int width = static_cast<int>(mine.size());
    if (processes * width == locality_.core_count()) return {mine.front() / width, processes};
  }
  return {place.local_rank, processes};
}

std::vector<NicRail> NicAffinity::rails(const Indices& ring, size_t start, hwloc_const_cpuset_t binding,
                                        int local_size) const {
  const int share = std::max(1, static_cast<int>(locality_.shared().size()) / local_size);
  const size_t wanted = static_cast<size_t>(parameters_.rails > 0 ? parameters_.rails : share);

  // Rail 0, then the other NICs of its PCI switch, then the rest of the ring, then NICs outside the ring by distance.
  Indices order;
  const int group = locality_.pci_group(ring[start]);
  for (bool same_group : {true, false})
    for (size_t step = 0; step < ring.size(); ++step) {
      const int index = ring[(start + step) % ring.size()];
      if ((locality_.pci_group(index) == group) == same_group) order.push_back(index);
    }
  const auto nearness = [&](int index) {
    return locality_.nearness(index, binding ? binding : locality_.everywhere());
  };
  Indices others;
  for (int index = 0; index < locality_.nic_count(); ++index)
    if (std::ranges::find(ring, index) == ring.end()) others.push_back(index);
  std::ranges::stable_sort(others, {}, nearness);
  order.insert(order.end(), others.begin(), others.end());

  std::vector<NicRail> chosen;
  for (size_t i = 0; i < std::min(wanted, order.size()); ++i)
    chosen.push_back({locality_.nic(order[i]), nearness(order[i])});
  return chosen;
}

NicChoice NicAffinity::choose_explicit(const ProcessPlace& place) const {
  const auto lists = split_patterns(parameters_.nics, ';');
  if (lists.empty()) return {{}, "", {}, no_name_error()};
  const auto& list = lists[static_cast<size_t>(place.local_rank) % lists.size()];

  NicChoice choice;
  const auto binding = bound(place.binding) ? place.binding : locality_.everywhere();
  for (const auto& pattern : split_patterns(list, ',')) {
    bool found = false;
    for (int index = 0; index < locality_.nic_count(); ++index) {
      const size_t nic = locality_.nic(index);
      if (!matches(nics_[nic], pattern)) continue;
      found = true;
      if (std::ranges::find(choice.rails, nic, &NicRail::nic) == choice.rails.end())
        choice.rails.push_back({nic, locality_.nearness(index, binding)});
    }
    if (!found) return {{}, "", {}, unusable_name_error(pattern)};
  }
  if (choice.rails.empty()) return {{}, "", {}, no_name_error()};
  choice.reason = "named explicitly ('" + list + "')";
  return choice;
}

std::string NicAffinity::names(const Indices& indices) const {
  constexpr size_t kShown = 4;  // of up to 32
  std::string text;
  for (size_t i = 0; i < std::min(kShown, indices.size()); ++i)
    text += (i ? ", " : "") + nics_[locality_.nic(indices[i])].name;
  if (indices.size() > kShown) text += " and " + std::to_string(indices.size() - kShown) + " more";
  return text;
}

UserMessage NicAffinity::no_name_error() const {
  return msg::nic_list_empty(parameters_.nics);
}

UserMessage NicAffinity::unusable_name_error(const std::string& pattern) const {
  MessagePart why = msg::nic_unknown();
  std::string usable;
  for (const auto& skipped : usable_.skipped)
    if (matches(nics_[skipped.nic], pattern)) why = skipped.why;
  for (size_t nic : usable_.nics) usable += (usable.empty() ? "" : ", ") + nics_[nic].name;
  return msg::nic_name_unusable(pattern, why, usable.empty() ? "none" : usable);
}

UserMessage NicAffinity::no_nic_error() const {
  if (nics_.empty()) return msg::nic_none_offered();
  MessagePart reasons;
  for (const auto& skipped : usable_.skipped)
    reasons.append(msg::nic_skipped(nics_[skipped.nic].name, skipped.why));
  return msg::nic_none_usable(reasons);
}

}  // namespace efa

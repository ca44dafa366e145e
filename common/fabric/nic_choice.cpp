#include "fabric/nic_choice.hpp"

#include <algorithm>

#include "machine/this_machine.hpp"

namespace efa {
namespace {

std::optional<PciAddress> pci_of(const fi_info* info) {
  if (!info->nic || !info->nic->bus_attr || info->nic->bus_attr->bus_type != FI_BUS_PCI) return std::nullopt;
  const fi_pci_attr& at = info->nic->bus_attr->attr.pci;
  return PciAddress{at.domain_id, at.bus_id, at.device_id, at.function_id};
}

std::string numa_node_of(hwloc_topology_t topology, const PciAddress& pci) {
  const hwloc_obj_t device =
      hwloc_get_pcidev_by_busid(topology, pci.domain, pci.bus, pci.device, pci.function);
  const hwloc_obj_t place = device ? hwloc_get_non_io_ancestor_obj(topology, device) : nullptr;
  if (!place || !place->nodeset) return "NUMA node unknown";
  return "NUMA node " + std::to_string(hwloc_bitmap_first(place->nodeset));
}

}  // namespace

Nic nic_of(const Candidate& candidate) {
  const fid_nic* nic = candidate.info->nic;
  return {candidate.domain, pci_of(candidate.info), nic && nic->link_attr ? nic->link_attr->speed : 0,
          candidate.link_up, candidate.provider};
}

NicParameters nic_parameters(const efa_options& options) {
  const auto text = [](const char* value) { return std::string(value ? value : ""); };
  NicParameters parameters;
  parameters.policy = parse_nic_policy(text(options.nic_policy)).value_or(NicPolicy::kNear);
  parameters.filter.include = text(options.nic_include);
  parameters.filter.exclude = text(options.nic_exclude);
  parameters.nics = text(options.nics);
  parameters.rails = options.rails < 0 ? 0 : std::max(1, static_cast<int>(options.rails));
  return parameters;
}

NicPick pick_nics(const std::vector<Candidate>& candidates, int32_t local_rank, int32_t local_ranks,
                  const NicParameters& parameters) {
  NicPick pick;
  std::vector<Nic> nics;
  const bool chosen =
      !parameters.nics.empty() || !parameters.filter.include.empty() || !parameters.filter.exclude.empty();
  bool on_bus = false;
  for (const Candidate& candidate : candidates) {
    const bool known =  // an interface is listed once per address family
        std::any_of(nics.begin(), nics.end(), [&](const Nic& nic) { return nic.name == candidate.domain; });
    nics.push_back(nic_of(candidate));
    pick.usable += candidate.link_up && !known;
    on_bus |= nics.back().pci.has_value() || candidate.provider == "efa";
  }
  if (!on_bus && !chosen) return pick;
  const TopologyPtr machine = nics.empty() ? nullptr : load_this_machine();
  if (!machine) return pick;

  const BitmapPtr binding = own_binding(machine.get());
  ProcessPlace place;
  place.binding = binding.get();
  place.local_rank = local_rank;
  place.local_size = local_ranks;
  const NicAffinity affinity(machine.get(), nics, parameters);
  const NicChoice choice = affinity.choose(place);
  pick.usable = nics.size() - affinity.skipped().size();
  if (choice.rails.empty()) {
    pick.error = choice.error;
    pick.error.append(msg::nic_parameters());
    return pick;
  }
  const NicRail& rail = choice.rails.front();
  for (const NicRail& each : choice.rails) pick.rails.push_back(each.nic);
  const auto& pci = nics[rail.nic].pci;
  pick.place = (pci ? numa_node_of(machine.get(), *pci) + ", " : "") + std::string(to_string(rail.nearness));
  pick.hint = choice.hint;
  return pick;
}

}  // namespace efa

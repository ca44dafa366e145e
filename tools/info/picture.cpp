#include "picture.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include "machine/nic_locality.hpp"

namespace efa {
namespace {

// Hues that can be distinguished in print, on a projector and with most kinds of colour blindness; one per PCIe group.
constexpr Colour kGroups[] = {{66, 105, 208}, {239, 177, 24}, {227, 86, 72},   {60, 169, 81},
                              {164, 99, 242}, {84, 178, 170}, {255, 138, 183}, {156, 107, 78}};
constexpr double kPalest = 0.5;  // share of white in the colour of the last NIC of a group

uint8_t towards_white(uint8_t value, double part) {
  return static_cast<uint8_t>(value + (255 - value) * part);
}

// NICs of a group share a hue.
Colour colour_of(int group, size_t place, size_t of) {
  const Colour base = kGroups[static_cast<size_t>(group) % std::size(kGroups)];
  const double part = of > 1 ? kPalest * static_cast<double>(place) / static_cast<double>(of - 1) : 0;
  return {towards_white(base.red, part), towards_white(base.green, part), towards_white(base.blue, part)};
}

std::vector<PictureNic> nics_of(const Node& node, const Placement& placement) {
  std::vector<PictureNic> nics(node.nics.size());
  std::vector<size_t> all;
  for (size_t k = 0; k < nics.size(); ++k) all.push_back(nics[k].nic = k);
  for (size_t rank = 0; rank < placement.ranks.size(); ++rank)
    for (const size_t k : placement.ranks[rank].rails)
      if (k == placement.ranks[rank].rails.front())
        nics[k].ranks.push_back(rank);
      else
        ++nics[k].further;

  if (node.topology) {
    // Renumbered, so that the first groups of the machine get the first colours.
    const NicLocality locality(node.topology.get(), node.plain_nics(), all);
    std::map<int, int> number;
    for (int i = 0; i < locality.nic_count(); ++i)
      nics[locality.nic(i)].group =
          number.try_emplace(locality.pci_group(i), static_cast<int>(number.size())).first->second;
  }
  std::map<int, size_t> size, place;
  for (const auto& each : nics) ++size[each.group];
  for (auto& each : nics) each.colour = colour_of(each.group, place[each.group]++, size[each.group]);
  return nics;
}

}  // namespace

std::string Colour::hex() const {
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", red, green, blue);
  return text;
}

const PictureNic* Picture::find(size_t nic) const {
  for (const auto& package : packages)
    for (const auto& numa : package.numa_nodes)
      for (const auto& each : numa.nics)
        if (each.nic == nic) return &each;
  for (const auto& each : elsewhere)
    if (each.nic == nic) return &each;
  return nullptr;
}

int numa_of(const Node& node, const Nic& nic) {
  if (!node.topology || !nic.pci) return -1;
  const hwloc_obj_t device = hwloc_get_pcidev_by_busid(node.topology.get(), nic.pci->domain, nic.pci->bus,
                                                       nic.pci->device, nic.pci->function);
  const hwloc_obj_t place = device ? hwloc_get_non_io_ancestor_obj(node.topology.get(), device) : nullptr;
  if (!place || !place->nodeset || hwloc_bitmap_weight(place->nodeset) != 1) return -1;
  return hwloc_bitmap_first(place->nodeset);
}

Picture picture_of(const Node& node, const Placement& placement) {
  Picture picture;
  auto nics = nics_of(node, placement);
  std::vector<bool> drawn(nics.size());
  std::map<size_t, std::vector<size_t>> bound;  // ranks by core
  for (size_t rank = 0; rank < placement.ranks.size(); ++rank)
    for (const size_t core : placement.ranks[rank].core_list) bound[core].push_back(rank);

  const hwloc_topology_t topology = node.topology.get();
  for (hwloc_obj_t numa = nullptr;
       topology && (numa = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, numa));) {
    const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_PACKAGE, numa);
    const size_t number = package ? package->logical_index : 0;
    if (picture.packages.empty() || picture.packages.back().number != number)
      picture.packages.push_back({number, {}});
    PictureNuma part{numa->logical_index, {}, {}};
    for (hwloc_obj_t core = nullptr; (core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core));) {
      if (!hwloc_bitmap_intersects(core->cpuset, numa->cpuset)) continue;
      PictureCore each{core->logical_index, kNobody, kNobody};
      if (const auto at = bound.find(each.core); at != bound.end()) {
        each.rank = at->second[part.cores.size() % at->second.size()];
        each.nic = placement.ranks[each.rank].rails.front();
      }
      part.cores.push_back(each);
    }
    for (size_t k = 0; k < nics.size(); ++k) {
      if (numa_of(node, node.nics[k].nic) != static_cast<int>(numa->os_index)) continue;
      part.nics.push_back(nics[k]);
      drawn[k] = true;
    }
    picture.packages.back().numa_nodes.push_back(std::move(part));
  }
  for (size_t k = 0; k < nics.size(); ++k)
    if (!drawn[k]) picture.elsewhere.push_back(nics[k]);
  return picture;
}

}  // namespace efa

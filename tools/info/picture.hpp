// The node as the terminal and the SVG draw it: cores with the ranks bound to them, NICs with the ranks that use them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "placement.hpp"

namespace efa {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
  std::string hex() const;  // "#4269d0"
  // So that black text on it is easier to read than white.
  bool light() const { return red * 299 + green * 587 + blue * 114 > 150'000; }
};

constexpr size_t kNobody = SIZE_MAX;

struct PictureCore {
  size_t core = 0;        // as hwloc counts
  size_t rank = kNobody;  // that is bound to it; where several share it each is shown somewhere
  size_t nic = kNobody;   // rail 0 of that rank, index of Node::nics
};

struct PictureNic {
  size_t nic = 0;             // index of Node::nics
  int group = 0;              // NICs of one PCIe switch, or root bus, have the same
  std::vector<size_t> ranks;  // whose small messages it carries
  size_t further = 0;         // ranks for which it is another rail
  Colour colour;
};

struct PictureNuma {
  size_t number = 0;  // as hwloc counts
  std::vector<PictureCore> cores;
  std::vector<PictureNic> nics;
};

struct PicturePackage {
  size_t number = 0;
  std::vector<PictureNuma> numa_nodes;
};

struct Picture {
  std::vector<PicturePackage> packages;
  std::vector<PictureNic> elsewhere;  // attached to no single NUMA node, or nobody knows to which

  const PictureNic* find(size_t nic) const;
};

Picture picture_of(const Node& node, const Placement& placement);

// Index of the NUMA node (by its number in the system) to which a NIC is attached; -1: to no single one, or unknown.
int numa_of(const Node& node, const Nic& nic);

// The picture as a drawing for people, legible from a terminal's width up to a poster. `what`: a line about the ranks.
std::string svg_of(const Node& node, const Placement& placement, const std::string& what);

}  // namespace efa

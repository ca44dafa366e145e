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
  size_t rank = kNobody;  // the rank bound to it; if several share it, each is shown on one of the cores
  size_t nic = kNobody;   // rail 0 of that rank, index of Node::nics
};

struct PictureNic {
  size_t nic = 0;             // index of Node::nics
  int group = 0;              // NICs of one PCIe switch, or root bus, have the same
  std::vector<size_t> ranks;  // whose rail 0 it is
  size_t further = 0;         // number of ranks for which it is a further rail
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
  std::vector<PictureNic> elsewhere;  // not attached to a single NUMA node, or place unknown

  const PictureNic* find(size_t nic) const;
};

Picture picture_of(const Node& node, const Placement& placement);

// Number of the NUMA node to which a NIC is attached; -1: not to a single one, or unknown.
int numa_of(const Node& node, const Nic& nic);

// The picture as SVG. `what`: a line about the ranks.
std::string svg_of(const Node& node, const Placement& placement, const std::string& what);

}  // namespace efa

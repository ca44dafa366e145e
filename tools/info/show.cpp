#include "show.hpp"

#include <cinttypes>
#include <cstdio>

#include "options.h"
#include "provider_table.hpp"

namespace efa {
namespace {

constexpr int kWhole = -1;  // a NIC that belongs to no single NUMA node

// Index of the NUMA node to which a NIC is attached, or kWhole.
int numa_of(const Node& node, const Nic& nic) {
  if (!node.topology || !nic.pci) return kWhole;
  const hwloc_obj_t device = hwloc_get_pcidev_by_busid(node.topology.get(), nic.pci->domain, nic.pci->bus,
                                                       nic.pci->device, nic.pci->function);
  const hwloc_obj_t place = device ? hwloc_get_non_io_ancestor_obj(node.topology.get(), device) : nullptr;
  if (!place || !place->nodeset || hwloc_bitmap_weight(place->nodeset) != 1) return kWhole;
  return hwloc_bitmap_first(place->nodeset);
}

std::string address(const Nic& nic) {
  if (!nic.pci) return "-";
  char text[24];
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", nic.pci->domain, nic.pci->bus, nic.pci->device,
                nic.pci->function);
  return text;
}

std::string rate(const Nic& nic) {
  return nic.bits_per_second ? std::to_string(nic.bits_per_second / 1'000'000'000) + " Gbit/s"
                             : "rate unknown";
}

// The ranks whose small messages go over NIC `k`.
std::vector<size_t> users(const Placement& placement, size_t k) {
  std::vector<size_t> ranks;
  for (size_t rank = 0; rank < placement.ranks.size(); ++rank)
    if (placement.ranks[rank].rails.front() == k) ranks.push_back(rank);
  return ranks;
}

int objects_of(const Node& node, hwloc_obj_type_t type) {
  return node.topology ? hwloc_get_nbobjs_by_type(node.topology.get(), type) : 0;
}

std::string plural(int count, const char* thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

void show_nics_at(const Node& node, const Placement& placement, int numa, const char* bar) {
  for (size_t k = 0; k < node.nics.size(); ++k) {
    const NodeNic& each = node.nics[k];
    if (numa_of(node, each.nic) != numa) continue;
    const auto ranks = users(placement, k);
    std::printf("%s   %-18s %-13s %-12s %s%s%s\n", bar, each.nic.name.c_str(), address(each.nic).c_str(),
                rate(each.nic).c_str(),
                !each.nic.link_up ? "link down"
                : each.reads      ? "RDMA read   "
                                  : "no RDMA read",
                placement.ranks.empty() ? ""
                : ranks.empty()         ? "  no rank"
                                        : ("  ranks " + ranges(ranks)).c_str(),
                each.trouble.empty() ? "" : ("  UNUSABLE: " + each.trouble).c_str());
  }
}

std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    char escaped[8];
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c), out += escaped;
    else
      out += c;
  }
  return out + '"';
}

const char* word(Level level) {
  return level == Level::ok ? "ok" : level == Level::warning ? "warning" : "failure";
}

}  // namespace

std::string ranges(const std::vector<size_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i;
    while (end + 1 < numbers.size() && numbers[end + 1] == numbers[end] + 1) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(numbers[i]);
    if (end > i) text += "-" + std::to_string(numbers[end]);
    i = end + 1;
  }
  return text;
}

void show_node(const Node& node, const Placement& placement, bool fancy) {
  const char* branch = fancy ? "├─" : "+-";
  const char* bar = fancy ? "│ " : "| ";
  std::printf(
      "%s: %s, %s, %s, %s\n", node.title.c_str(),
      plural(objects_of(node, HWLOC_OBJ_PACKAGE), "package").c_str(),
      plural(objects_of(node, HWLOC_OBJ_NUMANODE), "NUMA node").c_str(),
      plural(objects_of(node, HWLOC_OBJ_CORE), "core").c_str(),
      plural(static_cast<int>(node.nics.size()), node.provider == "efa" ? "EFA NIC" : "network interface")
          .c_str());
  if (node.is_here)
    std::printf("libfabric %s, provider %s\n", node.libfabric.c_str(),
                node.provider.empty() ? "none that can carry MPI messages" : node.provider.c_str());
  for (hwloc_obj_t numa = nullptr;
       node.topology && (numa = hwloc_get_next_obj_by_type(node.topology.get(), HWLOC_OBJ_NUMANODE, numa));) {
    const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(node.topology.get(), HWLOC_OBJ_PACKAGE, numa);
    std::vector<size_t> cores;
    for (hwloc_obj_t core = nullptr;
         (core = hwloc_get_next_obj_by_type(node.topology.get(), HWLOC_OBJ_CORE, core));)
      if (hwloc_bitmap_intersects(core->cpuset, numa->cpuset)) cores.push_back(core->logical_index);
    std::printf("%s package %s, NUMA node %u: cores %s\n", branch,
                package ? std::to_string(package->logical_index).c_str() : "-", numa->logical_index,
                ranges(cores).c_str());
    show_nics_at(node, placement, static_cast<int>(numa->os_index), bar);
  }
  bool elsewhere = false;
  for (const auto& each : node.nics) elsewhere |= numa_of(node, each.nic) == kWhole;
  if (elsewhere) {
    std::printf("%s attached to no single NUMA node, or nobody knows to which\n", branch);
    show_nics_at(node, placement, kWhole, bar);
  }
  if (!placement.error.empty()) std::printf("%s\n", placement.error.c_str());
  if (!placement.hint.empty()) std::printf("%s\n", placement.hint.c_str());
}

void show_map(const Node& node, const Placement& placement) {
  std::printf("%-6s %-14s %-18s %s\n", "rank", "cores", "distance",
              "NICs (the first carries all small messages)");
  for (size_t rank = 0; rank < placement.ranks.size(); ++rank) {
    const RankPlace& each = placement.ranks[rank];
    std::string nics;
    for (const size_t k : each.rails) nics += (nics.empty() ? "" : ", ") + node.nics[k].nic.name;
    std::printf("%-6zu %-14s %-18s %s\n", rank, each.cores.c_str(),
                std::string(to_string(each.nearness)).c_str(), nics.c_str());
  }
}

void show_protocols() {
  std::printf(
      "Protocols by provider, bytes; mtl_efa_eager_limit and the like override them (docs/protocols.md)\n");
  std::printf("%-14s %12s %14s %14s %12s %12s\n", "provider", "eager up to", "on this node", "noncontiguous",
              "pieces of", "reads from");
  for (const auto& row : kProviders)
    std::printf("%-14s %12" PRIu64 " %14" PRIu64 " %14" PRIu64 " %12" PRIu64 " %12s\n", row.name.data(),
                row.eager_limit, row.eager_limit_local, row.eager_limit_packed, row.piece,
                row.pull_limit ? std::to_string(row.pull_limit).c_str() : "never");
}

void show_parameters() {
#define NUMBER(name, standard, least, greatest, unit, level, text)                                \
  std::printf("mtl_efa_%-20s %ld (%ld to %ld%s%s)\n    %s\n", #name, static_cast<long>(standard), \
              static_cast<long>(least), static_cast<long>(greatest), *(unit) ? " " : "", unit, text);
#define SWITCH(name, standard, level, text) \
  std::printf("mtl_efa_%-20s %s (true, false)\n    %s\n", #name, (standard) ? "true" : "false", text);
#define TEXT(name, form, level, text) std::printf("mtl_efa_%-20s empty (text)\n    %s\n", #name, text);
  EFA_OPTION_TABLE(NUMBER, SWITCH, TEXT)
#undef NUMBER
#undef SWITCH
#undef TEXT
}

void show_findings(const std::vector<Finding>& findings, bool fancy) {
  for (const auto& finding : findings) {
    const char* colour = finding.level == Level::ok ? "32" : finding.level == Level::warning ? "33" : "31";
    if (fancy)
      std::printf("\033[%sm%-8s\033[0m", colour, word(finding.level));
    else
      std::printf("%-8s", word(finding.level));
    std::printf(" %-14s %s\n", finding.topic.c_str(), finding.text.c_str());
    if (!finding.remedy.empty()) std::printf("%-8s %-14s -> %s\n", "", "", finding.remedy.c_str());
  }
}

void show_node_json(const Node& node, const Placement& placement) {
  std::printf("{\"node\": %s, \"libfabric\": %s, \"provider\": %s,\n \"nics\": [",
              json_text(node.title).c_str(), json_text(node.libfabric).c_str(),
              json_text(node.provider).c_str());
  for (size_t k = 0; k < node.nics.size(); ++k) {
    const NodeNic& each = node.nics[k];
    const int numa = numa_of(node, each.nic);
    std::printf("%s\n  {\"name\": %s, \"pci\": %s, \"numa_node\": %s, \"bits_per_second\": %" PRIu64
                ", \"link_up\": %s, \"rdma_read\": %s, \"trouble\": %s, \"ranks\": %zu}",
                k ? "," : "", json_text(each.nic.name).c_str(), json_text(address(each.nic)).c_str(),
                numa == kWhole ? "null" : std::to_string(numa).c_str(), each.nic.bits_per_second,
                each.nic.link_up ? "true" : "false", each.reads ? "true" : "false",
                json_text(each.trouble).c_str(), placement.load[k]);
  }
  std::printf("],\n \"ranks\": [");
  for (size_t rank = 0; rank < placement.ranks.size(); ++rank) {
    const RankPlace& each = placement.ranks[rank];
    std::string nics;
    for (const size_t k : each.rails) nics += (nics.empty() ? "" : ", ") + json_text(node.nics[k].nic.name);
    std::printf("%s\n  {\"rank\": %zu, \"cores\": %s, \"distance\": %s, \"nics\": [%s]}", rank ? "," : "",
                rank, json_text(each.cores).c_str(), json_text(std::string(to_string(each.nearness))).c_str(),
                nics.c_str());
  }
  std::printf("],\n \"hint\": %s, \"error\": %s}\n", json_text(placement.hint).c_str(),
              json_text(placement.error).c_str());
}

void show_findings_json(const std::vector<Finding>& findings) {
  std::printf("{\"outcome\": \"%s\", \"findings\": [", word(outcome(findings)));
  for (size_t i = 0; i < findings.size(); ++i)
    std::printf("%s\n  {\"level\": \"%s\", \"topic\": %s, \"text\": %s, \"remedy\": %s}", i ? "," : "",
                word(findings[i].level), json_text(findings[i].topic).c_str(),
                json_text(findings[i].text).c_str(), json_text(findings[i].remedy).c_str());
  std::printf("]}\n");
}

}  // namespace efa

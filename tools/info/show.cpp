#include "show.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "channel/shm_ring.hpp"
#include "fabric/provider_table.hpp"
#include "interface/options.h"
#include "packets/message_channel.hpp"
#include "picture.hpp"

namespace efa {
namespace {

// A NIC's RDMA capabilities, padded to the longest text.
std::string padded_rdma(const NodeNic& each) {
  std::string text = !each.nic.link_up ? "link down"
                     : !each.reads     ? "no RDMA read"
                     : each.writes     ? "RDMA rd+wr"
                                       : "RDMA read";
  text.resize(12, ' ');
  return text;
}

int objects_of(const Node& node, hwloc_obj_type_t type) {
  return node.topology ? hwloc_get_nbobjs_by_type(node.topology.get(), type) : 0;
}

std::string plural(int count, const char* thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

// The nearest of the 216 colours of 256-colour terminals.
std::string in_colour(const Colour& colour, const std::string& text) {
  const auto step = [](int value) { return value < 48 ? 0 : value < 115 ? 1 : (value - 35) / 40; };
  return "\033[38;5;" +
         std::to_string(16 + 36 * step(colour.red) + 6 * step(colour.green) + step(colour.blue)) + "m" +
         text + "\033[0m";
}

constexpr const char* kSquare = "■";

// A square for each core, in the colour of the NIC that its rank uses.
void show_cores(const Picture& picture, const PictureNuma& numa, const char* bar) {
  constexpr size_t kPerLine = 48;
  for (size_t i = 0; i < numa.cores.size(); ++i) {
    if (i % kPerLine == 0) std::printf("%s%s   ", i ? "\n" : "", bar);
    const PictureNic* nic = numa.cores[i].nic == kNobody ? nullptr : picture.find(numa.cores[i].nic);
    std::fputs(nic ? in_colour(nic->colour, kSquare).c_str() : "□", stdout);
  }
  if (!numa.cores.empty()) std::puts("");
}

void show_nics(const Node& node, const Placement& placement, const std::vector<PictureNic>& nics,
               const char* bar, bool fancy) {
  for (const auto& at : nics) {
    const NodeNic& each = node.nics[at.nic];
    std::printf("%s   %s%-18s %-13s %-12s %s%s%s\n", bar,
                fancy ? (in_colour(at.colour, kSquare) + " ").c_str() : "", each.nic.name.c_str(),
                each.nic.pci ? to_string(*each.nic.pci).c_str() : "-", rate_of(each.nic).c_str(),
                padded_rdma(each).c_str(),
                placement.ranks.empty() ? ""
                : at.ranks.empty()      ? "  no rank"
                                        : ("  ranks " + ranges(at.ranks)).c_str(),
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

std::string rate_of(const Nic& nic) {
  return nic.bits_per_second ? std::to_string(nic.bits_per_second / 1'000'000'000) + " Gbit/s"
                             : "rate unknown";
}

const char* rdma_of(const NodeNic& each) {
  return !each.reads ? "no RDMA read" : each.writes ? "RDMA read and write" : "RDMA read";
}

std::string device_of(const Nic& nic) {
  for (const std::string_view end : {"-rdm", "-dgrm"})
    if (nic.name.ends_with(end)) return nic.name.substr(0, nic.name.size() - end.size());
  return nic.name;
}

std::string headline(const Node& node) {
  const auto down = std::ranges::count_if(node.nics, [](const NodeNic& each) { return !each.nic.link_up; });
  const bool efa = node.provider == "efa";
  return plural(objects_of(node, HWLOC_OBJ_PACKAGE), "package") + ", " +
         plural(objects_of(node, HWLOC_OBJ_NUMANODE), "NUMA node") + ", " +
         plural(objects_of(node, HWLOC_OBJ_CORE), "core") + ", " +
         plural(static_cast<int>(node.nics.size()), efa ? "EFA NIC" : "network interface") +
         (down                                        ? ", " + std::to_string(down) + " with the link down"
          : efa && node.is_here && !node.nics.empty() ? ", all links up"
                                                      : "");
}

void show_node(const Node& node, const Placement& placement, bool fancy) {
  const char* branch = fancy ? "├─" : "+-";
  const char* bar = fancy ? "│ " : "| ";
  const Picture picture = picture_of(node, placement);
  std::printf("%s: %s\n", node.title.c_str(), headline(node).c_str());
  if (node.is_here)
    std::printf("libfabric %s, provider %s\n", node.libfabric.c_str(),
                node.provider.empty() ? "none that can carry MPI messages"
                                      : (node.provider + " " + node.versions).c_str());
  if (!node.path.empty()) std::printf("a job: %s\n", node.path.c_str());
  for (const auto& package : picture.packages) {
    for (const auto& numa : package.numa_nodes) {
      std::vector<size_t> cores;
      for (const auto& core : numa.cores) cores.push_back(core.core);
      std::printf("%s package %zu, NUMA node %zu: cores %s\n", branch, package.number, numa.number,
                  ranges(cores).c_str());
      if (fancy) show_cores(picture, numa, bar);
      show_nics(node, placement, numa.nics, bar, fancy);
    }
  }
  if (!picture.elsewhere.empty()) {
    std::printf("%s not attached to a single NUMA node, or place unknown\n", branch);
    show_nics(node, placement, picture.elsewhere, bar, fancy);
  }
  if (!placement.error.empty()) std::printf("%s\n", placement.error.c_str());
  if (!placement.hint.empty()) std::printf("%s\n", placement.hint.c_str());
}

void show_map(const Node& node, const Placement& placement) {
  std::printf("%-6s %-14s %-18s %s\n", "rank", "cores", "distance",
              "NICs (the first carries all short messages)");
  for (size_t rank = 0; rank < placement.ranks.size(); ++rank) {
    const RankPlace& each = placement.ranks[rank];
    std::string nics;
    for (const size_t k : each.rails) nics += (nics.empty() ? "" : ", ") + node.nics[k].nic.name;
    std::printf("%-6zu %-14s %-18s %s\n", rank, each.cores.c_str(),
                std::string(to_string(each.nearness)).c_str(), nics.c_str());
  }
}

namespace {

std::string unless_zero(uint64_t value, const char* otherwise) {
  return value ? std::to_string(value) : otherwise;
}

}  // namespace

void show_protocols() {
  std::printf(
      "Thresholds by provider, in bytes; parameters such as mtl_efa_eager_limit override them "
      "(docs/protocols.md)\n");
  std::printf("%-14s %12s %14s %14s %10s %12s %14s %12s\n", "provider", "eager up to", "on this node",
              "noncontiguous", "alone", "pieces of", "noncontiguous", "reads from");
  for (const auto& row : kProviders)
    std::printf("%-14s %12" PRIu64 " %14" PRIu64 " %14" PRIu64 " %10s %12" PRIu64 " %14" PRIu64 " %12s\n",
                row.name.data(), row.eager_limit, row.eager_limit_local, row.eager_limit_packed,
                unless_zero(row.eager_limit_alone, "-").c_str(), row.piece, row.staging,
                unless_zero(row.pull_limit, "never").c_str());
  std::printf(
      "With mtl_efa_path packets eager up to at most %zu (efa: one packet of the NIC), on this node through "
      "shared memory %" PRIu32 "\n",
      kMostMessagePayload, kMostShmPayload);
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
  std::printf(
      "{\"node\": %s, \"libfabric\": %s, \"provider\": %s, \"versions\": %s, \"path\": %s,\n \"nics\": [",
      json_text(node.title).c_str(), json_text(node.libfabric).c_str(), json_text(node.provider).c_str(),
      json_text(node.versions).c_str(), json_text(node.path).c_str());
  for (size_t k = 0; k < node.nics.size(); ++k) {
    const NodeNic& each = node.nics[k];
    const int numa = numa_of(node, each.nic);
    std::printf("%s\n  {\"name\": %s, \"pci\": %s, \"numa_node\": %s, \"bits_per_second\": %" PRIu64
                ", \"link_up\": %s, \"rdma_read\": %s, \"rdma_write\": %s, \"trouble\": %s, \"ranks\": %zu}",
                k ? "," : "", json_text(each.nic.name).c_str(),
                json_text(each.nic.pci ? to_string(*each.nic.pci) : "-").c_str(),
                numa < 0 ? "null" : std::to_string(numa).c_str(), each.nic.bits_per_second,
                each.nic.link_up ? "true" : "false", each.reads ? "true" : "false",
                each.writes ? "true" : "false", json_text(each.trouble).c_str(), placement.load[k]);
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

void show_protocols_json() {
  const char* comma = "";
  std::printf("[");
  for (const auto& row : kProviders) {
    std::printf("%s\n  {\"provider\": \"%s\", \"eager_limit\": %" PRIu64 ", \"eager_limit_local\": %" PRIu64
                ", \"eager_limit_packed\": %" PRIu64 ", \"eager_limit_alone\": %s, \"piece\": %" PRIu64
                ", \"staging\": %" PRIu64 ", \"pull_limit\": %s}",
                comma, row.name.data(), row.eager_limit, row.eager_limit_local, row.eager_limit_packed,
                unless_zero(row.eager_limit_alone, "null").c_str(), row.piece, row.staging,
                unless_zero(row.pull_limit, "null").c_str());
    comma = ",";
  }
  std::printf("]\n");
}

namespace {

void begin_parameter(const char*& comma, const char* name, const std::string& standard, const char* text,
                     int level) {
  std::printf("%s\n  {\"name\": \"mtl_efa_%s\", \"default\": %s, \"level\": %d, \"text\": %s", comma, name,
              standard.c_str(), level, json_text(text).c_str());
  comma = ",";
}

}  // namespace

void show_parameters_json() {
  const char* comma = "";
  std::printf("[");
#define NUMBER(name, standard, least, greatest, unit, level, text)                                \
  begin_parameter(comma, #name, std::to_string(standard), text, level);                           \
  std::printf(", \"least\": %ld, \"greatest\": %ld, \"unit\": \"%s\"}", static_cast<long>(least), \
              static_cast<long>(greatest), unit);
#define SWITCH(name, standard, level, text)                                  \
  begin_parameter(comma, #name, (standard) ? "true" : "false", text, level); \
  std::printf("}");
#define TEXT(name, form, level, text)                 \
  begin_parameter(comma, #name, "\"\"", text, level); \
  std::printf("}");
  EFA_OPTION_TABLE(NUMBER, SWITCH, TEXT)
#undef NUMBER
#undef SWITCH
#undef TEXT
  std::printf("]\n");
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

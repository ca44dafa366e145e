// mtl_efa_info: its judgement of a node, and the maps that it shows.
#include <rdma/fabric.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>

#include "catch.hpp"
#include "instances.hpp"
#include "picture.hpp"
#include "placement.hpp"
#include "preflight.hpp"
#include "show.hpp"

using namespace efa;

namespace {

PreflightFacts good() {
  PreflightFacts facts;
  facts.ranks = 48;
  facts.provider = "efa";
  facts.libfabric = FI_VERSION(2, 1);
  facts.provider_built_in = true;
  facts.kernel_devices = facts.nics = facts.nics_up = 4;
  facts.reads = true;
  facts.endpoints = 256;
  facts.kernel_major = 6;
  facts.built_for = "5.0.7";
  facts.running = "5.0.3";
  return facts;
}

// The only finding that is not ok; the test fails if there are others.
Finding only_trouble(const PreflightFacts& facts) {
  Finding trouble{Level::ok, "", "", ""};
  int count = 0;
  for (const auto& finding : judge(facts)) {
    if (finding.level == Level::ok) {
      CHECK(finding.remedy.empty());
      continue;
    }
    CHECK_FALSE(finding.remedy.empty());
    trouble = finding;
    ++count;
  }
  CHECK(count == 1);
  return trouble;
}

}  // namespace

TEST_CASE("A node without fault passes") {
  const auto findings = judge(good());
  CHECK(outcome(findings) == Level::ok);
  for (const auto& finding : findings) {
    INFO(finding.topic);
    CHECK(finding.level == Level::ok);
  }
}

TEST_CASE("Each fault is one finding with a remedy") {
  struct {
    void (*spoil)(PreflightFacts&);
    Level level;
    const char* topic;
    const char* says;
    const char* remedy;
  } faults[] = {
      {[](PreflightFacts& f) { f.nics = f.nics_up = f.kernel_devices = 0; }, Level::failure, "EFA NIC",
       "no EFA device", "modprobe efa"},
      {[](PreflightFacts& f) { f.nics = f.nics_up = 0, f.provider_built_in = false; }, Level::failure,
       "EFA NIC", "no efa provider", "LD_LIBRARY_PATH"},
      {[](PreflightFacts& f) { f.nics = f.nics_up = 0; }, Level::failure, "EFA NIC", "libfabric offers none",
       "uverbs"},
      {[](PreflightFacts& f) { f.nics = f.nics_up = f.kernel_devices = 0, f.bus_devices = 4; },
       Level::failure, "EFA NIC", "EFA device found but not used: 4 on the PCI bus", "modprobe efa"},
      {[](PreflightFacts& f) {
         f.nics = f.nics_up = f.kernel_devices = 0, f.instance = "p4d.24xlarge", f.instance_nics = 4;
       },
       Level::failure, "EFA NIC", "launched without an EFA network interface", "type efa"},
      {[](PreflightFacts& f) {
         f.nics = f.nics_up = 0, f.provider_built_in = false, f.provider_filter = "tcp";
       },
       Level::failure, "EFA NIC", "FI_PROVIDER=tcp", "Unset"},
      {[](PreflightFacts& f) { f.nics = f.nics_up = 3; }, Level::warning, "EFA NIC",
       "libfabric offers 3 of the 4 that the kernel shows", "/dev/infiniband"},
      {[](PreflightFacts& f) {
         f.nics = f.nics_up = f.kernel_devices = 1, f.instance = "p4d.24xlarge", f.instance_nics = 4;
       },
       Level::warning, "EFA NIC", "1 of the 4 that p4d.24xlarge can have", "each network card"},
      {[](PreflightFacts& f) { f.nics_up = 3; }, Level::warning, "EFA NIC", "1 of 4 have their link down",
       "ibv_devinfo"},
      {[](PreflightFacts& f) { f.troubles = {"fi_endpoint failed on rdmap16s27-rdm"}; }, Level::failure,
       "EFA NIC", "rdmap16s27-rdm", "FI_LOG_LEVEL"},
      {[](PreflightFacts& f) { f.provider.clear(); }, Level::failure, "libfabric", "no provider", "fi_info"},
      {[](PreflightFacts& f) { f.libfabric = FI_VERSION(1, 17); }, Level::warning, "libfabric",
       "FI_EFA_ENABLE_SHM_TRANSFER=0", "update libfabric"},
      {[](PreflightFacts& f) { f.locked_memory = 65536; }, Level::failure, "locked memory", "0 MiB",
       "limits.conf"},
      {[](PreflightFacts& f) { f.locked_memory = 1 << 30; }, Level::warning, "locked memory", "1024 MiB",
       "ulimit -l"},
      {[](PreflightFacts& f) { f.shared_memory = 64 << 20; }, Level::warning, "shared memory",
       "64 MiB are free", "--shm-size"},
      {[](PreflightFacts& f) { f.kernel_major = 5, f.kernel_minor = 10; }, Level::warning, "fork", "5.10",
       "RDMAV_FORK_SAFE"},
      {[](PreflightFacts& f) { f.ptrace_scope = 1; }, Level::warning, "ptrace", "ptrace_scope is 1",
       "sysctl"},
      {[](PreflightFacts& f) { f.ptrace_scope = 1, f.attach = Attach::refused; }, Level::warning, "ptrace",
       "ptrace_scope is 1", "sysctl"},
      {[](PreflightFacts& f) { f.attach = Attach::refused; }, Level::warning, "ptrace",
       "though kernel.yama.ptrace_scope is 0", "SYS_PTRACE"},
      {[](PreflightFacts& f) { f.ranks = 1025; }, Level::failure, "ranks", "only 1024 endpoints", "fewer"},
      {[](PreflightFacts& f) { f.running = "4.1.6"; }, Level::failure, "Open MPI", "built for 5.0.7",
       "Build"},
      {[](PreflightFacts& f) { f.running.clear(); }, Level::warning, "Open MPI", "not in PATH", "PATH"},
  };
  for (const auto& fault : faults) {
    PreflightFacts facts = good();
    fault.spoil(facts);
    const Finding found = only_trouble(facts);
    CHECK(found.level == fault.level);
    CHECK(found.topic == fault.topic);
    CHECK_THAT(found.text, Contains(fault.says));
    CHECK_THAT(found.remedy, Contains(fault.remedy));
    CHECK(outcome(judge(facts)) == fault.level);
  }
}

TEST_CASE("A variable makes an old kernel safe to fork on") {
  PreflightFacts facts = good();
  facts.kernel_major = 4, facts.kernel_minor = 14;
  facts.fork_safe_by_variable = true;
  CHECK(outcome(judge(facts)) == Level::ok);
}

TEST_CASE("What was tried counts more than ptrace_scope: root may read in spite of it") {
  PreflightFacts facts = good();
  facts.ptrace_scope = 1;
  facts.attach = Attach::works;
  CHECK(outcome(judge(facts)) == Level::ok);
}

TEST_CASE("The preflight has a line for each thing of the list, with versions and known faults") {
  std::string topics;
  std::string libfabric;
  PreflightFacts facts = good();
  facts.versions = "201.0, driver efa";
  for (const auto& finding : judge(facts)) {
    topics += finding.topic + "; ";
    if (finding.topic == "libfabric") libfabric = finding.text;
  }
  CHECK(topics ==
        "EFA NIC; libfabric; locked memory; shared memory; huge pages; fork; ptrace; ranks; Open MPI; ");
  CHECK_THAT(libfabric, Contains("2.1, provider efa 201.0, driver efa; known, and avoided: inside a node"));
  facts.libfabric = FI_VERSION(2, 2);
  CHECK_THAT(judge(facts)[1].text, !Contains("known"));
  for (const int64_t pages : {-1, 0, 12}) {
    facts.free_huge_pages = pages;
    CHECK(outcome(judge(facts)) == Level::ok);
    CHECK_THAT(judge(facts)[4].text, Contains(pages < 0 ? "has none"
                                              : pages   ? "12 of 2 MiB free"
                                                        : "nr_hugepages"));
  }
}

TEST_CASE("Maps of an instance type are those of the ranks themselves") {
  const auto node = instance_node("p4d.24xlarge");
  REQUIRE(node);
  REQUIRE(node->nics.size() == 4);
  const Placement full = place_ranks(*node, 48, Binding::core, {});
  CHECK(full.load == std::vector<size_t>{12, 12, 12, 12});
  CHECK(full.ranks[13].cores == "13");
  CHECK(full.ranks[13].rails == std::vector<size_t>{1});

  const Placement gpus = place_ranks(*node, 8, Binding::core, {});
  CHECK(gpus.load == std::vector<size_t>{2, 2, 2, 2});
  CHECK(gpus.ranks[7].cores == "42-47");

  const Placement loose = place_ranks(*node, 4, Binding::none, {});
  CHECK(loose.load == std::vector<size_t>{1, 1, 1, 1});
  CHECK(loose.ranks[0].cores == "not bound");
  CHECK_THAT(loose.hint, Contains("--bind-to core"));

  NicParameters wrong;
  wrong.nics = "mlx5_0";
  CHECK_THAT(place_ranks(*node, 4, Binding::core, wrong).error, Contains("mlx5_0"));
  CHECK_FALSE(instance_node("p4d.unheard"));
}

namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++times;
  return times;
}

// (x, y, width, height) of every rectangle of a kind.
std::vector<std::array<int, 4>> rectangles(const std::string& svg, const std::string& kind) {
  std::vector<std::array<int, 4>> found;
  for (size_t at = 0; (at = svg.find("<rect class=\"" + kind + "\"", at)) != std::string::npos; ++at) {
    std::array<int, 4> r{};
    REQUIRE(std::sscanf(svg.c_str() + svg.find(" x=", at), " x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"",
                        &r[0], &r[1], &r[2], &r[3]) == 4);
    found.push_back(r);
  }
  return found;
}

bool inside(const std::array<int, 4>& r, const std::array<int, 4>& of) {
  return r[0] >= of[0] && r[1] >= of[1] && r[0] + r[2] <= of[0] + of[2] && r[1] + r[3] <= of[1] + of[3];
}

bool overlap(const std::array<int, 4>& a, const std::array<int, 4>& b) {
  return a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3];
}

}  // namespace

namespace {

struct Text {
  int left, right, y, size;
  std::string words;
};

// Every text with the room that it takes in DejaVu Sans, the widest of the usual fonts (advances in em).
std::vector<Text> texts(const std::string& svg) {
  std::vector<Text> found;
  for (size_t at = 0; (at = svg.find("<text class=\"", at)) != std::string::npos; ++at) {
    char kind[32];
    Text each{};
    REQUIRE(std::sscanf(svg.c_str() + at, "<text class=\"%31[^\"]\" x=\"%d\" y=\"%d\"", kind, &each.left,
                        &each.y) == 3);
    const size_t style = svg.find("." + std::string(kind) + "{font-size:");
    REQUIRE(style != std::string::npos);
    const std::string rule = svg.substr(style, svg.find('}', style) - style);
    REQUIRE(std::sscanf(rule.c_str() + rule.find(':'), ":%dpx", &each.size) == 1);
    const size_t begin = svg.find('>', at) + 1;
    const std::string tag = svg.substr(at, begin - at);
    each.words = svg.substr(begin, svg.find('<', begin) - begin);
    double em = 0;
    for (const char c : each.words)
      if ((c & 0xc0) != 0x80)
        em += c == ' ' || c == ',' || c == '.' ? 0.318
              : c == 'i' || c == 'l'           ? 0.278
              : c == 'm'                       ? 0.974
              : c >= 'A' && c <= 'Z'           ? 0.75
                                               : 0.62;
    const bool bold = rule.find("font-weight:700") != std::string::npos;
    const int width = static_cast<int>(em * each.size * (bold ? 1.1 : 1));
    const auto anchored = [&](const char* how) {
      return rule.find(std::string("text-anchor:") + how) != std::string::npos ||
             tag.find(std::string("text-anchor=\"") + how) != std::string::npos;
    };
    each.left -= anchored("end") ? width : anchored("middle") ? width / 2 : 0;
    each.right = each.left + width;
    found.push_back(each);
  }
  return found;
}

// No text reaches over another, over the edge of the drawing, or out of the card, core or panel in which it begins.
void check_texts(const std::string& svg) {
  const auto all = texts(svg);
  REQUIRE(!all.empty());
  for (const char* kind : {"card", "core", "numa", "package"})
    for (const auto& r : rectangles(svg, kind))
      for (const auto& each : all)
        if (each.y > r[1] && each.y <= r[1] + r[3] && each.right > r[0] && each.left < r[0] + r[2]) {
          INFO(kind << ": " << each.words);
          CHECK((each.left >= r[0] && each.right <= r[0] + r[2]));
        }
  for (size_t i = 0; i < all.size(); ++i) {
    INFO(all[i].words);
    CHECK((all[i].left >= 0 && all[i].right <= 1240));
    for (size_t k = 0; k < i; ++k)
      if (std::abs(all[i].y - all[k].y) < std::min(all[i].size, all[k].size) && all[i].left < all[k].right &&
          all[k].left < all[i].right)
        FAIL_CHECK("lies over: " << all[k].words);
  }
}

}  // namespace

TEST_CASE("The picture: cores with their ranks and NICs, NICs in the colour of their switch") {
  const auto node = instance_node("p5.48xlarge");
  REQUIRE(node);
  const Placement placement = place_ranks(*node, 8, Binding::core, {});
  const Picture picture = picture_of(*node, placement);
  REQUIRE(picture.packages.size() == 2);
  CHECK(picture.elsewhere.empty());
  const PictureNuma& second = picture.packages[1].numa_nodes.at(0);
  CHECK(second.cores.size() == 48);
  CHECK(second.nics.size() == 16);
  CHECK(second.cores[13].core == 61);
  CHECK(second.cores[13].rank == 5);
  CHECK(second.cores[13].nic == placement.ranks[5].rails[0]);
  const PictureNic* nic = picture.find(second.cores[13].nic);
  REQUIRE(nic);
  CHECK(nic->ranks == std::vector<size_t>{5});
  CHECK(picture.find(0)->group == picture.find(3)->group);
  CHECK(picture.find(0)->group != picture.find(4)->group);
  std::set<std::string> colours;
  for (size_t k = 0; k < 32; ++k) colours.insert(picture.find(k)->colour.hex());
  CHECK(colours.size() == 32);

  // Ranks that share cores: each is shown on some of them.
  const Picture shared = picture_of(*node, place_ranks(*node, 6, Binding::numa, {}));
  std::set<size_t> ranks;
  for (const auto& core : shared.packages[0].numa_nodes[0].cores) ranks.insert(core.rank);
  CHECK(ranks == std::set<size_t>{0, 2, 4});

  const Picture loose = picture_of(*node, place_ranks(*node, 8, Binding::none, {}));
  CHECK(loose.packages[0].numa_nodes[0].cores[0].rank == kNobody);
}

TEST_CASE("The SVG of every instance type: a square per core, a card per NIC, nothing outside its panel") {
  for (const auto& instance : instances()) {
    INFO(instance.name);
    const auto node = instance_node(std::string(instance.name));
    REQUIRE(node);
    const std::string svg =
        svg_of(*node, place_ranks(*node, instance.cores(), Binding::core, {}), "one per core");
    CHECK(svg.starts_with("<svg "));
    CHECK(svg.ends_with("</svg>\n"));
    const auto cores = rectangles(svg, "core"), cards = rectangles(svg, "card"),
               numa = rectangles(svg, "numa"), packages = rectangles(svg, "package");
    CHECK(cores.size() == static_cast<size_t>(instance.cores()));
    CHECK(cards.size() == instance.nics.size());
    CHECK(numa.size() == instance.numa_nodes);
    CHECK(count(svg, "class=\"rank\"") == cores.size());
    CHECK(count(svg, "#e3e7ec") == 0);  // no core is without a rank
    for (const auto& nic : instance.nics) CHECK(count(svg, ">" + rdma_device_name(nic.pci) + "<") == 1);
    const auto held = [](const auto& r, const auto& panels) {
      return std::ranges::any_of(panels, [&](const auto& panel) { return inside(r, panel); });
    };
    for (const auto& core : cores) CHECK(held(core, numa));
    for (const auto& card : cards) CHECK((held(card, numa) || held(card, packages)));
    for (const auto& each : numa) CHECK(held(each, packages));
    for (size_t i = 0; i < cards.size(); ++i)
      for (size_t k = 0; k < i; ++k) CHECK_FALSE(overlap(cards[i], cards[k]));
    for (size_t i = 1; i < cores.size(); ++i) CHECK_FALSE(overlap(cores[i], cores[i - 1]));
    check_texts(svg);
  }
}

TEST_CASE("Long texts of the SVG are shortened or wrapped") {
  auto node = instance_node("p5.48xlarge");
  REQUIRE(node);
  for (auto& each : node->nics)
    each.reads = each.nic.pci->bus % 2;  // not alike, so each card says what it has
  NicParameters rails;
  rails.rails = 4;
  for (const Binding binding : {Binding::core, Binding::numa, Binding::socket, Binding::none})
    for (const int ranks : {7, 96, 500, 4096}) {
      INFO(ranks);
      const std::string svg = svg_of(*node, place_ranks(*node, ranks, binding, rails), "some");
      check_texts(svg);
      CHECK_THAT(svg, Contains("+ rail of ") && Contains("RDMA r+w"));
    }
  NicParameters wrong;
  wrong.nics = "mlx5_0";
  const std::string svg = svg_of(*node, place_ranks(*node, 4, Binding::core, wrong), "some");
  check_texts(svg);
  CHECK_THAT(svg, Contains("mlx5_0") && Contains("rdmap201s0"));
}

TEST_CASE("The SVG says what is unusual, and escapes what it quotes") {
  auto node = instance_node("p4d.24xlarge");
  REQUIRE(node);
  node->title = "a <b> & \"c\"";
  node->nics[1].nic.link_up = false;
  node->nics[2].reads = false;
  NicParameters two;
  two.rails = 2;
  const std::string svg = svg_of(*node, place_ranks(*node, 4, Binding::core, two), "four");
  CHECK_THAT(svg, Contains("a &lt;b&gt; &amp; &quot;c&quot;") && !Contains("<b>"));
  CHECK_THAT(svg, Contains(">link down<") && Contains("1 with the link down") && Contains("no RDMA"));
  CHECK_THAT(svg, Contains("+ rail of "));
  const std::string loose = svg_of(*node, place_ranks(*node, 4, Binding::none, {}), "four");
  CHECK_THAT(loose, Contains("no rank is bound to one"));
}

TEST_CASE("Numbers as ranges") {
  CHECK(ranges({}) == "");
  CHECK(ranges({3}) == "3");
  CHECK(ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
}

// The drawing of a node: it is complete, nothing is outside its panel, and texts do not overlap.
#include <algorithm>
#include <array>
#include <cstdio>

#include "catch.hpp"
#include "machine/instances.hpp"
#include "picture.hpp"
#include "placement.hpp"
#include "show.hpp"

using namespace efa;

namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t times = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++times;
  return times;
}

// (x, y, width, height) of every rectangle of one kind.
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

struct Text {
  int left, right, y, size;
  std::string words;
};

// Every text with its width in DejaVu Sans, the widest of the usual fonts (advances in em).
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

// No text overlaps another one, or exceeds the drawing or the card, core or panel in which it begins.
void check_texts(const std::string& svg) {
  const auto all = texts(svg);
  REQUIRE(!all.empty());
  for (const char* kind : {"card", "core", "numa", "package"})
    for (const auto& box : rectangles(svg, kind))
      for (const auto& each : all)
        if (each.y > box[1] && each.y <= box[1] + box[3] && each.right > box[0] && each.left < box[0] + box[2]) {
          INFO(kind << ": " << each.words);
          CHECK((each.left >= box[0] && each.right <= box[0] + box[2]));
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
    CHECK(count(svg, "#e3e7ec") == 0);  // every core has a rank
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
    each.reads = each.nic.pci->bus % 2;  // NICs differ, so each card shows its capabilities
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

TEST_CASE("The SVG shows unusual states, and escapes its texts") {
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

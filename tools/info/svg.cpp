// The machine as SVG: packages side by side, in each its NUMA nodes with a square per core and a card per NIC. A square
// has the colour of the NIC that its rank uses.
#include <algorithm>
#include <cstdio>
#include <string>

#include "picture.hpp"
#include "show.hpp"
#include "svg_text.hpp"

namespace efa {
namespace {

// All lengths in SVG units (pixels at scale 1).
constexpr int kWidth = 1240, kMargin = 28, kGap = 20;
constexpr int kPad = 14;                        // inside a panel
constexpr int kLeastStep = 27, kMostStep = 33;  // from one core to the next
constexpr int kBetween = 3;                     // cores
constexpr int kCard = 46, kCardGap = 8;
constexpr int kLabel = 26;  // height of a panel's label
constexpr int kFrameLabel = 16;

constexpr const char* kStyle =
    "text{font-family:'Amazon Ember','Helvetica Neue',Arial,'Liberation Sans','DejaVu "
    "Sans',sans-serif;fill:#1c2430}"
    ".title{font-size:26px;font-weight:700}.sub{font-size:14px;fill:#5a6676}"
    ".label{font-size:13px;font-weight:700}.name{font-size:13px;font-weight:700}"
    ".detail{font-size:11px;fill:#5a6676}.ranks{font-size:12px;text-anchor:end}"
    ".rank{font-size:10px;text-anchor:middle}.frame-label{font-size:10px;fill:#8793a3}"
    ".package{fill:#f3f5f8;stroke:#cdd5df}.numa{fill:#ffffff;stroke:#dde3ea}"
    ".card{fill:#fbfcfd;stroke:#dde3ea}.frame{fill:none;stroke:#b7c1cd;stroke-dasharray:4 3}";

bool are_alike(const Node& node) {
  return !node.nics.empty() && std::ranges::all_of(node.nics, [&](const NodeNic& each) {
    const NodeNic& first = node.nics.front();
    return each.nic.bits_per_second == first.nic.bits_per_second && each.reads == first.reads &&
           each.writes == first.writes;
  });
}

class Drawing {
 public:
  Drawing(const Node& node, const Placement& placement)
      : node_(node), picture_(picture_of(node, placement)), alike_(are_alike(node)) {}
  std::string draw(const std::string& what, const std::string& below);

 private:
  void rect(const char* kind, int x, int y, int width, int height, const std::string& more = "");
  void text(const char* kind, int x, int y, const std::string& words, const std::string& more = "");
  // These return the y coordinate below the drawn part.
  int cores(const PictureNuma& numa, int x, int y, int width);
  int cards(const std::vector<PictureNic>& nics, int x, int y, int width);
  int rows_of_cards(const std::vector<PictureNic>& nics, size_t first, size_t count, int x, int y, int width);
  void card(const PictureNic& each, int x, int y, int width);
  int numa_node(const PictureNuma& numa, int x, int y, int width);
  int package(const PicturePackage& package, int x, int y, int width);

  const Node& node_;
  const Picture picture_;
  const bool alike_;       // all NICs have the same rate and capabilities, which are printed once at the top
  bool coloured_ = false;  // some core has the colour of a NIC
  std::string out_;
};

void Drawing::rect(const char* kind, int x, int y, int width, int height, const std::string& more) {
  char head[160];
  std::snprintf(head, sizeof head, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" ", kind,
                x, y, width, height);
  out_ += head + more + "/>\n";
}

void Drawing::text(const char* kind, int x, int y, const std::string& words, const std::string& more) {
  char head[96];
  std::snprintf(head, sizeof head, "<text class=\"%s\" x=\"%d\" y=\"%d\"", kind, x, y);
  out_ += head + (more.empty() ? "" : " " + more) + ">" + escaped(words) + "</text>\n";
}

// Squares per row: as many as fit, if possible so that all rows are full.
int columns_of(size_t cores, int width) {
  const int most = std::max(1, (width + kBetween) / kLeastStep);
  const int count = static_cast<int>(cores);
  for (int columns = std::min(most, count); columns > most / 2; --columns)
    if (count % columns == 0) return columns;
  return std::min(most, std::max(count, 1));
}

int Drawing::cores(const PictureNuma& numa, int x, int y, int width) {
  const int columns = columns_of(numa.cores.size(), width);
  const int step = std::clamp((width + kBetween) / columns, kLeastStep, kMostStep), cell = step - kBetween;
  size_t shown = kNobody;
  for (size_t i = 0; i < numa.cores.size(); ++i) {
    const PictureCore& core = numa.cores[i];
    const int left = x + static_cast<int>(i) % columns * step, top = y + static_cast<int>(i) / columns * step;
    const PictureNic* nic = core.nic == kNobody ? nullptr : picture_.find(core.nic);
    rect("core", left, top, cell, cell, "rx=\"4\" fill=\"" + (nic ? nic->colour.hex() : "#e3e7ec") + "\"");
    // The first core of each rank has its number, if that fits into the square.
    if (nic && core.rank != shown && text_width(std::to_string(core.rank), 10) <= cell)
      text("rank", left + cell / 2, top + cell / 2 + 4, std::to_string(core.rank),
           nic->colour.light() ? "" : "style=\"fill:#ffffff\"");
    shown = core.rank;
    coloured_ |= nic != nullptr;
  }
  const int rows = (static_cast<int>(numa.cores.size()) + columns - 1) / columns;
  return y + rows * step;
}

void Drawing::card(const PictureNic& each, int x, int y, int width) {
  const NodeNic& nic = node_.nics[each.nic];
  const bool usable = nic.nic.link_up && nic.trouble.empty();
  rect("card", x, y, width, kCard, usable ? "rx=\"6\"" : "rx=\"6\" stroke-dasharray=\"3 3\"");
  rect("colour", x, y, 8, kCard, "rx=\"3\" fill=\"" + (usable ? each.colour.hex() : "#c3cad3") + "\"");
  const std::string name = device_of(nic.nic);
  text("name", x + 18, y + 19, name);
  std::string ranks;
  if (!usable)
    ranks = nic.nic.link_up ? "unusable" : "link down";
  else if (!each.ranks.empty())
    ranks = (each.ranks.size() == 1 ? "rank " : "ranks ") + ranges(each.ranks);
  // Width of both margins and the space between the two texts of a line.
  const int room = width - 18 - 12 - 10;
  if (usable && text_width(name, 13, true) + text_width(ranks, 12) > room)
    ranks = std::to_string(each.ranks.size()) + " ranks";
  text("ranks", x + width - 12, y + 19, ranks);
  std::string detail = rate_of(nic.nic), further;
  if (node_.provider == "efa" && !alike_)
    detail += !nic.reads ? " · no RDMA" : nic.writes ? " · RDMA r+w" : " · RDMA read";
  if (each.further) further = "+ rail of " + std::to_string(each.further);
  // The address is omitted first, because it is also in the device's name.
  if (const std::string longer = (nic.nic.pci ? to_string(*nic.nic.pci) + " · " : "") + detail;
      text_width(longer, 11) + text_width(further, 11) <= room)
    detail = longer;
  text("detail", x + 18, y + 36, detail);
  if (each.further) text("detail", x + width - 12, y + 36, further, "text-anchor=\"end\"");
}

int Drawing::rows_of_cards(const std::vector<PictureNic>& nics, size_t first, size_t count, int x, int y,
                           int width) {
  constexpr int kLeast = 236;  // minimum width of a card
  const int columns = std::max(1, (width + kCardGap) / (kLeast + kCardGap));
  const int each = (width - (columns - 1) * kCardGap) / columns;
  for (size_t i = 0; i < count; ++i)
    card(nics[first + i], x + static_cast<int>(i) % columns * (each + kCardGap),
         y + static_cast<int>(i) / columns * (kCard + kCardGap), each);
  const int rows = (static_cast<int>(count) + columns - 1) / columns;
  return y + rows * (kCard + kCardGap);
}

int Drawing::cards(const std::vector<PictureNic>& nics, int x, int y, int width) {
  // A dashed frame around those that share a PCIe switch or root bus.
  for (size_t first = 0; first < nics.size();) {
    size_t count = 1;
    while (first + count < nics.size() && nics[first + count].group == nics[first].group) ++count;
    if (count == 1) {
      // Groups of one NIC share rows.
      while (first + count < nics.size() && nics[first + count].group != nics[first + count - 1].group &&
             (first + count + 1 == nics.size() || nics[first + count + 1].group != nics[first + count].group))
        ++count;
      y = rows_of_cards(nics, first, count, x, y, width);
    } else {
      const int top = y;
      y = rows_of_cards(nics, first, count, x + 8, y + kFrameLabel + 6, width - 16);
      rect("frame", x, top, width, y - top, "rx=\"8\"");
      text("frame-label", x + 10, top + 14, "one PCIe switch or root bus");
      y += kCardGap;
    }
    first += count;
  }
  return y;
}

int Drawing::numa_node(const PictureNuma& numa, int x, int y, int width) {
  const size_t hole = out_.size();  // the panel is inserted here, below its contents, when its height is known
  std::vector<size_t> numbers;
  for (const auto& core : numa.cores) numbers.push_back(core.core);
  int bottom = y + kLabel;
  const std::string label = "NUMA node " + std::to_string(numa.number);
  std::string which = numbers.empty() ? "" : " · cores " + ranges(numbers);
  if (text_width(label + which, 13, true) > width - 2 * kPad)
    which = " · " + std::to_string(numbers.size()) + " cores";
  text("label", x + kPad, y + 20, label + which);
  bottom = cores(numa, x + kPad, bottom + 4, width - 2 * kPad) + 8;
  bottom = cards(numa.nics, x + kPad, bottom, width - 2 * kPad);
  std::string inside = out_.substr(hole);
  out_.resize(hole);
  rect("numa", x, y, width, bottom - y + 4, "rx=\"8\"");
  out_ += inside;
  return bottom + 4 + 10;
}

int Drawing::package(const PicturePackage& package, int x, int y, int width) {
  text("label", x + kPad, y + 20, "Package " + std::to_string(package.number));
  int bottom = y + kLabel + 4;
  for (const auto& numa : package.numa_nodes) bottom = numa_node(numa, x + kPad, bottom, width - 2 * kPad);
  return bottom + 4;
}

std::string Drawing::draw(const std::string& what, const std::string& below) {
  text("title", kMargin, 44, node_.title);
  text("sub", kMargin, 68,
       headline(node_) + (alike_ && node_.provider == "efa"
                              ? ", " + rate_of(node_.nics.front().nic) +
                                    (node_.nics.size() > 1 ? " each, " : ", ") + rdma_of(node_.nics.front())
                              : ""));
  text("sub", kMargin, 88, what);
  int y = 108;

  const int columns = picture_.packages.size() > 1 ? 2 : 1;
  const int width = (kWidth - 2 * kMargin - (columns - 1) * kGap) / columns;
  for (size_t i = 0; i < picture_.packages.size(); i += static_cast<size_t>(columns)) {
    const size_t hole = out_.size();
    int bottom = y;
    const size_t end = std::min(picture_.packages.size(), i + static_cast<size_t>(columns));
    for (size_t k = i; k < end; ++k)
      bottom = std::max(bottom, package(picture_.packages[k],
                                        kMargin + static_cast<int>(k - i) * (width + kGap), y, width));
    std::string inside = out_.substr(hole);
    out_.resize(hole);
    for (size_t k = i; k < end; ++k)
      rect("package", kMargin + static_cast<int>(k - i) * (width + kGap), y, width, bottom - y, "rx=\"12\"");
    out_ += inside;
    y = bottom + kGap;
  }
  if (!picture_.elsewhere.empty()) {
    const int whole = kWidth - 2 * kMargin;
    const size_t hole = out_.size();
    text("label", kMargin + kPad, y + 20, "Not attached to a single NUMA node, or place unknown");
    const int bottom = cards(picture_.elsewhere, kMargin + kPad, y + kLabel + 4, whole - 2 * kPad) + 6;
    std::string inside = out_.substr(hole);
    out_.resize(hole);
    rect("package", kMargin, y, whole, bottom - y, "rx=\"12\"");
    out_ += inside;
    y = bottom + kGap;
  }
  y += 8;
  const std::string key =
      coloured_ ? "Each square is a core. A number marks the first core of a rank. The colour is "
                  "the NIC of the rank's short messages."
                : "Each square is a core; no rank is bound to one.";
  for (const auto& words : {key, below})
    for (const auto& line : wrapped(words, 14, kWidth - 2 * kMargin)) {
      text("sub", kMargin, y, line);
      y += 22;
    }
  y += 4;
  char head[256];
  std::snprintf(
      head, sizeof head,
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", kWidth,
      y, kWidth, y);
  return std::string(head) + "<title>" + escaped(node_.title) + "</title>\n<style>" + kStyle +
         "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" + out_ + "</svg>\n";
}

}  // namespace

std::string svg_of(const Node& node, const Placement& placement, const std::string& what) {
  std::string below;
  if (!placement.error.empty()) {
    below = placement.error;
  } else if (!placement.ranks.empty()) {
    size_t least = SIZE_MAX, most = 0, idle = 0;
    for (const size_t load : placement.load) {
      idle += load == 0;
      if (load == 0) continue;
      least = std::min(least, load);
      most = std::max(most, load);
    }
    below = "Each NIC that has ranks carries the short messages of " +
            (least == most ? "" : std::to_string(least) + " to ") + std::to_string(most) +
            (most == 1 ? " rank." : " ranks.") +
            (idle ? " " + std::to_string(idle) + (idle == 1 ? " NIC has none." : " NICs have none.") : "");
  }
  return Drawing(node, placement).draw(what, below);
}

}  // namespace efa

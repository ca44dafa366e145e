#include "svg_text.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace efa {
namespace {

// In em, rounded up from DejaVu Sans; its bold is a tenth wider.
double advance(unsigned char c) {
  if (std::string_view(" ,.:;!'|()[]ijltfr-/").find(static_cast<char>(c)) != std::string_view::npos)
    return 0.42;
  if (c == 'm' || c == 'M' || c == 'W') return 1.0;
  if (c == 'w' || c == '+' || c == '<' || c == '>' || c == '=') return 0.85;
  if (c >= 'A' && c <= 'Z') return 0.79;
  return 0.64;
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20)
      out += c;
  }
  return out;
}

int text_width(const std::string& text, int size, bool bold) {
  double em = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) != 0x80) em += advance(byte);  // UTF-8: a character counts once
  }
  return static_cast<int>(std::ceil(em * size * (bold ? 1.1 : 1.0)));
}

std::vector<std::string> wrapped(const std::string& text, int size, int width) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (lines.empty() || text_width(lines.back() + " " + word, size) > width)
      lines.push_back(word);
    else
      lines.back() += " " + word;
    begin = end + 1;
  }
  return lines;
}

}  // namespace efa

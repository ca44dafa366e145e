// Comma-separated lists in parameters.
#pragma once

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace efa {

// The entries; none for an empty text; nullopt if an entry is empty or has a character that names cannot have.
inline std::optional<std::vector<std::string>> split_list(std::string_view text) {
  std::vector<std::string> entries;
  if (text.empty()) return entries;
  for (;;) {
    const auto comma = text.find(',');
    const auto entry = text.substr(0, comma);
    const bool plain = !entry.empty() && std::all_of(entry.begin(), entry.end(), [](unsigned char c) {
      return std::isalnum(c) || c == ';' || c == '_' || c == '-' || c == '.';
    });
    if (!plain) return std::nullopt;
    entries.emplace_back(entry);
    if (comma == std::string_view::npos) return entries;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace efa

#include "machine/nic_filter.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace efa {
namespace {

bool matches_any(const Nic& nic, const std::vector<std::string>& patterns) {
  return std::ranges::any_of(patterns, [&](const auto& pattern) { return matches(nic, pattern); });
}

/// libfabric's EFA provider appends the endpoint type to the device's name.
std::string device_of(const std::string& domain) {
  for (std::string_view suffix : {"-rdm", "-dgrm"})
    if (domain.ends_with(suffix)) return domain.substr(0, domain.size() - suffix.size());
  return domain;
}

bool same_device(const Nic& a, const Nic& b) {
  return a.pci && b.pci ? *a.pci == *b.pci : device_of(a.name) == device_of(b.name);
}

std::string chosen_provider(std::span<const Nic> nics, const std::string& wanted) {
  if (!wanted.empty() || nics.empty()) return wanted;
  const bool efa = std::ranges::any_of(nics, [](const Nic& nic) { return nic.provider == "efa"; });
  return efa ? "efa" : nics.front().provider;
}

void drop_slow(std::span<const Nic> nics, UsableNics& usable) {
  uint64_t fastest = 0;
  for (size_t nic : usable.nics) fastest = std::max(fastest, nics[nic].bits_per_second);
  std::erase_if(usable.nics, [&](size_t nic) {
    const uint64_t rate = nics[nic].bits_per_second;
    if (rate == 0 || rate >= fastest / 2) return false;
    usable.skipped.push_back({nic, msg::nic_slow()});
    return true;
  });
}

}  // namespace

bool matches(const Nic& nic, const std::string& pattern) {
  const auto is = [&](const std::string& text) { return fnmatch(pattern.c_str(), text.c_str(), 0) == 0; };
  if (is(nic.name) || is(device_of(nic.name))) return true;
  if (!nic.pci) return false;
  const std::string pci = to_string(*nic.pci);
  return is(pci) || (nic.pci->domain == 0 && is(pci.substr(5)));
}

std::vector<std::string> split_patterns(std::string_view list, char separator) {
  constexpr std::string_view kBlanks = " \t";
  std::vector<std::string> parts;
  while (!list.empty()) {
    const size_t end = std::min(list.find(separator), list.size());
    std::string_view part = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    const size_t first = part.find_first_not_of(kBlanks);
    if (first == part.npos) continue;
    parts.emplace_back(part.substr(first, part.find_last_not_of(kBlanks) - first + 1));
  }
  return parts;
}

UsableNics usable_nics(std::span<const Nic> nics, const NicFilter& filter) {
  const std::string provider = chosen_provider(nics, filter.provider);
  const auto include = split_patterns(filter.include, ','), exclude = split_patterns(filter.exclude, ',');

  UsableNics result;
  for (size_t i = 0; i < nics.size(); ++i) {
    const Nic& nic = nics[i];
    const auto skip = [&](MessagePart why) { result.skipped.push_back({i, std::move(why)}); };
    if (nic.provider != provider)
      skip(msg::nic_other_provider(nic.provider, provider));
    else if (!nic.link_up)
      skip(msg::nic_link_down());
    else if (std::ranges::any_of(result.nics, [&](size_t other) { return same_device(nics[other], nic); }))
      skip(msg::nic_listed_twice());
    else if (!include.empty() && !matches_any(nic, include))
      skip(msg::nic_not_included());
    else if (matches_any(nic, exclude))
      skip(msg::nic_excluded());
    else
      result.nics.push_back(i);
  }
  if (filter.similar_rates) drop_slow(nics, result);
  return result;
}

}  // namespace efa

#include "faults.hpp"

#include <iterator>

#include "link_model.hpp"
#include "settings.hpp"

namespace efasim {
namespace {

constexpr const char* kFaultNames[] = {"rnr",      "unresponsive", "bad_qpn",    "abort",
                                       "nic_dies", "kill",         "mr_refused", "ah_exhausted"};
static_assert(std::size(kFaultNames) == static_cast<size_t>(FaultKind::kNumFaults));

bool parse_key(const std::string& key, const std::string& value, FaultRule* rule) {
  if (key == "node") {
    rule->node = value;
    return !value.empty();
  }
  if (key == "p") return parse_probability(value, &rule->probability);
  uint64_t number = 0;
  if (!parse_number(value, &number)) return false;
  if (key == "at")
    rule->at = number;
  else if (key == "every")
    rule->every = number;
  else if (key == "times")
    rule->times = number;
  else if (key == "nic")
    rule->nic = static_cast<int>(number);
  else if (key == "process")
    rule->process = static_cast<int>(number);
  else
    return false;
  return true;
}

}  // namespace

const char* fault_name(FaultKind kind) { return kFaultNames[static_cast<size_t>(kind)]; }

bool parse_faults(const std::string& text, std::vector<FaultRule>* rules, std::string* error) {
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.find(';', begin);
    if (end == std::string::npos) end = text.size();
    const std::string item = text.substr(begin, end - begin);
    begin = end + 1;
    if (item.empty()) continue;

    const size_t colon = item.find(':');
    const std::string name = item.substr(0, colon);
    FaultRule rule;
    size_t kind = 0;
    while (kind < std::size(kFaultNames) && name != kFaultNames[kind]) kind++;
    if (kind == std::size(kFaultNames)) {
      *error = "unknown fault '" + name + "'; known are";
      for (const char* known : kFaultNames) *error += std::string(" ") + known;
      return false;
    }
    rule.kind = static_cast<FaultKind>(kind);
    const auto pairs = parse_pairs(colon == std::string::npos ? "" : item.substr(colon + 1));
    for (const auto& [key, value] : pairs) {
      if (!parse_key(key, value, &rule)) {
        *error = "fault '" + item + "': cannot understand '" + key + "=" + value +
                 "'; keys are p, at, every, times, nic, process, node";
        return false;
      }
    }
    if (rule.probability <= 0 && rule.at == 0 && rule.every == 0) {
      *error = "fault '" + item + "' never happens: give p=, at= or every=";
      return false;
    }
    rules->push_back(rule);
  }
  return true;
}

FaultInjector::FaultInjector(const std::vector<FaultRule>& rules, uint64_t seed, const std::string& node, int nic,
                             int process)
    : seed_(seed) {
  for (const FaultRule& rule : rules) {
    if (rule.nic >= 0 && rule.nic != nic) continue;
    if (rule.process >= 0 && rule.process != process) continue;
    if (!rule.node.empty() && rule.node != node) continue;
    auto armed = std::make_unique<Armed>();
    armed->rule = rule;
    armed->stream =
        static_cast<uint64_t>(nic) << 32 | static_cast<uint64_t>(process) << 8 | static_cast<uint64_t>(rule.kind);
    rules_.push_back(std::move(armed));
  }
}

int FaultInjector::fire(FaultKind first, FaultKind last) {
  int result = -1;
  for (const std::unique_ptr<Armed>& armed : rules_) {
    const FaultRule& rule = armed->rule;
    if (rule.kind < first || rule.kind > last) continue;
    const uint64_t event = 1 + armed->events.fetch_add(1, std::memory_order_relaxed);
    const bool hit = (rule.at && event >= rule.at) || (rule.every && event % rule.every == 0) ||
                     (rule.probability > 0 && random_unit(seed_, armed->stream, event) < rule.probability);
    if (!hit || result >= 0) continue;
    const uint64_t limit = rule.times ? rule.times : (rule.at ? 1 : ~uint64_t{0});
    if (armed->fired.fetch_add(1, std::memory_order_relaxed) >= limit) continue;
    result = static_cast<int>(rule.kind);
  }
  return result;
}

}  // namespace efasim

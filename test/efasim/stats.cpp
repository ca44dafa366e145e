#include "stats.hpp"

#include <array>
#include <cinttypes>
#include <cstdio>

namespace efasim {
namespace {

using Values = std::array<uint64_t, kNumCounters>;

Values values_of(const Counters& counters) {
  Values values;
  for (unsigned i = 0; i < kNumCounters; i++) values[i] = counters.get(i);
  return values;
}

void add(Values* sum, const Values& values) {
  for (unsigned i = 0; i < kNumCounters; i++) (*sum)[i] += values[i];
}

bool any(const Values& values) {
  for (const uint64_t value : values) {
    if (value) return true;
  }
  return false;
}

Values total_of(const NicEntry& nic) {
  Values sum = values_of(nic.retired);
  for (const QpEntry& qp : nic.qps) add(&sum, values_of(qp.counters));
  return sum;
}

std::string words(const Values& values) {
  std::string text;
  for (unsigned i = 0; i < kNumCounters; i++) {
    if (values[i]) text += std::string(" ") + kCounterNames[i].name + "=" + std::to_string(values[i]);
  }
  return text.empty() ? " -" : text;
}

std::string json(const Values& values) {
  std::string text = "{";
  for (unsigned i = 0; i < kNumCounters; i++) {
    text += std::string(i ? ", \"" : "\"") + kCounterNames[i].name + "\": " + std::to_string(values[i]);
  }
  return text + "}";
}

const char* state_of(const QpEntry& qp) {
  return qp.state.load() == SlotState::kLive ? (qp.is_ud ? "UD" : "SRD") : (qp.is_ud ? "UD, gone" : "SRD, gone");
}

// Calls visit(nic) for each NIC of the fabric.
template <class Visit>
void for_each_nic(const FabricShared& fabric, Visit visit) {
  for (const NicEntry& nic : fabric.nics) {
    if (nic.state.load(std::memory_order_acquire) != SlotState::kLive) return;
    visit(nic);
  }
}

}  // namespace

std::string stats_table(const FabricShared& fabric, bool queue_pairs) {
  std::string text;
  Values total{};
  for_each_nic(fabric, [&](const NicEntry& nic) {
    const Values sum = total_of(nic);
    add(&total, sum);
    if (!any(sum)) return;
    text += std::string(nic.node) + " " + nic.name +
            (nic.dead.load()              ? " (dead)"
             : nic.link_down_since.load() ? " (link down)"
                                          : "") +
            ":" + words(sum) + "\n";
    for (unsigned qpn = 0; queue_pairs && qpn < kMaxQps; qpn++) {
      const Values values = values_of(nic.qps[qpn].counters);
      if (any(values)) {
        text += "  QP " + std::to_string(qpn) + " (" + state_of(nic.qps[qpn]) + "):" + words(values) + "\n";
      }
    }
  });
  return text + "all NICs:" + words(total) + "\n";
}

std::string stats_json(const FabricShared& fabric) {
  std::string text = "{\"nics\": [";
  Values total{};
  bool first = true;
  for_each_nic(fabric, [&](const NicEntry& nic) {
    const Values sum = total_of(nic);
    add(&total, sum);
    text += std::string(first ? "" : ",") + "\n  {\"node\": \"" + nic.node + "\", \"name\": \"" + nic.name +
            "\", \"profile\": \"" + nic.profile + "\", \"dead\": " + (nic.dead.load() ? "true" : "false") +
            ", \"counters\": " + json(sum) + ", \"qps\": [";
    first = false;
    bool first_qp = true;
    for (unsigned qpn = 0; qpn < kMaxQps; qpn++) {
      const Values values = values_of(nic.qps[qpn].counters);
      if (!any(values)) continue;
      text += std::string(first_qp ? "" : ",") + "\n    {\"qpn\": " + std::to_string(qpn) + ", \"type\": \"" +
              (nic.qps[qpn].is_ud ? "UD" : "SRD") + "\", \"counters\": " + json(values) + "}";
      first_qp = false;
    }
    text += "]}";
  });
  return text + "],\n \"total\": " + json(total) + "}\n";
}

}  // namespace efasim

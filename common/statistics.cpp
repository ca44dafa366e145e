#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/user_message.hpp"
#include "interface/statistics.h"
#include "interface/transport.h"

static_assert(sizeof(efa_statistics_part) <= EFA_BOUNCE_SIZE);

namespace {

constexpr uint32_t kMagic = 0xefa57a75;

uint32_t summaries_in(uint32_t part) {
  return std::min<uint32_t>(EFA_SUMMARIES_PER_PART, EFA_COUNTERS - part * EFA_SUMMARIES_PER_PART);
}

__attribute__((format(printf, 2, 3))) void append(std::string& text, const char* format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  text += line;
}

using Number = unsigned long long;

// The sum of the greatest values of several processes, at different times, has no meaning.
bool has_sum(unsigned counter) {
  return efa_counter_descriptions[counter].kind != EFA_MOST;
}

std::string table(const efa_statistics& statistics, uint32_t job_ranks) {
  namespace msg = efa::msg;
  const efa::UserMessage head = statistics.ranks < job_ranks
                                    ? msg::statistics_some(statistics.ranks, job_ranks)
                                : job_ranks == 1 ? msg::statistics_one()
                                                 : msg::statistics_all(job_ranks);
  std::string text = head.text() + "\n";
  append(text, "  %-27s %17s %17s %6s %17s %6s\n", "counter", "sum", "least", "rank", "most", "rank");
  for (unsigned i = 0; i < EFA_COUNTERS; ++i) {
    const efa_summary& of = statistics.of[i];
    if (of.most == 0) continue;
    const std::string sum = has_sum(i) ? std::to_string(of.sum) : "-";
    append(text, "  %-27s %17s %17llu %6d %17llu %6d\n", efa_counter_descriptions[i].name, sum.c_str(),
           Number{of.least}, of.least_rank, Number{of.most}, of.most_rank);
  }
  return text;
}

std::string json(const efa_statistics& statistics, uint32_t job_ranks) {
  std::string text;
  append(text, "{\"mtl_efa_statistics\": {\"format\": 1, \"job_ranks\": %u, \"ranks\": %u, \"counters\": {",
         job_ranks, statistics.ranks);
  for (unsigned i = 0; i < EFA_COUNTERS; ++i) {
    const efa_summary& of = statistics.of[i];
    append(text, "%s\"%s\": {", i ? ", " : "", efa_counter_descriptions[i].name);
    if (has_sum(i)) append(text, "\"sum\": %llu, ", Number{of.sum});
    append(text, "\"least\": %llu, \"least_rank\": %d, \"most\": %llu, \"most_rank\": %d}", Number{of.least},
           of.least_rank, Number{of.most}, of.most_rank);
  }
  return text + "}}}\n";
}

}  // namespace

extern "C" int efa_statistics_form_of(const char* text) {
  if (!text || !*text || std::strcmp(text, "none") == 0) return EFA_STATISTICS_NONE;
  if (std::strcmp(text, "table") == 0) return EFA_STATISTICS_TABLE;
  return std::strcmp(text, "json") == 0 ? EFA_STATISTICS_JSON : -1;
}

extern "C" void efa_statistics_begin(efa_statistics* statistics, int32_t rank, const efa_counters* counters) {
  statistics->ranks = 1;
  for (unsigned i = 0; i < EFA_COUNTERS; ++i) {
    const uint64_t value = efa_counter_at(counters, i);
    statistics->of[i] = {value, value, value, rank, rank};
  }
}

extern "C" void efa_statistics_add(efa_statistics* statistics, const efa_statistics* more) {
  statistics->ranks += more->ranks;
  for (unsigned i = 0; i < EFA_COUNTERS; ++i) {
    efa_summary& to = statistics->of[i];
    const efa_summary& from = more->of[i];
    to.sum += from.sum;
    if (from.least < to.least || (from.least == to.least && from.least_rank < to.least_rank)) {
      to.least = from.least;
      to.least_rank = from.least_rank;
    }
    if (from.most > to.most || (from.most == to.most && from.most_rank < to.most_rank)) {
      to.most = from.most;
      to.most_rank = from.most_rank;
    }
  }
}

extern "C" void efa_statistics_part_get(const efa_statistics* statistics, int32_t from, uint32_t index,
                                        efa_statistics_part* part) {
  *part = {};
  part->magic = kMagic;
  part->from = from;
  part->index = index;
  part->ranks = statistics->ranks;
  std::copy_n(statistics->of + index * EFA_SUMMARIES_PER_PART, summaries_in(index), part->of);
}

extern "C" int efa_statistics_part_check(const efa_statistics_part* part, uint32_t job_ranks) {
  return part->magic == kMagic && part->from >= 0 && static_cast<uint32_t>(part->from) < job_ranks &&
         part->index < EFA_STATISTICS_PARTS && part->ranks > 0 && part->ranks < job_ranks;
}

extern "C" void efa_statistics_part_set(efa_statistics* statistics, const efa_statistics_part* part) {
  statistics->ranks = part->ranks;
  std::copy_n(part->of, summaries_in(part->index), statistics->of + part->index * EFA_SUMMARIES_PER_PART);
}

extern "C" char* efa_statistics_text(const efa_statistics* statistics, uint32_t job_ranks,
                                     efa_statistics_form form) try {
  const std::string text =
      form == EFA_STATISTICS_JSON ? json(*statistics, job_ranks) : table(*statistics, job_ranks);
  return strdup(text.c_str());
} catch (...) {
  return nullptr;
}

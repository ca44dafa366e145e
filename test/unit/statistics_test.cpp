// The counters of a job: adding them up, the parts in which they travel, and their text.
#include "interface/statistics.h"

#include <cstdlib>

#include "catch.hpp"

namespace {

constexpr unsigned kInjected = offsetof(efa_counters, sent_inject) / sizeof(uint64_t);
constexpr unsigned kPendingMost = offsetof(efa_counters, operations_pending_most) / sizeof(uint64_t);

efa_statistics of_rank(int32_t rank, uint64_t injected, uint64_t pending_most = 0) {
  efa_counters counters{};
  counters.sent_inject = injected;
  counters.operations_pending_most = pending_most;
  efa_statistics statistics;
  efa_statistics_begin(&statistics, rank, &counters);
  return statistics;
}

std::string text_of(const efa_statistics& statistics, uint32_t job_ranks, efa_statistics_form form) {
  char* text = efa_statistics_text(&statistics, job_ranks, form);
  REQUIRE(text);
  const std::string copy = text;
  std::free(text);
  return copy;
}

}  // namespace

TEST_CASE("Statistics: the table of counters has a name and a text for each field") {
  efa_counters counters{};
  counters.sent_inject = 1;
  counters.rail_7_bytes = 2;
  CHECK(efa_counter_at(&counters, 0) == 1);
  CHECK(efa_counter_at(&counters, EFA_COUNTERS - 1) == 2);
  CHECK(std::string(efa_counter_descriptions[kInjected].name) == "sent_inject");
  CHECK(std::string(efa_counter_descriptions[EFA_COUNTERS - 1].name) == "rail_7_bytes");
  CHECK(efa_counter_descriptions[kPendingMost].kind == EFA_MOST);
  for (const auto& counter : efa_counter_descriptions) CHECK(*counter.text != '\0');
}

TEST_CASE("Statistics: sum, least and most, each with the lowest rank that has it, in any order") {
  const efa_statistics ranks[] = {of_rank(0, 7), of_rank(1, 3), of_rank(2, 9), of_rank(3, 3), of_rank(4, 9)};
  const int orders[][5] = {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 4, 0, 3, 1}};
  for (const auto& order : orders) {
    efa_statistics all = ranks[order[0]];
    for (int i = 1; i < 5; ++i) efa_statistics_add(&all, &ranks[order[i]]);
    CHECK(all.ranks == 5);
    const efa_summary& injected = all.of[kInjected];
    CHECK(injected.sum == 31);
    CHECK(injected.least == 3);
    CHECK(injected.least_rank == 1);
    CHECK(injected.most == 9);
    CHECK(injected.most_rank == 2);
  }
}

TEST_CASE("Statistics: parts restore the whole; impossible ones are recognized") {
  efa_statistics whole = of_rank(6, 5, 8), got{};
  const efa_statistics other = of_rank(7, 1, 2);
  efa_statistics_add(&whole, &other);
  for (uint32_t i = 0; i < EFA_STATISTICS_PARTS; ++i) {
    efa_statistics_part part;
    efa_statistics_part_get(&whole, 6, i, &part);
    CHECK(efa_statistics_part_check(&part, 8));
    CHECK_FALSE(efa_statistics_part_check(&part, 6));  // the job has no rank 6
    efa_statistics_part_set(&got, &part);
    auto bad = part;
    bad.index = EFA_STATISTICS_PARTS;
    CHECK_FALSE(efa_statistics_part_check(&bad, 8));
    bad = part;
    bad.magic ^= 1;
    CHECK_FALSE(efa_statistics_part_check(&bad, 8));
    bad = part;
    bad.from = -1;
    CHECK_FALSE(efa_statistics_part_check(&bad, 8));
    bad = part;
    bad.ranks = 0;
    CHECK_FALSE(efa_statistics_part_check(&bad, 8));
  }
  CHECK(got.ranks == 2);
  for (unsigned i = 0; i < EFA_COUNTERS; ++i) {
    CHECK(got.of[i].sum == whole.of[i].sum);
    CHECK(got.of[i].least_rank == whole.of[i].least_rank);
    CHECK(got.of[i].most == whole.of[i].most);
  }
}

TEST_CASE("Statistics: the table has the counters that are not 0, and says for how many ranks it speaks") {
  efa_statistics all = of_rank(0, 7, 4);
  const efa_statistics other = of_rank(1, 12, 3);
  efa_statistics_add(&all, &other);
  const std::string whole = text_of(all, 2, EFA_STATISTICS_TABLE);
  CHECK_THAT(whole, Contains("statistics of all 2 ranks"));
  CHECK_THAT(whole, Contains("sent_inject                                19                 7      0"));
  CHECK_THAT(whole, Contains("                12      1\n"));
  CHECK_THAT(whole, Contains("operations_pending_most                     -                 3      1"));
  CHECK_THAT(whole, !Contains("sent_push"));
  CHECK_THAT(text_of(all, 5, EFA_STATISTICS_TABLE),
             Contains("statistics of 2 of 5 ranks, the others are missing"));
  CHECK_THAT(text_of(of_rank(0, 1), 1, EFA_STATISTICS_TABLE), Contains("statistics of the only rank"));
}

TEST_CASE("Statistics: JSON has all counters") {
  const std::string text = text_of(of_rank(0, 7, 4), 3, EFA_STATISTICS_JSON);
  CHECK_THAT(text, Contains("\"job_ranks\": 3, \"ranks\": 1"));
  CHECK_THAT(
      text,
      Contains(
          "\"sent_inject\": {\"sum\": 7, \"least\": 7, \"least_rank\": 0, \"most\": 7, \"most_rank\": 0}"));
  CHECK_THAT(text, Contains("\"operations_pending_most\": {\"least\": 4,"));
  for (const auto& counter : efa_counter_descriptions)
    CHECK_THAT(text, Contains("\"" + std::string(counter.name) + "\": {"));
}

TEST_CASE("Statistics: the words of the parameter") {
  CHECK(efa_statistics_form_of(nullptr) == EFA_STATISTICS_NONE);
  CHECK(efa_statistics_form_of("") == EFA_STATISTICS_NONE);
  CHECK(efa_statistics_form_of("none") == EFA_STATISTICS_NONE);
  CHECK(efa_statistics_form_of("table") == EFA_STATISTICS_TABLE);
  CHECK(efa_statistics_form_of("json") == EFA_STATISTICS_JSON);
  CHECK(efa_statistics_form_of("Table") == -1);
}

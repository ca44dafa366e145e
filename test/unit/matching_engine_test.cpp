// The matching engine: each rule of MPI by an example, and what its tables take.
// Random operations: matching_random_test.cpp.
#include "matching/engine.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <vector>

#include "catch.hpp"
#include "no_memory.hpp"

using namespace efa;

namespace {

constexpr int32_t kSource = 3, kTag = 7;
constexpr int32_t kInternalTag = -17;  // of a collective operation

// Queues with entries of their own, and what is left in them removed at the end.
template <size_t most>
struct Queues : MatchQueues {
  ~Queues() { clear(); }
  void clear() {
    take_posted_if([](const PostedReceive&) { return true; }, [](PostedReceive&) {});
    take_unexpected_if([](const UnexpectedMessage&) { return true; }, [](UnexpectedMessage&) {});
  }
  std::array<PostedReceive, most> r{};
  std::array<UnexpectedMessage, most> m{};
};

// Receives or messages that nothing else in a test matches, so that the queue is hashed.
constexpr int32_t kElsewhere = 1'000;
constexpr size_t kDeep = 100;
template <class Q>
void deepen_posted(Q& q, size_t from) {
  for (size_t i = 0; i < kDeep; ++i) q.post(q.r[from + i], {kElsewhere + static_cast<int32_t>(i), kTag});
  REQUIRE(q.posted_hashed());
}
template <class Q>
void deepen_unexpected(Q& q, size_t from) {
  for (size_t i = 0; i < kDeep; ++i)
    q.add_unexpected(q.m[from + i], {kElsewhere + static_cast<int32_t>(i), kElsewhere});
  REQUIRE(q.unexpected_hashed());
}

}  // namespace

// Every example in a short queue and in a deep one.
TEST_CASE("A message goes to the receive of its source and tag") {
  const bool deep = GENERATE(false, true);
  Queues<kDeep + 8> q;
  if (deep) deepen_posted(q, 8);
  REQUIRE(q.post(q.r[0], {kSource, kTag}) == nullptr);
  CHECK(q.arrive({kSource, kTag + 1}) == nullptr);
  CHECK(q.arrive({kSource + 1, kTag}) == nullptr);
  CHECK(q.arrive({kTag, kSource}) == nullptr);
  CHECK(q.arrive({kSource, kTag}) == &q.r[0]);
  CHECK_FALSE(q.r[0].queued());
  CHECK(q.arrive({kSource, kTag}) == nullptr);
}

TEST_CASE("Communicators do not share messages") {
  Queues<8> a, b;
  a.post(a.r[0], {kSource, kTag});
  CHECK(b.arrive({kSource, kTag}) == nullptr);
  b.add_unexpected(b.m[0], {kSource, kTag});
  CHECK(a.post(a.r[1], {kSource, kTag}) == nullptr);
  CHECK(b.post(b.r[1], {kSource, kTag}) == &b.m[0]);
}

TEST_CASE("A wildcard matches any source or any tag that users have") {
  const bool deep = GENERATE(false, true);
  Queues<kDeep + 8> q;
  if (deep) deepen_posted(q, 8);
  SECTION("any tag") {
    q.post(q.r[0], {kSource, kAnyTag});
    CHECK(q.arrive({kSource + 1, kTag}) == nullptr);
    CHECK(q.arrive({kSource, kTag}) == &q.r[0]);
  }
  SECTION("any source") {
    q.post(q.r[0], {kAnySource, kTag});
    CHECK(q.arrive({kSource, kTag + 1}) == nullptr);
    CHECK(q.arrive({kSource, kTag}) == &q.r[0]);
  }
  SECTION("both") {
    q.post(q.r[0], {kAnySource, kAnyTag});
    CHECK(q.arrive({kSource, 0}) == &q.r[0]);
  }
  SECTION("the greatest source and tag") {
    q.post(q.r[0], {INT32_MAX, kAnyTag});
    q.post(q.r[1], {kAnySource, INT32_MAX});
    CHECK(q.arrive({INT32_MAX, INT32_MAX}) == &q.r[0]);
    CHECK(q.arrive({INT32_MAX, INT32_MAX}) == &q.r[1]);
  }
}

TEST_CASE("kAnyTag never matches a negative tag, and the negative tag itself does") {
  const bool deep = GENERATE(false, true);
  Queues<2 * kDeep + 8> q;
  if (deep) deepen_posted(q, 8);
  q.post(q.r[0], {kAnySource, kAnyTag});
  q.post(q.r[1], {kSource, kAnyTag});
  CHECK(q.arrive({kSource, kInternalTag}) == nullptr);
  CHECK(q.arrive({kSource, -1}) == nullptr);
  CHECK(q.arrive({kSource, INT32_MIN + 1}) == nullptr);
  q.post(q.r[2], {kAnySource, kInternalTag});
  CHECK(q.arrive({kSource, kInternalTag}) == &q.r[2]);
  q.post(q.r[3], {kSource, kInternalTag});
  CHECK(q.arrive({kSource, kInternalTag}) == &q.r[3]);

  q.clear();
  if (deep) deepen_unexpected(q, 8);
  q.add_unexpected(q.m[0], {kSource, kInternalTag});
  CHECK(q.probe({kSource, kAnyTag}) == nullptr);
  if (!deep) CHECK(q.probe({kAnySource, kAnyTag}) == nullptr);
  CHECK(q.probe({kAnySource, kInternalTag}) == &q.m[0]);
  q.add_unexpected(q.m[1], {kSource, kTag});
  CHECK(q.probe({kSource, kAnyTag}) == &q.m[1]);
  CHECK(q.take({kAnySource, kInternalTag}) == &q.m[0]);
}

TEST_CASE("Receives match in the order of posting, whatever they leave open") {
  const bool deep = GENERATE(false, true);
  const std::array<Envelope, 4> patterns{
      {{kSource, kTag}, {kSource, kAnyTag}, {kAnySource, kTag}, {kAnySource, kAnyTag}}};
  // All orders of the four, each twice.
  std::array<size_t, 4> order;
  std::iota(order.begin(), order.end(), 0);
  do {
    Queues<kDeep + 8> q;
    if (deep) deepen_posted(q, 8);
    for (size_t i = 0; i < 8; ++i) q.post(q.r[i], patterns[order[i % 4]]);
    for (size_t i = 0; i < 8; ++i) REQUIRE(q.arrive({kSource, kTag}) == &q.r[i]);
    REQUIRE(q.arrive({kSource, kTag}) == nullptr);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("Unexpected messages match in the order of arrival, whatever a receive leaves open") {
  const bool deep = GENERATE(false, true);
  const Envelope pattern = GENERATE(Envelope{kSource, kTag}, Envelope{kSource, kAnyTag},
                                    Envelope{kAnySource, kTag}, Envelope{kAnySource, kAnyTag});
  Queues<kDeep + 8> q;
  for (size_t i = 0; i < 4; ++i) q.add_unexpected(q.m[i], {kSource, kTag});
  if (deep) deepen_unexpected(q, 8);
  for (size_t i = 4; i < 8; ++i) q.add_unexpected(q.m[i], {kSource, kTag});
  const bool rest_matches = deep && pattern.source == kAnySource && pattern.tag == kAnyTag;
  for (size_t i = 0; i < (rest_matches ? 4 : 8); ++i) {
    REQUIRE(q.probe(pattern) == &q.m[i]);
    if (i % 2)
      REQUIRE(q.take(pattern) == &q.m[i]);
    else
      REQUIRE(q.post(q.r[0], pattern) == &q.m[i]);
    REQUIRE_FALSE(q.r[0].queued());
    REQUIRE_FALSE(q.m[i].queued());
  }
  CHECK(q.probe(pattern) == (rest_matches ? &q.m[8] : nullptr));
}

TEST_CASE("The oldest message of all senders goes to a receive from any source") {
  const bool deep = GENERATE(false, true);
  Queues<kDeep + 8> q;
  for (size_t i = 0; i < 4; ++i) q.add_unexpected(q.m[i], {4 - static_cast<int32_t>(i), kTag});
  if (deep) deepen_unexpected(q, 8);
  for (size_t i = 0; i < 4; ++i)
    CHECK(q.take({kAnySource, kTag})->envelope().source == 4 - static_cast<int>(i));
  CHECK(q.take({kAnySource, kTag}) == nullptr);
}

TEST_CASE("A probe leaves the message where it is, and a matched probe takes it") {
  Queues<8> q;
  q.add_unexpected(q.m[0], {kSource, kTag});
  CHECK(q.probe({kSource, kTag}) == &q.m[0]);
  CHECK(q.probe({kAnySource, kTag}) == &q.m[0]);
  CHECK(q.unexpected() == 1);
  CHECK(q.take({kSource, kAnyTag}) == &q.m[0]);
  CHECK(q.m[0].envelope().source == kSource);
  CHECK(q.m[0].envelope().tag == kTag);
  CHECK(q.probe({kSource, kTag}) == nullptr);
  CHECK(q.unexpected() == 0);
}

TEST_CASE("A cancelled receive matches nothing; one that was matched is not cancelled") {
  const bool deep = GENERATE(false, true);
  Queues<kDeep + 8> q;
  if (deep) deepen_posted(q, 8);
  for (size_t i = 0; i < 3; ++i) q.post(q.r[i], {kSource, kTag});
  CHECK_FALSE(q.cancel(q.r[3]));  // never posted
  CHECK(q.cancel(q.r[0]));
  CHECK_FALSE(q.cancel(q.r[0]));
  CHECK(q.arrive({kSource, kTag}) == &q.r[1]);
  CHECK_FALSE(q.cancel(q.r[1]));
  CHECK(q.cancel(q.r[2]));
  CHECK(q.arrive({kSource, kTag}) == nullptr);
  q.post(q.r[0], {kSource, kTag});  // again
  CHECK(q.arrive({kSource, kTag}) == &q.r[0]);
}

TEST_CASE("A message that its sender has cancelled is not found") {
  const bool deep = GENERATE(false, true);
  Queues<kDeep + 8> q;
  if (deep) deepen_unexpected(q, 8);
  for (size_t i = 0; i < 3; ++i) q.add_unexpected(q.m[i], {kSource, kTag});
  CHECK(q.probe({kAnySource, kTag}) == &q.m[0]);
  CHECK(q.remove_unexpected(q.m[0]));
  CHECK_FALSE(q.remove_unexpected(q.m[0]));
  CHECK(q.take({kAnySource, kTag}) == &q.m[1]);
  CHECK_FALSE(q.remove_unexpected(q.m[1]));
  CHECK(q.remove_unexpected(q.m[2]));
  CHECK(q.take({kSource, kAnyTag}) == nullptr);
}

TEST_CASE("When a source fails, its receives and those of any source end, in the order of posting") {
  const bool deep = GENERATE(false, true);
  Queues<kDeep + 8> q;
  q.post(q.r[0], {kSource, kTag});
  q.post(q.r[1], {kSource + 1, kTag});
  q.post(q.r[2], {kAnySource, kAnyTag});
  q.post(q.r[3], {kSource, kAnyTag});
  if (deep) deepen_posted(q, 8);
  q.post(q.r[4], {kAnySource, kTag});
  q.post(q.r[5], {kSource, kTag});
  std::vector<PostedReceive*> ended;
  q.take_posted_if([](const PostedReceive& r) { return MatchQueues::concerns(r.envelope(), kSource); },
                   [&](PostedReceive& r) {
                     if (ended.empty()) {  // what is taken is not queued, and a new receive is not taken
                       CHECK_FALSE(q.cancel(q.r[5]));
                       q.post(q.r[6], {kSource, kTag});
                     }
                     ended.push_back(&r);
                   });
  CHECK(ended == std::vector<PostedReceive*>{&q.r[0], &q.r[2], &q.r[3], &q.r[4], &q.r[5]});
  CHECK(q.posted() == 2 + (deep ? kDeep : 0));
  CHECK(q.arrive({kSource + 1, kTag}) == &q.r[1]);
  CHECK(q.arrive({kSource, kTag}) == &q.r[6]);
  CHECK(q.arrive({kSource, kTag}) == nullptr);
}

TEST_CASE("The table's memory follows the number of keys, and what is kept is bounded") {
  constexpr size_t kMany = 20'000;
  const auto queues = std::make_unique<Queues<kMany>>();
  auto& q = *queues;
  constexpr size_t kKept = MatchBins::kKeptBins * sizeof(void*);
  const auto tag = [](size_t i) { return static_cast<int32_t>(i); };
  SECTION("receives of one key need no table") {
    for (auto& r : q.r) q.post(r, {kSource, kTag});
    CHECK(q.memory() == 0);
    q.clear();
  }
  SECTION("posted") {
    for (size_t i = 0; i < kMany; ++i) q.post(q.r[i], {kSource, tag(i)});
    CHECK(q.memory() <= kMany * 32);
    for (size_t i = 0; i + 1 < kMany; ++i) REQUIRE(q.arrive({kSource, tag(i)}) == &q.r[i]);
    CHECK(q.memory() <= kKept);  // with one receive left
    CHECK(q.arrive({kSource, tag(kMany - 1)}) == &q.r[kMany - 1]);
    CHECK_FALSE(q.posted_hashed());
  }
  SECTION("unexpected, with an index") {
    for (size_t i = 0; i < kMany; ++i) q.add_unexpected(q.m[i], {kSource, tag(i)});
    CHECK(q.probe({kAnySource, tag(kMany / 2)}) == &q.m[kMany / 2]);
    CHECK(q.memory() <= kMany * 64);
    for (size_t i = 0; i + 1 < kMany; ++i) REQUIRE(q.take({kSource, tag(i)}) == &q.m[i]);
    CHECK(q.memory() <= 2 * kKept);
    CHECK(q.take({kAnySource, kAnyTag}) == &q.m[kMany - 1]);
    CHECK_FALSE(q.unexpected_hashed());
  }
  SECTION("memory is refused: only the table is missing") {
    bool right = true;
    {
      fake::NoMemory refused;
      for (size_t i = 0; i < 2'000; ++i) q.post(q.r[i], {kSource, tag(i)});
      for (size_t i = 0; i < 2'000; ++i) right &= q.arrive({kSource, tag(i)}) == &q.r[i];
      for (size_t i = 0; i < 2'000; ++i) q.add_unexpected(q.m[i], {kSource, tag(i)});
      for (size_t i = 0; i < 2'000; ++i) right &= q.take({kAnySource, tag(i)}) == &q.m[i];
    }
    CHECK(right);
    CHECK(fake::NoMemory::failed() > 0);
    CHECK(fake::NoMemory::failed() < 100);  // not for every entry
  }
}

TEST_CASE("A short queue is a list again, also with entries that stay") {
  Queues<kDeep + 2> q;
  q.post(q.r[kDeep], {kAnySource, kElsewhere});  // stays
  int rounds = 0;
  do {
    for (size_t i = 0; i < kDeep; ++i) q.post(q.r[i], {kSource, static_cast<int32_t>(i)});
    for (size_t i = 0; i < kDeep; ++i) REQUIRE(q.arrive({kSource, static_cast<int32_t>(i)}) == &q.r[i]);
  } while (q.posted_hashed() && ++rounds < 100);
  CHECK(rounds < 100);
  CHECK(q.arrive({kSource, kElsewhere}) == &q.r[kDeep]);
}

TEST_CASE("Usual patterns of sources and tags fill the bins evenly") {
  constexpr size_t kKeys = 1 << 14;  // the fullest table: two bins for a key
  struct Pattern {
    const char* name;
    int32_t sources, source_step, tag_step;
  };
  const Pattern pattern =
      GENERATE(Pattern{"one source, all tags", 1, 1, 1}, Pattern{"one tag, all sources", kKeys, 1, 1},
               Pattern{"a grid", 128, 1, 1}, Pattern{"few tags", kKeys / 4, 1, 1},
               Pattern{"few sources", 4, 1, 1}, Pattern{"tags in steps of 2", 1, 1, 2},
               Pattern{"tags in steps of 1024", 1, 1, 1024}, Pattern{"tags in steps of 65536", 1, 1, 65536},
               Pattern{"sources in steps of 64", kKeys, 64, 1}, Pattern{"a wide grid", 128, 64, 1000});
  INFO(pattern.name);
  static std::vector<MatchLink> links(kKeys);
  MatchBins bins;
  for (size_t i = 0; i < kKeys; ++i) {
    const auto n = static_cast<int32_t>(i);
    links[i].key = match_key(
        Envelope{n % pattern.sources * pattern.source_step, n / pattern.sources * pattern.tag_step});
    bins.append(links[i]);
  }
  CHECK(bins.keys() == kKeys);
  CHECK(bins.bins() == 2 * kKeys);
  CHECK(bins.passed_keys() < 0.4);  // random keys: 0.25
}

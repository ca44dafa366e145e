// How messages are cut into pieces and distributed over rails.
#include "protocol/scheduler.hpp"

#include "catch.hpp"

using efa::plan_stripes;

namespace {

constexpr uint64_t kK = 1024, kM = 1024 * kK;

struct Case {
  uint64_t length;
  unsigned rails;
  uint64_t least, most;
  uint64_t piece;  // expected
  unsigned used;
};

}  // namespace

TEST_CASE("Pieces and rails for typical messages") {
  const Case cases[] = {
      {1, 1, 64 * kK, kM, 4 * kK, 1},               // one piece, whatever the piece length
      {1, 4, 64 * kK, kM, 4 * kK, 1},               // too short for two rails
      {64 * kK, 4, 64 * kK, kM, 64 * kK, 1},        //
      {128 * kK, 4, 64 * kK, kM, 64 * kK, 2},       // two shares of the minimum size
      {128 * kK + 1, 4, 64 * kK, kM, 68 * kK, 2},   // rounded up to whole pages
      {256 * kK, 4, 64 * kK, kM, 64 * kK, 4},       //
      {kM, 4, 64 * kK, kM, 256 * kK, 4},            //
      {kM, 1, 64 * kK, kM, kM, 1},                  //
      {kM + 1, 1, 64 * kK, kM, 516 * kK, 1},        // two pieces of about equal length
      {4 * kM, 4, 64 * kK, kM, kM, 4},              //
      {4 * kM, 3, 64 * kK, kM, 684 * kK, 3},        // two rounds of three
      {64 * kM, 8, 64 * kK, kM, kM, 8},             //
      {100 * kK, 2, 64 * kK, 64 * kK, 52 * kK, 1},  // staging: minimum and maximum may be equal
  };
  for (const Case& test_case : cases) {
    CAPTURE(test_case.length, test_case.rails, test_case.least, test_case.most);
    const auto plan = plan_stripes(test_case.length, test_case.rails, test_case.least, test_case.most);
    CHECK(plan.piece == test_case.piece);
    CHECK(plan.rails == test_case.used);
  }
}

TEST_CASE("Every plan covers the message, keeps its bounds and is even over its rails") {
  for (unsigned rails = 1; rails <= 8; ++rails) {
    for (uint64_t length = 1; length < 40 * kM; length = length * 3 / 2 + 7) {
      CAPTURE(rails, length);
      const auto plan = plan_stripes(length, rails, 4 * kK, 512 * kK);
      CHECK(plan.rails >= 1);
      CHECK(plan.rails <= rails);
      CHECK(plan.piece % (4 * kK) == 0);
      CHECK(plan.piece <= 512 * kK);
      const uint64_t pieces = (length + plan.piece - 1) / plan.piece;
      // Round robin: the numbers of pieces per rail differ by at most one. A rail has no piece only if rounding to pages
      // left none.
      CHECK((pieces >= plan.rails || length < plan.rails * (plan.piece + 4 * kK)));
    }
  }
}

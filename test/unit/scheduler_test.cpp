// How messages are cut and dealt to rails, against literals.
#include "scheduler.hpp"

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
      {1, 1, 64 * kK, kM, 4 * kK, 1},               // one piece, whatever its nominal length
      {1, 4, 64 * kK, kM, 4 * kK, 1},               // too short for another rail
      {64 * kK, 4, 64 * kK, kM, 64 * kK, 1},        //
      {128 * kK, 4, 64 * kK, kM, 64 * kK, 2},       // two shares of the least size
      {128 * kK + 1, 4, 64 * kK, kM, 68 * kK, 2},   // rounded up to whole pages
      {256 * kK, 4, 64 * kK, kM, 64 * kK, 4},       //
      {kM, 4, 64 * kK, kM, 256 * kK, 4},            //
      {kM, 1, 64 * kK, kM, kM, 1},                  //
      {kM + 1, 1, 64 * kK, kM, 516 * kK, 1},        // two pieces of about equal length
      {4 * kM, 4, 64 * kK, kM, kM, 4},              //
      {4 * kM, 3, 64 * kK, kM, 684 * kK, 3},        // two rounds of three
      {64 * kM, 8, 64 * kK, kM, kM, 8},             //
      {100 * kK, 2, 64 * kK, 64 * kK, 52 * kK, 1},  // staging: least and most may be equal
  };
  for (const Case& c : cases) {
    CAPTURE(c.length, c.rails, c.least, c.most);
    const auto plan = plan_stripes(c.length, c.rails, c.least, c.most);
    CHECK(plan.piece == c.piece);
    CHECK(plan.rails == c.used);
  }
}

TEST_CASE("Every plan covers the message, within its bounds, evenly over its rails") {
  for (unsigned rails = 1; rails <= 8; ++rails) {
    for (uint64_t length = 1; length < 40 * kM; length = length * 3 / 2 + 7) {
      CAPTURE(rails, length);
      const auto plan = plan_stripes(length, rails, 4 * kK, 512 * kK);
      CHECK(plan.rails >= 1);
      CHECK(plan.rails <= rails);
      CHECK(plan.piece % (4 * kK) == 0);
      CHECK(plan.piece <= 512 * kK);
      const uint64_t pieces = (length + plan.piece - 1) / plan.piece;
      // A rail more than another by at most one piece follows from dealing in turn; none is without work
      // unless rounding to pages used the message up.
      CHECK((pieces >= plan.rails || length < plan.rails * (plan.piece + 4 * kK)));
    }
  }
}

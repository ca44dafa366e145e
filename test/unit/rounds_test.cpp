// bench/rounds.hpp: the number of rounds for a given time.
#include "../../bench/rounds.hpp"

#include "catch.hpp"

TEST_CASE("The rounds fill the given time", "[bench]") {
  const int rounds = rounds_to_fill(0.1, [](int n) { return n * 1e-6; });
  CHECK(rounds > 99'000);
  CHECK(rounds < 101'000);
}

TEST_CASE("One round if it takes longer than the given time", "[bench]") {
  CHECK(rounds_to_fill(0.1, [](int n) { return n * 7.0; }) == 1);
}

TEST_CASE("The time of the first messages and of interruptions does not count", "[bench]") {
  int runs = 0;
  const auto run = [&](int n) {
    ++runs;
    const bool interrupted = runs == 1 || runs == 9;  // connection set-up; preemption
    return n * 1e-6 + (interrupted ? 0.05 : 0);
  };
  CHECK(rounds_to_fill(0.1, run) > 99'000);
  CHECK(runs > 9);
}

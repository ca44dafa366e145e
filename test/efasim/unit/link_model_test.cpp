// The link model: latency, rate, jitter and reordering against literals.
#include "link_model.hpp"

#include <atomic>

#include "test/unit/catch.hpp"

using namespace efasim;

TEST_CASE("one packet arrives after latency and its time on the line", "[link]") {
  LinkModel link;
  link.latency_ns = 10'000;
  link.bits_per_second = 10'000'000'000;
  std::atomic<uint64_t> tx{0}, rx{0};
  CHECK(serialisation_ns(link, 1250) == 1000);
  CHECK(reserve_lines(link, 1'000'000, 1250, tx, rx) == 1'011'000);
  CHECK(tx == 1'001'000);
  CHECK(rx == 1'011'000);
}

TEST_CASE("a stream runs at the line's rate", "[link]") {
  LinkModel link;
  link.latency_ns = 10'000;
  link.bits_per_second = 10'000'000'000;
  std::atomic<uint64_t> tx{0}, rx{0};
  uint64_t due = 0;
  for (int i = 0; i < 100; i++) due = reserve_lines(link, 0, 12'500, tx, rx);
  CHECK(due == 100 * 10'000 + 10'000);
}

TEST_CASE("two senders share the receiver's line", "[link]") {
  LinkModel link;
  link.bits_per_second = 8'000'000'000;  // a byte per ns
  std::atomic<uint64_t> tx_a{0}, tx_b{0}, rx{0};
  CHECK(reserve_lines(link, 0, 100, tx_a, rx) == 100);
  CHECK(reserve_lines(link, 0, 100, tx_b, rx) == 200);
  CHECK(reserve_lines(link, 500, 100, tx_a, rx) == 600);
}

TEST_CASE("chance is repeatable and depends on seed, stream and number", "[link]") {
  CHECK(random_unit(1, 2, 3) == random_unit(1, 2, 3));
  CHECK(random_unit(1, 2, 3) != random_unit(2, 2, 3));
  CHECK(random_unit(1, 2, 3) != random_unit(1, 3, 3));
  CHECK(random_unit(1, 2, 3) != random_unit(1, 2, 4));
  double sum = 0;
  for (uint64_t i = 0; i < 10'000; i++) {
    const double value = random_unit(7, 1, i);
    REQUIRE((value >= 0 && value < 1));
    sum += value;
  }
  CHECK(sum > 4800);
  CHECK(sum < 5200);
}

TEST_CASE("jitter is bounded and reordering holds a share of the packets", "[link]") {
  LinkModel link;
  link.jitter_ns = 500;
  link.reorder = 0.25;
  link.reorder_ns = 40'000;
  unsigned held = 0;
  for (uint64_t i = 0; i < 4000; i++) {
    const uint64_t delay = random_delay_ns(link, 9, i);
    if (delay >= 40'000) held++;
    REQUIRE((delay < 500 || (delay >= 40'000 && delay < 40'500)));
  }
  CHECK(held > 850);
  CHECK(held < 1150);
  CHECK_FALSE(LinkModel{}.enabled());
}

TEST_CASE("a lost packet arrives later by the time of each further attempt", "[link]") {
  LinkModel link;
  link.loss = 0.25;
  link.resend_ns = 1000;
  CHECK(link.enabled());
  unsigned lost_once = 0, lost_twice = 0;
  for (uint64_t i = 0; i < 10'000; i++) {
    const uint64_t delay = random_delay_ns(link, 3, i);
    REQUIRE(delay % 1000 == 0);
    lost_once += delay >= 1000;
    lost_twice += delay >= 2000;
  }
  CHECK(lost_once > 2300);
  CHECK(lost_once < 2700);
  CHECK(lost_twice > 500);
  CHECK(lost_twice < 750);
  link.loss = 1;
  CHECK(random_delay_ns(link, 3, 1) < 100'000);  // bounded
}

#include "link_model.hpp"

#include <algorithm>

namespace efasim {
namespace {

// splitmix64's finaliser: a bijection whose output is statistically random, also for consecutive inputs.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Reserves the line from max(earliest, free) for `duration`; returns the start.
uint64_t reserve_line(std::atomic<uint64_t>& free, uint64_t earliest, uint64_t duration) {
  uint64_t was_free = free.load(std::memory_order_relaxed);
  uint64_t start;
  do {
    start = std::max(earliest, was_free);
  } while (!free.compare_exchange_weak(was_free, start + duration, std::memory_order_relaxed));
  return start;
}

}  // namespace

double random_unit(uint64_t seed, uint64_t stream, uint64_t number) {
  return static_cast<double>(mix(mix(mix(seed) ^ stream) ^ number) >> 11) * 0x1.0p-53;
}

uint64_t serialisation_ns(const LinkModel& link, uint64_t bytes) {
  if (link.bits_per_second == 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(bytes) * 8e9 / static_cast<double>(link.bits_per_second));
}

uint64_t reserve_lines(const LinkModel& link, uint64_t now, uint64_t bytes, std::atomic<uint64_t>& tx_free,
                       std::atomic<uint64_t>& rx_free) {
  const uint64_t duration = serialisation_ns(link, bytes);
  if (duration == 0) return now + link.latency_ns;
  const uint64_t sent_from = reserve_line(tx_free, now, duration);
  const uint64_t received_from = reserve_line(rx_free, sent_from + link.latency_ns, duration);
  return received_from + duration;
}

uint64_t random_delay_ns(const LinkModel& link, uint64_t stream, uint64_t number) {
  uint64_t delay = 0;
  if (link.jitter_ns) {
    delay += static_cast<uint64_t>(random_unit(link.seed, stream, number) * static_cast<double>(link.jitter_ns));
  }
  if (link.reorder > 0 && random_unit(~link.seed, stream, number) < link.reorder) delay += link.reorder_ns;
  // Each further attempt is a random number of its own. SRD does not give up: at most kMostAttempts are modelled.
  constexpr uint64_t kMostAttempts = 64;
  for (uint64_t attempt = 1; link.loss > 0 && attempt < kMostAttempts; ++attempt) {
    if (random_unit(link.seed + attempt, ~stream, number) >= link.loss) break;
    delay += link.resend_ns;
  }
  return delay;
}

}  // namespace efasim

// A clock that runs only while this process polls: one that computes meanwhile could not have noticed an answer, so that
// time counts against no peer.
#pragma once

#include <time.h>

#include <cstdint>

namespace efa {

// Nanoseconds of a monotonic clock.
inline uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

class PolledClock {
 public:
  // Nanoseconds that were spent polling, in whole ticks.
  uint64_t ns() const { return polled_ns_; }
  // Whether this poll is to read the real clock and to call tick(): one of 16, since that costs more than the poll.
  bool due() { return ++polls_ % 16 == 0; }
  // Goes on by kTick_ns if so much real time has passed since the last tick, however much more it was; false if not.
  bool tick(uint64_t now_ns) {
    if (now_ns - ticked_ns_ < kTick_ns) return false;
    ticked_ns_ = now_ns;
    polled_ns_ += kTick_ns;
    return true;
  }
  // After a pause in which nobody polled: the next tick comes kTick_ns after `now_ns`.
  void resume(uint64_t now_ns) { ticked_ns_ = now_ns; }
  // The reading at `now_ns`, to the nearest tick, so that what begins together ends together.
  uint64_t nearest(uint64_t now_ns) const {
    return now_ns - ticked_ns_ < kTick_ns / 2 ? polled_ns_ : polled_ns_ + kTick_ns;
  }

  static constexpr uint64_t kTick_ns = 1'000'000'000;

 private:
  uint64_t polled_ns_ = 0;
  uint64_t ticked_ns_ = 0;  // when it went on last, by the real clock
  unsigned polls_ = 0;
};

}  // namespace efa

// The interface between a fuzz target and its driver. The names are libFuzzer's, so that a target also links with clang's
// -fsanitize=fuzzer or AFL's driver instead of driver.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" {
// Runs one input. A failure is a call of fuzz_fail or a sanitizer's report; the result is always 0.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// Mutates an input in place, with regard to its structure. Returns the new size, at most `max_size`.
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed);
}

using FuzzInput = std::vector<uint8_t>;

// The seed inputs, which consist of valid messages.
std::vector<FuzzInput> fuzz_seeds();

// Reports that a property does not hold, and aborts.
[[noreturn]] inline void fuzz_fail(const std::string& what) {
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what.c_str());
  std::abort();
}
inline void fuzz_expect(bool holds, const char* what) {
  if (!holds) fuzz_fail(what);
}

// Random numbers that are the same on every machine (splitmix64).
class FuzzRandom {
 public:
  explicit FuzzRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  // 0 <= result < bound; bound > 0
  size_t below(size_t bound) { return static_cast<size_t>(next() % bound); }

 private:
  uint64_t state_;
};

// Boundary values for lengths, offsets and counts.
inline uint64_t fuzz_extreme(FuzzRandom& random) {
  constexpr uint64_t kValues[] = {0,          1,          7,
                                  8,          9,          39,
                                  40,         104,        127,
                                  128,        129,        1023,
                                  1024,       1025,       4095,
                                  4096,       4097,       65535,
                                  65536,      INT32_MAX,  UINT32_MAX,
                                  1ull << 32, 1ull << 40, INT64_MAX,
                                  1ull << 63, UINT64_MAX, UINT64_MAX - 1};
  return kValues[random.below(std::size(kValues))];
}

// The patterns: ping-pong, windows of messages, reads.
#include "patterns.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "../rounds.hpp"

namespace raw {
namespace {

constexpr size_t kLarge = 64 * 1024;  // from here on so many times fewer iterations:
constexpr int kLargeDivisor = 10;

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Mean one-way time, us.
double latency(Pair& pair, size_t size, int rounds, int warmup) {
  double begin = 0;
  for (int i = -warmup; i < rounds; i++) {
    if (i == 0) {
      pair.meet();
      begin = now_us();
    }
    pair.receive(size, 1);
    if (self == 0) pair.send(size, 1);
    pair.wait_all();
    if (self == 1) pair.send(size, 1);
  }
  pair.wait_all();
  const double end = now_us();
  pair.meet();
  return (end - begin) / rounds / 2;
}

// MB/s from process 0 to 1: windows of messages, each answered by a short one.
double bandwidth(Pair& pair, size_t size, int rounds, int warmup, int window) {
  double begin = 0;
  for (int i = -warmup; i < rounds; i++) {
    if (i == 0) {
      pair.meet();
      begin = now_us();
    }
    if (self == 0) pair.receive(1, 2);
    for (int k = 0; k < window; k++) {
      if (self == 0)
        pair.send(size, 1);
      else
        pair.receive(size, 1);
    }
    pair.wait_all();
    if (self == 1) pair.send(1, 2);
    pair.wait_all();
  }
  const double end = now_us();
  pair.meet();
  return static_cast<double>(size) * window * rounds / (end - begin);
}

// Process 0 reads from 1, `window` at a time. Returns us per read, or MB/s.
double reads(Pair& pair, size_t size, int rounds, int warmup, int window, bool rate) {
  double begin = 0;
  for (int i = -warmup; i < rounds && self == 0; i++) {
    if (i == 0) begin = now_us();
    for (int k = 0; k < window; k++) pair.read(size);
    pair.wait_all();
  }
  const double time = now_us() - begin;
  pair.meet();
  return rate ? static_cast<double>(size) * window * rounds / time : time / rounds / window;
}

// Every byte at the receiver is the sender's; the peers' buffers hold 1 and 2.
void validate(const Pair& pair, size_t size) {
  const unsigned char expected = static_cast<unsigned char>(1 + (1 - self));
  for (size_t i = 0; i < size; i++) {
    if (pair.in[i] != expected)
      die("byte " + std::to_string(i) + " of " + std::to_string(size) + " is wrong");
  }
}

}  // namespace

void measure(const Options& options) {
  Pair pair(options);
  const bool is_latency = options.pattern.ends_with("latency");
  const bool is_read = options.pattern.starts_with("read_");
  if (self == 0) {
    printf("# Raw libfabric %s: provider %s, %zu NIC%s\n", options.pattern.c_str(), options.provider.c_str(),
           options.nics, options.nics > 1 ? "s" : "");
    printf("# %-10s %20s\n", "Size", is_latency ? "Latency (us)" : "Bandwidth (MB/s)           Messages/s");
  }
  for (size_t size = options.min_size; size <= options.max_size; size *= 2) {
    const auto run = [&](int rounds, int warmup) {
      if (is_read) return reads(pair, size, rounds, warmup, is_latency ? 1 : options.window, !is_latency);
      return is_latency ? latency(pair, size, rounds, warmup)
                        : bandwidth(pair, size, rounds, warmup, options.window);
    };
    int rounds = std::max(1, size >= kLarge ? options.iterations / kLargeDivisor : options.iterations);
    int warmup = options.warmup;
    if (options.seconds > 0) {
      rounds = rounds_to_fill(options.seconds, [&](int tried) {
        barrier();
        const double begin = now_us();
        run(tried, 0);
        if (self == 0) sides[0].taken = (now_us() - begin) / 1e6;
        barrier();
        return sides[0].taken;
      });
      warmup = rounds / 10 + 1;
    }
    const double value = run(rounds, warmup);
    if (options.validate && (self == (is_read ? 0 : 1) || (is_latency && !is_read))) validate(pair, size);
    if (self == 0 && is_latency)
      printf("%-12zu %20.2f\n", size, value);
    else if (self == 0)
      printf("%-12zu %20.2f %20.2f\n", size, value, value * 1e6 / static_cast<double>(size));
    fflush(stdout);
  }
  pair.meet();
}

}  // namespace raw
